"""Find the directions of an attack that looks for the smallest perturbation: one search, which every budget scales."""

import argparse
import json

import numpy as np

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import Ball
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_json
from nndefense.core.progress import Progress
from nndefense.core.registry import make
from nndefense.images.classes import check_network


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    import torch

    from nndefense.models.batching import in_batches
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    model = freeze(open_checkpoint(arguments.attacker)[0]).to(device)
    check_network(read_json(arguments.attacker), arguments.clean)
    target = read_json(arguments.target)
    attack = make("attack", ATTACKS, arguments.attack, json.loads(arguments.options))
    stored = read_arrays(arguments.clean, "clean/images", "labels", "rows")
    clean = {name.removeprefix("clean/"): torch.from_numpy(values) for name, values in stored.items()}

    def find(rows: slice) -> torch.Tensor:
        return attack.find_direction(
            model,
            clean["images"][rows].to(device).contiguous(memory_format=torch.channels_last),
            clean["labels"][rows].to(device),
            ball=Ball.parse(arguments.ball),
            statistics=(target["mean"], target["std"]),
            rows=clean["rows"][rows],
        ).cpu()

    parts = []
    with Progress(f"{arguments.attack} directions", len(clean["labels"]), "images", job.log) as progress:
        for directions in in_batches(find, len(clean["labels"]), arguments.batch):
            parts.append(directions.contiguous().numpy())
            progress.advance(len(directions))
    write_arrays(arguments.output, directions=np.concatenate(parts), rows=stored["rows"])


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--attacker", required=True, help="model.json of the model whose gradients are used")
    options.add_argument("--target", required=True, help="model.json of the model that defines the standardized space")
    options.add_argument("--attack", required=True, help="name of the attack")
    options.add_argument("--options", default="{}", help="its options, as JSON")
    options.add_argument("--ball", default="raw01", help="raw01 or standardized: where distances are measured")
    options.add_argument("--batch", type=int, default=125, help="images attacked at once")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
