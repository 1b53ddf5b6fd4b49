"""Curves of training: loss and accuracy on the training images against the epoch, a line per network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nndefense.models.history import COLUMNS, read_history
from nndefense.report.curves import looks_of
from nndefense.report.legends import add_legend, handle
from nndefense.report.names import Params
from nndefense.report.piece import FIGURE, Files, Made, Piece
from nndefense.report.select import Rows
from nndefense.report.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"loss": "Training loss", "accuracy": "Training accuracy"}
MARKED = 12


def draw_training(histories: Mapping[str, Rows]) -> Figure:
    """Draw the histories of networks by name: rows of epoch, loss and accuracy.

    Accuracy is that on the images, not on adversarial ones; losses of different methods are sums of different terms.
    """
    looks = looks_of(list(histories))
    figure, axes = new_figure(7.6, 3.1, len(PANELS), sharey=False)
    for panel, (column, title) in zip(axes, PANELS.items(), strict=True):
        for name, rows in histories.items():
            epochs = [row["epoch"] for row in rows]
            # A marker at every epoch of a long training would hide the line.
            every = max(1, -(-len(rows) // MARKED))
            panel.plot(epochs, [row[column] for row in rows], markevery=every, clip_on=False, **looks[name])
        _label(panel, title)
    highest = max((row["loss"] for rows in histories.values() for row in rows), default=1)
    axes[0].set_ylim(0, 1.05 * highest)
    axes[1].set_ylim(0, 1.03)
    add_legend(figure, [handle(name, **look) for name, look in looks.items()], "Network")
    return figure


def _label(panel: Axes, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_title(title)
    panel.set_xlabel("Epoch")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    # Six significant digits, as in the histories: learning rates are small.
    return {name: f"{row[name]:.6g}" for name in COLUMNS}


@dataclass(frozen=True, kw_only=True)
class Training(Piece):
    """The figure of histories."""

    kind: str = FIGURE

    def make(self, files: Files, params: Params) -> Made:
        found = {name: read_history(path) for name, path in zip(params["models"], files["histories"], strict=True)}
        rows = [{"model": name, **_texts(row)} for name, history in found.items() for row in history]
        return Made(rows, ("model", *COLUMNS), figure=draw_training(found))


PIECE = Training(
    name="training",
    called="Training",
    category="Training",
    title="Loss and accuracy of the networks trained in this run",
    varies="network, epoch",
    shows="On the training images, with the noise that some methods add; losses of different methods are sums of "
    "different terms. Of an embedding, accuracy is the share of images whose nearest other one of the batch is of "
    "their class.",
    source="nndefense.report.sources:histories",
    attack="",
    settings=(),
)
