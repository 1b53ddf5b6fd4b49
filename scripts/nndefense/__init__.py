"""Nearest-neighbour defences against adversarial images: the library under the Snakemake workflow.

A package imports only from packages before it:
core -> axes -> images -> models -> features -> database -> retrieval -> attacks -> defenses -> certificates ->
evaluation -> config -> flow -> report. `config` names components of the packages before it, so it stands above them,
and `flow` says which files a configuration asks for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame

    from nndefense.api import DefendedNetwork

__version__ = "0.1.0"


def load(place: "str | Path" = "results", device: str = "cpu") -> "DefendedNetwork":
    """The nearest-neighbour defence of a finished run, as a `torch.nn.Module`: see `nndefense.api.load`."""
    from nndefense.api import load as opened

    return opened(place, device)


def rows(place: "str | Path" = "results", kind: str = "accuracy", **equal: object) -> "DataFrame":
    """Result rows of a run as a pandas DataFrame: see `nndefense.evaluation.frame.read_frame`."""
    from nndefense.evaluation.frame import read_frame

    return read_frame(place, kind, **equal)
