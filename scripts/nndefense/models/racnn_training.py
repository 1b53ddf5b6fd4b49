"""Training of retrieval-augmented networks: memory, neighbours of the training images, objective."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nndefense.core.errors import InputError
from nndefense.core.options import Count, Options, Positive, Whole
from nndefense.models.attention import convex_sum
from nndefense.models.batching import in_batches
from nndefense.models.memory import Memory, exact_nearest
from nndefense.models.objective import Batch
from nndefense.models.predict import image_batch
from nndefense.models.racnn import RetrievalAugmented, cut_last_layer
from nndefense.models.simplex import uniform_simplex
from nndefense.models.standardize import Standardized


@dataclass(frozen=True, kw_only=True)
class Database(Options):
    """Images with labels that neighbours are taken from."""

    noun: ClassVar[str] = "database"

    images: Annotated[str, Field(description="The image set they come from.")]
    rows: Annotated[
        Annotated[int, Field(ge=2)] | None, Field(description="How many, drawn at random with the seed (null = all).")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Hashing(Options):
    """Hash tables of the engine `lsh`."""

    noun: ClassVar[str] = "lsh"

    hashes: Annotated[Count, Field(description="Hashes that name a bucket.")] = 8
    tables: Annotated[Count, Field(description="Tables. More find more of the nearest images, and compare more.")] = 24
    width: Annotated[
        Positive | None,
        Field(
            description="Width of a hash, in units of distance (null = 4 times the median distance to the nearest "
            "other image)."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RetrievalTraining(Options):
    """A retrieval-augmented network on another one's features (Zhao & Cho, arXiv 1802.09502; Zhao, Li & Cho 2018)."""

    noun: ClassVar[str] = "training"

    extractor: Annotated[
        str,
        Field(
            description="Model whose penultimate features find the neighbours, and which training starts from. It has "
            "the same `mean` and `std`."
        ),
    ]
    database: Annotated[
        Database,
        Field(description="Images with labels that neighbours are taken from; they become part of the network."),
    ]
    neighbors: Annotated[Count, Field(description="Neighbours that an image is classified by.")] = 10
    finetune: Annotated[
        bool,
        Field(
            description="Train the features, too, with local mixup (Zhao & Cho, arXiv 1802.09502); the search keeps "
            "those of the extractor. If false they are frozen (Zhao, Li & Cho 2018)."
        ),
    ] = True
    use_labels: Annotated[
        bool | None,
        Field(
            description="Classify the neighbours' labels together with their features (null = where features are "
            "frozen)."
        ),
    ] = None
    hidden: Annotated[list[Count], Field(description="Widths of fully connected layers before the last one.")] = field(
        default_factory=list
    )
    ordinary: Annotated[
        Count, Field(description="Ordinary updates in each round of ordinary and mixup updates. With `finetune`.")
    ] = 1
    mixup: Annotated[
        Whole,
        Field(
            description="Local mixup updates in each round, on random convex sums of the neighbours' features; 0 for "
            "none. With `finetune`."
        ),
    ] = 5
    projection: Annotated[
        Count | None,
        Field(
            description="Dimensions after a Gaussian random projection that the search compares (null = all, as they "
            "are)."
        ),
    ] = None
    engine: Annotated[
        Literal["exact", "lsh"],
        Field(
            description="The search: `exact`, or `lsh`, which compares images that share a bucket of p-stable hashes "
            "(Datar et al. 2004), and all where too few do."
        ),
    ] = "exact"
    lsh: Annotated[Hashing, Field(description="Hash tables of the engine `lsh`.")] = Hashing()

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> "RetrievalTraining":
        """The options of a recipe of the configuration, whose other keys are left out."""
        found = {one.name: recipe[one.name] for one in fields(cls) if one.name in recipe}
        nested = {"database": Database, "lsh": Hashing}
        return cls(**{key: nested[key](**value) if key in nested else value for key, value in found.items()})

    def network(self, base: str, rows: int, seed: int) -> dict[str, Any]:
        """Options of the network (`nndefense.models.racnn`) on features of architecture `base` and `rows` images."""
        options = {key: getattr(self, key) for key in ("engine", "finetune", "hidden", "neighbors", "projection")}
        labels = not self.finetune if self.use_labels is None else self.use_labels
        return {**options, "use_labels": labels, "base": base, "rows": rows, "seed": seed, **vars(self.lsh)}


def start_from(model: Standardized, extractor: Standardized) -> None:
    """Copies the extractor's features into phi and phi' of `model.net`, and its last layer into g where that fits.

    It fits where g is one linear layer of the same features, without labels; training then starts from a classifier.
    Raises InputError for an extractor of another architecture or standardisation.
    """
    net: Any = model.net
    if extractor.architecture != net.options.base:
        raise InputError(f"the extractor is {extractor.architecture}, the network is built on {net.options.base}")
    if not (torch.equal(model.mean, extractor.mean) and torch.equal(model.std, extractor.std)):
        raise InputError("the extractor standardises its images by another mean or std than the network")
    copied = deepcopy(extractor.net)
    last = cut_last_layer(copied, extractor.classes)
    for features in (net.phi, net.retriever):
        if features is not None:
            features.load_state_dict(copied.state_dict())
    if len(net.head) == 1 and net.head[0].weight.shape == last.weight.shape:
        net.head[0].load_state_dict(last.state_dict())


