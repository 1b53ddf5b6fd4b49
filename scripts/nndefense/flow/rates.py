"""What a machine does in a second, as `benchmarks/rates.py` measures it: what a plan reckons with."""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from nndefense.config.base import Section, Text
from nndefense.config.messages import one_line
from nndefense.core.errors import ConfigError
from nndefense.core.options import NotNegative, Positive


class StartUp(Section):
    """A Python process that imports what its job does, before it does anything."""

    seconds: Positive = Field(description="CPU seconds.")
    megabytes: Positive = Field(description="Resident memory.")


class StartUps(Section):
    """Jobs by what they import."""

    numpy: StartUp = Field(description="NumPy, as votes and merges do.")
    scipy: StartUp = Field(description="SciPy, too, as what fits PCAs and applies them does.")
    tables: StartUp = Field(description="pyarrow, too, as what lists and reads image sets does.")
    faiss: StartUp = Field(description="NumPy and FAISS, as searches do.")
    torch: StartUp = Field(description="PyTorch, and a first pass of a network.")


class ImageRates(Section):
    """Image sets of one sort; times are of one core."""

    list_us: Positive = Field(description="Microseconds to list an image.")
    read_us: Positive = Field(description="Microseconds to read (or draw, or decode) an image of `side` pixels.")
    side: Positive = Field(description="Side of the images that were read.")
    scales: bool = Field(description="Whether reading takes as long as there are pixels in the image that is made.")
    bytes: NotNegative | None = Field(description="Bytes of a manifest an image (null = it depends on their names).")


class NetworkRate(Section):
    """A network on one core."""

    images_per_s: Positive = Field(description="Forward passes a second.")
    backward: Positive = Field(
        description="Duration of a step's gradient of the images, and of the step, in forward passes."
    )
    training: Positive = Field(description="Duration of a step of training, in forward passes.")


class Networks(Section):
    """Networks that were not measured, by their number of operations."""

    gflops: Positive = Field(description="10^9 operations of a forward pass a second.")
    backward: Positive = Field(description="As of a network that was measured.")
    training: Positive = Field(description="As of a network that was measured.")


class Device(Networks):
    """A GPU."""

    assumed: bool = Field(description="Whether these numbers were assumed, not measured.")


class Search(Section):
    """Search of codes on one core."""

    gflops: Positive = Field(description="10^9 operations a second of the products of exact search.")
    pair_ns: NotNegative = Field(description="Nanoseconds besides for each pair of a query and a code.")
    bit_pair_ns: Positive = Field(description="Nanoseconds for each pair of a query and a code of 256 bits.")
    merge_ns: Positive = Field(description="Nanoseconds for each place of lists that are merged.")


class Votes(Section):
    """Votes on one core, for three weightings and two combinations."""

    row_ns: Positive = Field(description="Nanoseconds for each neighbour of a query.")
    class_ns: Positive = Field(description="Nanoseconds besides for each class of its softmax row.")


class Rates(Section):
    """What a machine does in a second."""

    machine: Text = Field(description="Processor, and versions of what was measured.")
    start_up: StartUps = Field(description="Processes.")
    images: dict[str, ImageRates] = Field(description="Image sets: `drawn`, `held` in memory, in `files`.")
    networks: dict[str, NetworkRate] = Field(description="Networks by ARCHITECTURE/SIDE.")
    other_networks: Networks = Field(description="Networks besides.")
    gpu: Device = Field(description="A GPU.")
    read_mb_per_s: Positive = Field(description="10^6 bytes a second that are read and verified.")
    write_mb_per_s: Positive = Field(description="10^6 bytes a second that are hashed and written.")
    pool_us: Positive = Field(description="Microseconds an image of a pool that is a table.")
    pool_bytes: Positive = Field(description="Bytes an image of such a pool.")
    pca_gflops: Positive = Field(description="10^9 operations a second in double precision.")
    encode_gflops: Positive = Field(description="10^9 operations a second of features that become codes.")
    search: Search = Field(description="Search.")
    votes: Votes = Field(description="Votes.")


def check_rates(raw: Any) -> Rates:
    """Rates of what was read from a file.

    Raises:
        ConfigError: one line that names the key, what is wrong, and what is allowed.
    """
    try:
        return Rates.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"rates: {one_line(error, Rates, raw)}") from None


def read_rates(path: str | Path) -> Rates:
    """Rates from a JSON file. Raises ConfigError, also where it cannot be read."""
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"rates {path}: cannot be read ({error}); allowed: what benchmarks/rates.py writes") from None
    return check_rates(raw)
