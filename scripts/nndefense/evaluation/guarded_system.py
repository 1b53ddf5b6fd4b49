"""A smoothed retrieval on disk: one description that names its files, relative to its own place.

`results/retrievalguard/{task}/{embedding}/sigma-{sigma}/system.json` is written by `scripts/describe_retrieval.py`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nndefense.core.errors import FileFault
from nndefense.core.files import file_sha256, read_json
from nndefense.core.seals import fault

if TYPE_CHECKING:
    from nndefense.certificates.base import Gallery
    from nndefense.models.embedding import Embedding

FOLDER = "retrievalguard"
FILE = "system.json"
FILES = ("gallery", "model", "transform")


@dataclass(frozen=True, kw_only=True)
class GuardedSystem:
    """What answers, and by what it is certified; paths from the working directory.

    Attributes:
        name: TASK/EMBEDDING/sigma-SIGMA.
        model: model.json of the network.
        transform: what is done to its features, .npz; none or one.
        gallery: vectors of the gallery, .npz. gallery_sha256: of that file, when it was described.
        output: which values of the network are embeddings.
        sigma: standard deviation of the noise.
        alpha: probability, for each answer, that its radius is too large.
        first, draws: noisy copies that choose an answer, and that certify it.
        batch: noisy images a forward pass.
        certificates: their names.
        class_names: that labels of the gallery index.
        size, resize, crop: how image files are brought to the network's size, as of `decode.fit`.
    """

    name: str
    model: str
    transform: Sequence[str]
    gallery: str
    gallery_sha256: str
    output: str
    sigma: float
    alpha: float
    first: int
    draws: int
    batch: int
    certificates: Sequence[str]
    class_names: Sequence[str]
    size: int
    resize: int | None
    crop: str


def list_guarded(results: str | Path) -> list[str]:
    """Names of the retrievals that are described in a folder of results, sorted."""
    root = Path(results, FOLDER)
    return sorted(path.parent.relative_to(root).as_posix() for path in root.glob(f"*/*/sigma-*/{FILE}"))


def find_guarded(results: str | Path, name: str) -> Path:
    """The description of a retrieval in a folder of results. FileFault where there is none, which says how it is made.

    name: TASK/EMBEDDING/sigma-SIGMA.
    """
    path = Path(results, FOLDER, name, FILE)
    if not path.is_file():
        there = ", ".join(list_guarded(results)) or "none"
        raise FileFault(f"{path}: is not there; described here: {there}; others: snakemake {path}")
    return path


def read_guarded(path: str | Path) -> GuardedSystem:
    """The description in a file.

    Raises:
        FileFault: it is absent, damaged, or of another version.
    """
    values = read_json(path)
    files = values.pop("files", None)
    if not isinstance(files, dict) or set(files) != set(FILES) or not files["gallery"] or not files["model"]:
        raise fault(path, "does not describe a smoothed retrieval, or is of another version")
    places: dict[str, Any] = {
        key: [os.path.normpath(Path(path).parent / one) for one in listed] for key, listed in files.items()
    }
    places |= {key: places[key][0] for key in ("gallery", "model")}
    try:
        return GuardedSystem(**values, **places)
    except TypeError as error:
        raise fault(path, f"does not describe a smoothed retrieval, or is of another version ({error})") from None


def open_guarded(system: GuardedSystem, device: str = "cpu") -> tuple["Embedding", "Gallery"]:
    """What a description names: the embedding, on the device, and the smoothed gallery.

    Raises:
        FileFault: a file is absent or damaged, or the gallery is not the one that was described; it is named.
    """
    from nndefense.evaluation.guarded import open_galleries
    from nndefense.models.embedding import open_embedding

    # A certificate is about one gallery, which must not depend on the images that are asked about.
    if file_sha256(system.gallery) != system.gallery_sha256:
        raise fault(system.gallery, f"has another checksum than the {FILE} beside it records")
    _, gallery, _ = open_galleries(system.gallery)
    if gallery.labels.max() >= len(system.class_names):
        raise fault(system.gallery, f"has class {gallery.labels.max()}, but {FILE} names {len(system.class_names)}")
    return open_embedding(system.model, system.output, system.transform, device), gallery
