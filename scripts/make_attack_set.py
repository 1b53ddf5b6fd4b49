"""Attack the clean query set in the gray-box or black-box setting; distances are measured in both pixel spaces."""

import argparse
import json

from nndefense.command import Job, parser, run
from nndefense.files import read_arrays, read_json, write_arrays
from nndefense.progress import Progress
from nndefense.seeds import derive_seed


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    import torch

    from nndefense.attacks.batches import attack_in_batches, summarize
    from nndefense.attacks.registry import make_attack
    from nndefense.attacks.space import PixelSpace
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    model, _ = open_checkpoint(arguments.attacker)
    target = read_json(arguments.target)
    clean = read_arrays(arguments.clean, "images", "labels", "rows")
    context = {}
    for path in arguments.direction:
        context["direction"] = torch.from_numpy(read_arrays(path, "directions")["directions"])
    name = f"{arguments.attack} {arguments.setting} epsilon {arguments.epsilon:g}"
    with Progress(name, len(clean["labels"]), "images", job.log) as progress:
        attacked = attack_in_batches(
            make_attack(arguments.attack, **json.loads(arguments.options)),
            freeze(model).to(device),
            clean,
            epsilon=arguments.epsilon,
            space=PixelSpace(arguments.space, target["mean"], target["std"]),
            seed=derive_seed(arguments.seed, "attack", arguments.setting, arguments.attack),
            batch=arguments.batch,
            budget=arguments.budget,
            context=lambda rows: {key: values[rows] for key, values in context.items()},
            on_batch=lambda result: progress.advance(len(result.images), f"loss {result.loss_after.mean():.3f}"),
        )
    job.say(summarize(attacked, arguments.space, arguments.epsilon))
    write_arrays(arguments.output, **attacked)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--attacker", required=True, help="model.json of the model whose gradients are used")
    options.add_argument("--target", required=True, help="model.json of the model that defines the standardized space")
    options.add_argument("--attack", required=True, help="name of the attack")
    options.add_argument("--options", default="{}", help="its options, as JSON")
    options.add_argument("--setting", required=True, help="gray_box or black_box, enters the seed")
    options.add_argument("--space", default="raw01", help="pixel space of the budget")
    options.add_argument("--epsilon", type=float, required=True, help="largest normalised l2 distance")
    options.add_argument(
        "--budget", default="per_image", help="per_image, or dataset_mean: epsilon is the mean distance"
    )
    options.add_argument("--batch", type=int, default=125, help="images attacked at once")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--direction", nargs="*", default=[], help="directions that the attack scales, .npz")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
