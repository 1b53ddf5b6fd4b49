"""The nearest-neighbour defence on disk: one description that names its files, relative to its own place."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nndefense.core.arrays import read_array
from nndefense.core.files import read_json
from nndefense.core.seals import fault, read_seal
from nndefense.database.engines.held import hold
from nndefense.database.engines.stored import Span
from nndefense.database.index import check_made_with
from nndefense.database.softmax_store import ShardRows
from nndefense.database.stored_softmax import open_stores
from nndefense.defenses.neighbors import BoundNeighbors, NearestNeighbors
from nndefense.features.encode import Encoder
from nndefense.features.stored_pca import read_pca
from nndefense.images.pool import PoolReader
from nndefense.models.build import freeze
from nndefense.models.checkpoint import open_checkpoint

FILE = "knn.json"
FORMAT = 4


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What a deployed defence consists of; paths as given, or absolute where they were read.

    Attributes:
        dataset: name of the experiment's data set.
        class_names: the names that classes index.
        size: pixels of the square images.
        resize: pixels of the short side before cropping (null: size).
        crop: "center", or "none" to squeeze the whole image into the square.
        model: model.json of the network that classifies.
        encoder: that of the network that gives the features, where it is another one; else none.
        layer: the layer whose features are compared.
        pooled: side of the pooled map by layer, where it is not the paper's.
        pca: .npz.
        pool_name: of the database.
        images: number of images in the database.
        codes, skipped, softmax, weights, checks: files of the shards, in their order.
        pixels: likewise, sums of the images' pixels, by which test images among them are found.
        index: likewise, of an approximate search; none where every code is compared.
        pool: parquet with the set and row of every image of the pool.
        sets: set.json of every image set of the pool.
        options: of `NearestNeighbors`.
    """

    dataset: str
    class_names: Sequence[str]
    size: int
    resize: int | None
    crop: str
    model: str
    encoder: Sequence[str]
    layer: str
    pooled: Mapping[str, int]
    pca: str
    pool_name: str
    images: int
    index: Sequence[str]
    codes: Sequence[str]
    skipped: Sequence[str]
    softmax: Sequence[str]
    weights: Sequence[str]
    checks: Sequence[str]
    pixels: Sequence[str]
    pool: str
    sets: Sequence[str]
    options: Mapping[str, Any]


PATHS = (
    "model",
    "encoder",
    "pca",
    "index",
    "codes",
    "skipped",
    "softmax",
    "weights",
    "checks",
    "pixels",
    "pool",
    "sets",
)


def to_json(deployed: Deployed, folder: str | Path) -> dict[str, Any]:
    """The description as JSON, its paths relative to the folder that it will lie in."""
    values = {field.name: getattr(deployed, field.name) for field in fields(deployed)}
    for name in PATHS:
        values[name] = _each(values[name], lambda path: Path(os.path.relpath(path, folder)).as_posix())
    return {"format": FORMAT, **values}


def read_deployed(place: str | Path) -> Deployed:
    """The description in a folder of results, or in a file.

    Raises:
        FileFault: it is absent, damaged, or of another format.
    """
    path = Path(place)
    path = path / FILE if path.is_dir() else path
    values = read_json(path)
    names = {field.name for field in fields(Deployed)}
    if values.pop("format", None) != FORMAT or set(values) != names:
        raise fault(path, "does not describe a deployed defence, or is of another version")
    for name in PATHS:
        values[name] = _each(values[name], lambda one: str(path.parent / one))
    return Deployed(**values)


def open_deployed(deployed: Deployed, device: str = "cpu") -> BoundNeighbors:
    """The defence, ready to answer; codes and softmax rows stay on disk.

    Args:
        deployed: as `read_deployed` gives it.
        device: of the network.

    Raises:
        FileFault: a file is absent, damaged, or does not belong to the others; it is named.
    """
    model, _ = open_checkpoint(deployed.model)
    model = freeze(model).to(device)
    return NearestNeighbors(**deployed.options).bind(model, retrieval_context(deployed, model))


def retrieval_context(deployed: Deployed, model: nn.Module) -> dict[str, Any]:
    """The context of `NearestNeighbors`: encode, shards, store, codes, read.

    Args:
        deployed: as `read_deployed` gives it.
        model: the network of `deployed.model`, frozen, on its device.

    Raises:
        FileFault: a file is absent, damaged, or does not belong to the others; it is named.
    """
    pca, pca_id = read_pca(deployed.pca)
    digest, *others = (read_json(path)["weights_sha256"] for path in (deployed.model, *deployed.encoder))
    facts = {"model": digest, "pool": deployed.pool_name}
    own = facts | {"pca": pca_id, "layer": deployed.layer, "model": [digest, *others][-1]}
    stored = []
    for path in deployed.codes:
        array, about = read_array(path, mapped=True)
        check_made_with(path, about, own)
        stored.append((about["start"], about["stop"], array))
    for path in (*deployed.softmax, *deployed.weights, *deployed.checks):
        check_made_with(path, read_seal(path)["about"], facts)
    runs = _runs([one[:2] for one in stored])
    codes, indexes = (
        [Span(files[run], deployed.skipped[run], **own) for run in runs] if files else []
        for files in (deployed.codes, deployed.index)
    )
    (store,) = open_stores(deployed.softmax, deployed.weights, deployed.checks).values()
    network = freeze(open_checkpoint(deployed.encoder[0])[0]).to(_device(model)) if deployed.encoder else model
    encode = Encoder(network, deployed.layer, pca, deployed.pooled)
    return {
        "encode": encode,
        "shards": list(hold(codes, indexes)),
        "store": store,
        "codes": ShardRows(stored),
        "read": partial(_read_images, deployed),
    }


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _runs(shards: Sequence[tuple[int, int]]) -> list[slice]:
    """Places of shards that follow each other without a gap."""
    cuts = [place for place in range(1, len(shards)) if shards[place][0] != shards[place - 1][1]]
    return [slice(low, high) for low, high in pairwise([0, *cuts, len(shards)])]


def _read_images(deployed: Deployed, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    return PoolReader.open(deployed.pool, deployed.sets).read(ids).images


def _each(value: str | Sequence[str], change: Callable[[str], str]) -> str | list[str]:
    return change(value) if isinstance(value, str) else [change(one) for one in value]
