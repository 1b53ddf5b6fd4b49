"""Readers of what purification by dictionaries needs; see `nndefense.evaluation.context`."""

from typing import Any

from nndefense.core.arrays import read_arrays
from nndefense.evaluation.context import Facts, Files


def read_dictionaries(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """What `SemanticDictionaries` needs but for an oracle; files: clusters, dictionaries, model.json of the chooser."""
    import torch

    from nndefense.dictionaries.stored_clusters import read_clusters
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    clusters, learnt, chooser, _ = files
    device = next(network.parameters()).device
    found, stored = read_clusters(clusters), read_arrays(learnt, "filters", "low_pass")
    return {
        "chooser": freeze(open_checkpoint(chooser)[0]).to(device),
        "deviations": found.deviations,
        "filters": torch.from_numpy(stored["filters"]).to(device),
        "low_pass": float(stored["low_pass"]),
        "means": found.means,
    }


def read_oracle(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """`oracle`: image id -> its cluster."""
    stored = read_arrays(files[0], "rows", "clusters")
    return {"oracle": dict(zip(stored["rows"].tolist(), stored["clusters"].tolist(), strict=True))}
