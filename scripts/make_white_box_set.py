"""Attack the clean query set in the white-box setting, with what the attacker knows of the defence.

The attacker has the model, the layer and the PCA that the defence searches with, and a database of its own, from which
it takes the neighbours of each clean image beforehand (Dubey et al. 2019, §6.1).
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

from nndefense.command import Job, parser, run
from nndefense.features.stored_pca import read_pca
from nndefense.files import read_arrays, read_json, read_table, write_arrays
from nndefense.images.pool import PoolReader
from nndefense.progress import Progress
from nndefense.seeds import derive_seed


def make_encoder(model: Any, layer: str, pca_path: str, pooled: dict[str, int], device: str) -> Callable:
    """A differentiable function from images (B, 3, H, W) to the codes (B, d) that the defence searches with."""
    from nndefense.features.extract import FeatureExtractor
    from nndefense.features.pca import as_torch

    mean, projection = as_torch(read_pca(pca_path)[0], device)
    extractor = FeatureExtractor(model, [layer], pooled, stop_early=True)
    return lambda images: (extractor(images)[0][layer] - mean) @ projection.T


def make_context(needs: tuple[str, ...], arguments: argparse.Namespace, encode: Callable | None) -> Callable:
    """A function from rows of the query set (slice) to what the attack needs to know of their neighbours."""
    import torch

    knowledge = read_arrays(arguments.knowledge)
    reader = None
    if "neighbor_images" in needs:
        columns = read_table(arguments.pool, "set", "row")
        reader = PoolReader(columns["set"], columns["row"], map(read_json, arguments.sets))

    def context(rows: slice) -> dict[str, Any]:
        found = {key: torch.from_numpy(knowledge[key][rows]) for key in needs if key in knowledge}
        if "encode" in needs:
            found["encode"] = encode
        if reader is not None:
            ids = knowledge["ids"][rows]
            pixels = torch.from_numpy(reader.read(ids.ravel()).images)
            found["neighbor_images"] = pixels.unflatten(0, ids.shape).permute(0, 1, 4, 2, 3).float() / 255
        return found

    return context


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.attacks.batches import attack_in_batches, summarize
    from nndefense.attacks.registry import make_attack
    from nndefense.attacks.space import PixelSpace
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    model, about = open_checkpoint(arguments.target)
    model = freeze(model).to(device)
    attack = make_attack(arguments.attack, **json.loads(arguments.options))
    encode = make_encoder(model, arguments.layer, arguments.pca, json.loads(arguments.pooled), device)
    clean = read_arrays(arguments.clean, "images", "labels", "rows")
    name = f"{arguments.attack} {arguments.database} epsilon {arguments.epsilon:g}"
    with Progress(name, len(clean["labels"]), "images", job.log) as progress:
        attacked = attack_in_batches(
            attack,
            model,
            clean,
            epsilon=arguments.epsilon,
            space=PixelSpace(arguments.space, about["mean"], about["std"]),
            # Not the database: what it adds is then not mixed with another random start.
            seed=derive_seed(arguments.seed, "attack", "white_box", arguments.attack),
            batch=arguments.batch,
            budget=arguments.budget,
            context=make_context(attack.needs, arguments, encode),
            on_batch=lambda result: progress.advance(len(result.images), f"loss {result.loss_after.mean():.3f}"),
        )
    job.say(summarize(attacked, arguments.space, arguments.epsilon))
    write_arrays(arguments.output, **attacked)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--target", required=True, help="model.json of the attacked model")
    options.add_argument("--attack", required=True, help="name of the attack")
    options.add_argument("--options", default="{}", help="its options, as JSON")
    options.add_argument("--database", required=True, help="name of the attacker's database, for the log")
    options.add_argument("--knowledge", required=True, help="neighbours in the attacker's database, .npz")
    options.add_argument("--layer", required=True, help="layer that the defence searches by")
    options.add_argument("--pca", required=True, help="its PCA, .npz")
    options.add_argument("--pooled", default="{}", help="side of the pooled map by layer, as JSON")
    options.add_argument("--pool", required=True, help="pool of the database, for attacks that need neighbours' pixels")
    options.add_argument("--sets", nargs="*", default=[], help="set.json of every image set of that pool")
    options.add_argument("--space", default="raw01", help="pixel space of the budget")
    options.add_argument("--epsilon", type=float, required=True, help="largest normalised l2 distance")
    options.add_argument(
        "--budget", default="per_image", help="per_image, or dataset_mean: epsilon is the mean distance"
    )
    options.add_argument("--batch", type=int, default=125, help="images attacked at once")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
