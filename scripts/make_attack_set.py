"""Attack the clean query set with one attack, setting and budget; distances are measured in both pixel spaces."""

import argparse
import json

import numpy as np

from nndefense.command import Job, parser, run
from nndefense.files import read_arrays, read_json, write_arrays
from nndefense.progress import Progress
from nndefense.seeds import derive_seed

MEASURES = ("loss_before", "loss_after", "delta_raw01", "delta_standardized", "saturated")


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    import torch

    from nndefense.attacks.registry import make_attack
    from nndefense.attacks.space import PixelSpace
    from nndefense.models.batching import in_batches
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    model, _ = open_checkpoint(arguments.attacker)
    model = freeze(model).to(device)
    target = read_json(arguments.target)
    space = PixelSpace(arguments.space, target["mean"], target["std"])
    attack = make_attack(arguments.attack, **json.loads(arguments.options))
    clean = read_arrays(arguments.clean, "images", "labels", "rows")
    tensors = {name: torch.from_numpy(values) for name, values in clean.items()}
    seed = derive_seed(arguments.seed, "attack", arguments.setting, arguments.attack)
    parts = []

    def attack_rows(rows: slice):
        images = tensors["images"][rows].to(device).contiguous(memory_format=torch.channels_last)
        return attack.run(
            model,
            images,
            tensors["labels"][rows].to(device),
            epsilon=arguments.epsilon,
            space=space,
            rows=tensors["rows"][rows],
            seed=seed,
        )

    name = f"{arguments.attack} {arguments.setting} epsilon {arguments.epsilon:g}"
    with Progress(name, len(clean["labels"]), "images", job.log) as progress:
        for result in in_batches(attack_rows, len(clean["labels"]), arguments.batch):
            parts.append(
                {"images": result.images.contiguous().cpu().numpy()}
                | {measure: getattr(result, measure).cpu().numpy() for measure in MEASURES}
            )
            progress.advance(len(result.images), f"loss {result.loss_after.mean():.3f}")
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    delta = joined[f"delta_{arguments.space}"]
    job.say(
        f"delta ({arguments.space}) mean {delta.mean():.5f}, largest {delta.max():.5f}, budget {arguments.epsilon:g}; "
        f"loss {joined['loss_before'].mean():.3f} -> {joined['loss_after'].mean():.3f}"
    )
    write_arrays(arguments.output, labels=clean["labels"], rows=clean["rows"], **joined)


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
    options.add_argument("--batch", type=int, default=125, help="images attacked at once")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
