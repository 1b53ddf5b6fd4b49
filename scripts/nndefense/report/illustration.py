"""What Figures 1 and 2 are drawn from: test images, the images next to them in the database, what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nndefense.axes.queries import Pack, QuerySet
from nndefense.core.arrays import read_array, read_arrays
from nndefense.database.lists import read_lists
from nndefense.database.softmax_store import SoftmaxStore
from nndefense.database.stored_softmax import open_stores
from nndefense.images.pool import PoolReader
from nndefense.report.names import Params, attack_name, class_names, setting_name
from nndefense.report.piece import Files
from nndefense.report.style import is_narrow
from nndefense.retrieval.votes import chosen_weights, vote_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST, NARROW = 17, 11  # letters of a class name that fit above an image; in a column


@dataclass(frozen=True)
class Shown:
    """One query set of the figure.

    Attributes:
        queries: which. path: its file.
        softmax: (n, C) of the undefended network.
        ids: (n, K) rows of the pool, nearest first, in the largest database. distances: (n, K), not squared.
    """

    queries: QuerySet
    path: str
    softmax: np.ndarray
    ids: np.ndarray
    distances: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """(n,) classes that the undefended network gives."""
        return self.softmax.argmax(1)

    def image(self, place: int) -> np.ndarray:
        """The image at a place in the query set, (H, W, 3) in [0, 1]."""
        name = f"{self.queries.member}/images"
        return read_arrays(self.path, name)[name][place].transpose(1, 2, 0)


@dataclass(frozen=True)
class Scene:
    """Everything that the figures show.

    Attributes:
        labels, rows: (n,) of the query images. class_names: that labels index.
        shown: query sets, clean first, the largest budget last.
        store: softmax rows of the database. database: its images.
    """

    labels: np.ndarray
    rows: np.ndarray
    class_names: Sequence[str]
    shown: Sequence[Shown]
    store: SoftmaxStore
    database: PoolReader


def read_scene(files: Files, params: Params) -> Scene:
    """The scene of a piece's files; params: names of the query sets and of the packs that hold them."""
    common = read_arrays(files["queries"][0], "labels", "rows")
    shown = []
    parts = zip(params["shown"], params["packs"], files["queries"], files["neighbors"], files["predicted"], strict=True)
    for name, pack, path, lists, softmax in parts:
        (queries,) = Pack.parse(name)
        place = list(Pack.parse(pack)).index(queries)
        merged = read_lists(lists, [params["size"]])
        answers, count = read_array(softmax)[0], len(common["labels"])
        rows = answers[place * count : (place + 1) * count]
        # The lists hold squared distances.
        distances = np.sqrt(merged["distances"][place, 0])
        shown.append(Shown(queries, path, rows, merged["ids"][place, 0], distances))
    (store,) = open_stores(files["softmax"], files["weights"], files["checks"]).values()
    database = PoolReader.open(files["pool"][0], files["sets"])
    return Scene(common["labels"], common["rows"], class_names(files["task"][0]), shown, store, database)


def shown_image(axes: Axes, image: np.ndarray) -> None:
    """Draw an image without axes: few pixels as they are, many smoothed, because each is smaller than a dot."""
    axes.imshow(image, interpolation="nearest" if max(image.shape[:2]) <= 64 else "antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def shortened(name: str) -> str:
    """A class name of as many letters as fit above an image."""
    longest = NARROW if is_narrow() else LONGEST
    return name if len(name) <= longest else name[: longest - 1] + "…"


def choose_query(labels: np.ndarray, predicted: Sequence[np.ndarray], voted: np.ndarray | None = None) -> int:
    """The first image that the network gets right when clean and wrong in the last query set; else the first right.

    Args:
        labels: (n,).
        predicted: (n,) each, one per query set, clean first.
        voted: (n,) classes that the defence gives in the last set; images that it gets right come first.

    Returns 0 if the network is never right.
    """
    right = predicted[0] == labels
    fooled = right & (predicted[-1] != labels)
    kept = fooled if voted is None else fooled & (voted == labels)
    return int(np.argmax(next((one for one in (kept, fooled) if one.any()), right)))


def query_title(queries: QuerySet, params: Params) -> str:
    """Clean, or PGD, gray box, Δ = 0.04 on three lines."""
    if queries.ball is None:
        return "Clean"
    attack, setting = attack_name(queries.attack, params), setting_name(str(queries.threat)).lower()
    return f"{attack}\n{setting}\nΔ = {queries.epsilon:g}"


def weights_of(store: SoftmaxStore, ids: np.ndarray, weighting: str) -> tuple[np.ndarray, np.ndarray]:
    """Softmax rows (..., C) and weights (...) of database images (K,)."""
    softmax, columns, _ = store.take(ids[None])
    return softmax[0], chosen_weights(columns, [weighting])[0, 0]


def base_vote(store: SoftmaxStore, ids: np.ndarray, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """What the base K nearest of database images vote for.

    Args:
        store: of the database.
        ids: rows of images, nearest first; -1 stands where there are fewer.
        params: `neighbors`, `weighting` and `combination`.

    Returns:
        Softmax rows (k, C) of those that vote, and the share (C,) of each class.
    """
    ids = ids[: params["neighbors"]]
    softmax, weights = weights_of(store, ids[ids >= 0], params["weighting"])
    return softmax, vote_shares(softmax[None], weights[None], params["combination"])[0]
