"""Nearest-neighbour defences against adversarial images: the library under the Snakemake workflow.

A package imports only from packages before it:
core -> axes -> images -> models -> features -> database -> retrieval -> attacks -> defenses -> certificates ->
evaluation -> config -> flow -> report. `config` names components of the packages before it, so it stands above them,
and `flow` says which files a configuration asks for.
"""

__version__ = "0.1.0"


def load(place="results", device="cpu"):
    """The nearest-neighbour defence of a finished run, as a `torch.nn.Module`: see `nndefense.api.load`."""
    from nndefense.api import load as opened

    return opened(place, device)