def features_of(
    model: Standardized,
    features: nn.Module,
    images: NDArray[np.uint8],
    batch: int,
    on_batch: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """Features (n, D) float32 on the CPU of uint8 images (n, H, W, 3), by phi or phi' of the model."""

    def compute(rows: slice) -> Tensor:
        with torch.no_grad():
            found = features(standardized(model, image_batch(images, rows, model.mean.device))).float().cpu()
        on_batch(len(found))
        return found

    return torch.cat(list(in_batches(compute, len(images), batch)))


def keys_of(net: RetrievalAugmented, features: Tensor) -> Tensor:
    """What the search compares, of features (n, D) by phi' on the CPU: projected where the network projects."""
    return features if net.projection is None else functional.linear(features, net.projection.cpu())


def training_neighbors(
    net: RetrievalAugmented, keys: Tensor, own: NDArray[np.int64], count: int, batch: int = 1000
) -> NDArray[np.int64]:
    """Places in memory of the neighbours of training images, (n, count), by the network's search; never itself.

    keys: of the training images, (n, key dimension). own: (n,) place in memory of the image itself, -1 for none.
    Raises InputError where memory holds no `count` others.
    """

    def compute(part: slice) -> Tensor:
        place = torch.from_numpy(own[part]).unsqueeze(1)
        # One more than needed, for the image itself; where it is not found, the last is dropped.
        more = count + int((place >= 0).any())
        found = net.memory.nearest(keys[part].to(net.memory.keys), more).cpu()
        other = found != place
        rank = torch.where(other, other.cumsum(dim=1), more + 1)
        return found[rank <= count].view(len(found), count)

    return torch.cat(list(in_batches(compute, len(keys), batch))).numpy()


def own_places(memory_rows: NDArray[np.int64], rows: NDArray[np.int64], same_set: bool) -> NDArray[np.int64]:
    """Where in memory each training image is, (n,) int64; -1 for those that are not there.

    memory_rows, rows: row ids, each once, of the images in memory and of the training images, in their image sets.
    same_set: whether that is one set.
    """
    places = np.full(len(rows), -1, dtype=np.int64)
    if same_set:
        _, mine, theirs = np.intersect1d(rows, memory_rows, assume_unique=True, return_indices=True)
        places[mine] = theirs
    return places


def lsh_quality(memory: Memory, queries: Tensor, count: int) -> dict[str, float]:
    """How the hash tables of a memory find the nearest keys of queries (n, key dimension) on the CPU.

    recall: mean share of the `count` nearest that are found; candidates: mean rows that share a bucket with a query;
    exhaustive: share of queries for which all rows were searched, as too few did.
    """
    found = memory.lsh.search(queries.numpy(), count)
    nearest = exact_nearest(memory.keys.cpu(), queries, count).numpy()
    shared = (found.ids[:, :, None] == nearest[:, None, :]).any(axis=2)
    return {
        "recall": float(shared.mean()),
        "candidates": float(found.candidates.mean()),
        "exhaustive": float(found.exhaustive.mean()),
    }


@dataclass(frozen=True)
class FrozenFeatures:
    """Cross-entropy of attention and head, features frozen (Zhao & Cho, SysML 2018).

    features: phi of the training images without augmentation, (n, D). neighbors: (n, N) places in memory.
    """

    features: Tensor
    neighbors: NDArray[np.int64]

    def __call__(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        net: RetrievalAugmented = model.net
        features = self.features[torch.from_numpy(batch.rows)].to(batch.inputs.device)
        places = torch.from_numpy(self.neighbors[batch.rows]).to(batch.inputs.device)
        neighbors, labels = net.memory.features[places], net.memory.labels[places]
        logits = net.classify(net.attention(features, neighbors), neighbors, labels)
        return functional.cross_entropy(logits, batch.targets), logits


@dataclass(frozen=True)
class FineTuning:
    """Cross-entropy with trained features and local mixup (Zhao & Cho, arXiv 1802.09502).

    Of every `ordinary + mixup` updates the first `ordinary` minimise CE(g(P(x)), y), the others
    CE(g(sum alpha_k phi(x'_k)), sum alpha_k y'_k) with alpha uniform on the simplex. Gradients flow through the
    features of the neighbours, too. The training accuracy of mixup updates counts the label of x.
    images: uint8 (rows, H, W, 3) of memory, not augmented. neighbors: (n, N) places in memory of the training images'.
    """

    images: NDArray[np.uint8]
    neighbors: NDArray[np.int64]
    ordinary: int = 1
    mixup: int = 5

    def __call__(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        net: RetrievalAugmented = model.net
        device = batch.inputs.device
        places = torch.from_numpy(self.neighbors[batch.rows]).to(device)
        labels = net.memory.labels[places]
        mixes = batch.step % (self.ordinary + self.mixup) >= self.ordinary
        # bf16 is about 20 times slower on CPUs that lack it.
        with torch.autocast("cuda", torch.bfloat16, enabled=batch.inputs.is_cuda):
            neighbors = self._features(model, places)
            features: Any = None if mixes else net.phi(standardized(model, batch.inputs))
        if mixes:
            weights = uniform_simplex(places.shape[0], places.shape[1], batch.generator).to(device)
            targets = convex_sum(weights, functional.one_hot(labels, net.classes).to(weights))
        else:
            weights, targets = net.attention(features.float(), neighbors), batch.targets
        logits = net.classify(weights, neighbors, labels)
        return functional.cross_entropy(logits, targets), logits

    def _features(self, model: Any, places: Tensor) -> Tensor:
        """Features (B, N, D) of the images at these places in memory, each computed once."""
        rows, where = places.unique(return_inverse=True)
        images = image_batch(self.images[rows.cpu().numpy()], slice(None), places.device)
        return model.net.phi(standardized(model, images)).float()[where]


def standardized(model: Standardized, images: Tensor) -> Tensor:
    """What `model.net` sees of images (B, 3, H, W) in [0, 1]."""
    return (images.contiguous(memory_format=torch.channels_last) - model.mean) / model.std
