"""Readers of needs that take an encoder, a pool or a deployed defence; see `nndefense.evaluation.context`."""

from typing import Any

from nndefense.core.arrays import read_arrays
from nndefense.evaluation.context import Facts, Files, PerRow


def read_neighbor_images(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """`neighbor_images` (B, K, 3, H, W) float32 in [0, 1], NaN for none; files: knowledge, pool, files of its sets."""
    import torch

    from nndefense.images.pool import PoolReader

    knowledge, pool, *sets = files
    ids = read_arrays(knowledge, "ids")["ids"]
    reader = PoolReader.open(pool, _descriptions(sets))

    def take(rows: slice) -> Any:
        wanted = torch.from_numpy(ids[rows])
        known = torch.from_numpy(reader.read(wanted[wanted >= 0].numpy()).images)
        pixels = torch.full((*wanted.shape, *known.shape[1:]), torch.nan)
        pixels[wanted >= 0] = known.float() / 255
        return pixels.permute(0, 1, 4, 2, 3)

    return {"neighbor_images": PerRow(take)}


def read_encoder(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """`encode`: images (B, 3, H, W) -> the codes (B, d) that the defence searches with, differentiable.

    Files: the PCA; model.json and weights of the network that gives the features, where it is not the one attacked.
    """
    from nndefense.features.extract import FeatureExtractor
    from nndefense.features.pca import as_torch
    from nndefense.features.stored_pca import read_pca
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    layer, device = facts["layer"], next(network.parameters()).device
    mean, projection = as_torch(read_pca(files[0])[0], device)
    encoder = freeze(open_checkpoint(files[1])[0]).to(device) if files[1:] else network
    extractor = FeatureExtractor(encoder, [layer], facts["pooled"], stop_early=True)
    return {"encode": lambda images: (extractor(images)[0][layer] - mean) @ projection.T}


def read_retrieval(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """What `NearestNeighbors` needs; the first file describes the deployed defence, the others are those it names."""
    from nndefense.defenses.deployed import read_deployed, retrieval_context

    return retrieval_context(read_deployed(files[0]), network)


def read_surrogates(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """`surrogates`: networks that an attacker has for the defended system; files: model.json and weights of each."""
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    device = next(network.parameters()).device
    return {"surrogates": [freeze(open_checkpoint(path)[0]).to(device) for path in files[::2]]}


def read_climbs(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """`climbs`: where climbs on other networks end, made for all defences; the file is that of `climb_networks`."""
    import torch

    from nndefense.attacks import ATTACKS
    from nndefense.attacks.transfer import Climbs
    from nndefense.core.registry import make

    stored = {name: torch.from_numpy(values) for name, values in read_arrays(files[0]).items()}
    budgets = [name.removesuffix("/radii") for name in stored if name.endswith("/radii")]
    parts = [(stored[f"{one}/radii"], stored[f"{one}/ends"], stored[f"{one}/moved"]) for one in budgets]
    return {"climbs": Climbs(make("attack", ATTACKS, facts["attack"], facts["options"]), stored["rows"], parts)}


def read_imitation(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """What `NearestNeighbors` needs, of an attacker's own retrieval: the network's features, the surrogate's rows.

    Files: model.json and weights of the surrogate, and of the network that gives the features, where that is another
    than the one attacked; pool, files of its sets.
    """
    import numpy as np

    from nndefense.axes.shards import parse_shard_name
    from nndefense.defenses.imitation import imitate
    from nndefense.images.pool import PoolReader
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    place = next(number for number, path in enumerate(files) if path.endswith(".parquet"))
    models, pool, sets = files[:place:2], files[place], files[place + 1 :]
    reader = PoolReader.open(pool, _descriptions(sets))
    shards = [parse_shard_name(one) for one in facts["shards"]]
    ids = np.concatenate([np.arange(start, stop) for start, stop in sorted(shards)])
    device = next(network.parameters()).device
    surrogate, *own = (freeze(open_checkpoint(path)[0]).to(device) for path in models)
    options = {name: facts[name] for name in ("layer", "pooled", "components", "samples", "batch")}
    return imitate(lambda places: reader.read(places).images, ids, own[0] if own else network, surrogate, **options)


def _descriptions(files: Files) -> list[str]:
    """Which files of image sets are set.json; these name their manifests, which may stand beside them."""
    return [path for path in files if path.endswith(".json")]
