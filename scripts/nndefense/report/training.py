"""Curves of training: loss and accuracy on the training images against the epoch, a line per network."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nndefense.report.curves import add_legend, handle, looks_of
from nndefense.report.style import new_figure

PANELS = {"loss": "Training loss", "accuracy": "Training accuracy"}
MARKED = 12


def draw_training(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw the histories of networks by name: dicts of epoch, loss and accuracy.

    Accuracy is that on the images, not on adversarial ones; losses of different methods are sums of different terms.
    """
    looks = looks_of(list(histories))
    figure, axes = new_figure(7.6, 3.1, len(PANELS), sharey=False)
    for panel, (column, title) in zip(axes, PANELS.items(), strict=True):
        for name, rows in histories.items():
            epochs = [row["epoch"] for row in rows]
            # A marker at every epoch of a long training would hide the line.
            every = -(-len(rows) // MARKED)
            panel.plot(epochs, [row[column] for row in rows], markevery=every, **looks[name])
        _label(panel, title)
    highest = max(row["loss"] for rows in histories.values() for row in rows)
    axes[0].set_ylim(0, 1.05 * highest)
    axes[1].set_ylim(0, 1.03)
    add_legend(figure, [handle(name, **look) for name, look in looks.items()], "Network")
    return figure


def _label(panel: Axes, title: str) -> None:
    panel.set_title(title)
    panel.set_xlabel("Epoch")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
