"""What is known of an experiment before anything runs, and how long its parts take at given rates."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nndefense.axes.queries import Pack
from nndefense.axes.threat import ADAPTIVE
from nndefense.config import Config
from nndefense.features.names import is_rmac
from nndefense.flow.costs import UNKNOWN
from nndefense.flow.encoders import encoder_of
from nndefense.flow.rates import ImageRates, Rates, StartUp

MB = 1_000_000
# Of a sealed file its header and trailer, of a member of an .npz its headers and name, about.
SEAL, MEMBER = 500, 300
# Rates of image sets by their kind; all others are files.
SORTS = {"shapes": "drawn", "torchvision": "held"}


@dataclass(frozen=True)
class Network:
    """What a network takes for an image.

    Attributes:
        rate: name among the rates' networks, ARCHITECTURE/SIDE.
        flop: operations of a whole forward pass.
        passes: of its own passes, by their numbers; later ones than the first stop behind their last layer.
        dimensions: features by layer, as they are pooled.
        held: bytes at the peak of a forward pass. held_backward: likewise with the gradient of the image.
        weights: bytes of its file of weights.
    """

    rate: str
    flop: float
    passes: Mapping[int, float] = field(default_factory=dict)
    dimensions: Mapping[str, int] = field(default_factory=dict)
    held: float = 0
    held_backward: float = 0
    weights: float = 0


@dataclass(frozen=True)
class Facts:
    """What is known of image sets and networks; what is not known is absent.

    Attributes:
        rows: by image set. sides: of its images in pixels, likewise.
        networks: by model and side of the images.
    """

    rows: Mapping[str, int]
    sides: Mapping[str, int]
    networks: Mapping[tuple[str, int], Network]

    def side(self, names: Iterable[str]) -> int | None:
        """The side of the images of several sets; None where it is unknown or they differ."""
        found = {self.sides.get(name) for name in names}
        return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class Estimate:
    """Times and sizes of parts of jobs; what is not known is NaN."""

    config: Config
    facts: Facts
    rates: Rates

    @property
    def queries(self) -> float:
        """Test images."""
        rows = self.facts.rows.get(self.config.queries.images)
        wanted = self.config.queries.count or rows or UNKNOWN
        return wanted if rows is None else min(wanted, rows)

    def pack_images(self, pack: Pack) -> float:
        """Images of each query set of a pack: attacks through a defence are given some of the test images."""
        adaptive = self.config.attacks.adaptive
        through = adaptive and pack.threat is not None and pack.threat.box == ADAPTIVE
        return min(self.queries, adaptive.count) if through and adaptive.count else self.queries

    @property
    def query_side(self) -> int | None:
        """Side of the test images."""
        return self.facts.side([self.config.queries.images])

    @property
    def pixels(self) -> float:
        """Numbers in a test image."""
        return 3 * self.query_side**2 if self.query_side else UNKNOWN

    def pool_side(self, pool: str) -> int | None:
        """Side of the images of a pool."""
        return self.facts.side(self.config.pools[pool].images)

    def set_rows(self, name: str) -> float:
        """Images of a set."""
        return self.facts.rows.get(name, UNKNOWN)

    def started(self, imports: str) -> StartUp:
        """Start of a job by what it imports."""
        return getattr(self.rates.start_up, imports)

    @property
    def opened_seconds(self) -> float:
        """What a job that reads image sets takes besides: pyarrow, whatever else it imports."""
        return max(self.rates.start_up.tables.seconds - self.rates.start_up.numpy.seconds, 0.0)

    @property
    def opened_megabytes(self) -> float:
        """Likewise."""
        return max(self.rates.start_up.tables.megabytes - self.rates.start_up.numpy.megabytes, 0.0)

    def of_set(self, name: str) -> ImageRates:
        """Rates of an image set."""
        section = self.config.images[name]
        kind = getattr(section, "of", section).kind if section.kind == "classes_of" else section.kind
        held = SORTS.get(kind, "files")
        return self.rates.images["files" if getattr(section, "name", "") == "ImageNet" else held]

    def reading_images(self, names: Iterable[str]) -> float:
        """Seconds to read an image of some sets, the slowest of them."""
        found = []
        for name in names:
            rate, side = self.of_set(name), self.facts.sides.get(name)
            share = 1 if not rate.scales else (side / rate.side) ** 2 if side else UNKNOWN
            found.append(rate.read_us * 1e-6 * share)
        return max(found)

    def network(self, model: str, side: int | None) -> Network | None:
        """A network at a side of images; None where it is not known."""
        return self.facts.networks.get((model, side)) if side else None

    def forward_seconds(self, network: Network | None, flop: float | None = None) -> float:
        """Seconds of one core for a forward pass of an image; flop: of a part of it."""
        if network is None:
            return UNKNOWN
        measured = self.rates.networks.get(network.rate)
        whole = 1 / measured.images_per_s if measured else network.flop / self.rates.other_networks.gflops * 1e-9
        return whole if flop is None else whole * flop / network.flop

    def backward_factor(self, network: Network | None) -> float:
        """A gradient's duration in forward passes."""
        measured = self.rates.networks.get(network.rate) if network else None
        return (measured or self.rates.other_networks).backward

    def training_factor(self, network: Network | None) -> float:
        """A step of training in forward passes."""
        measured = self.rates.networks.get(network.rate) if network else None
        return (measured or self.rates.other_networks).training

    def device_seconds(self, flop: float) -> float | None:
        """Seconds of a GPU for these operations of a network; None where jobs ask for no GPU."""
        return flop / self.rates.gpu.gflops * 1e-9 if self.config.gpu else None

    def reading(self, size: float) -> float:
        """Seconds to read and verify bytes."""
        return size / (self.rates.read_mb_per_s * MB)

    def writing(self, size: float) -> float:
        """Seconds to hash and write bytes."""
        return size / (self.rates.write_mb_per_s * MB)

    def dimension(self, layer: str, side: int | None) -> float:
        """Features of a layer."""
        network = self.network(encoder_of(self.config, layer), side)
        return network.dimensions.get(layer, UNKNOWN) if network else UNKNOWN

    def components(self, layer: str, pool: str) -> float:
        """Dimensions that a PCA leaves: at most those of the features, and fewer than its images."""
        found, sample = self.dimension(layer, self.pool_side(pool)), self.sample(pool)
        return found if math.isnan(found) else min(found, self.config.features.components, sample - 1)

    def sample(self, pool: str) -> int:
        """Images that a PCA is fitted on."""
        return min(self.config.features.pca_samples, max(self.config.pools[pool].values))

    def code_bytes(self, layer: str, pool: str) -> float:
        """Bytes of a code on disk."""
        kept = self.components(layer, pool)
        if is_rmac(layer):
            return (kept + 7) // 8
        return kept * (2 if self.config.index.codes == "float16" else 4)
