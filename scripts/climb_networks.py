"""Climb on networks that attackers have for the defences: all defences are tried on where the steps end.

Where they end does not depend on the defence, so every image is climbed with once, at every budget of a pack.
"""

import argparse
import json

import numpy as np

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import Ball
from nndefense.axes.numbers import number_text
from nndefense.core.arrays import write_arrays
from nndefense.core.command import Job, computing_options, parser, run
from nndefense.core.files import read_json
from nndefense.core.progress import Progress
from nndefense.core.registry import make
from nndefense.core.seeds import derive_seed
from nndefense.evaluation.context import read_drawn
from nndefense.images.classes import check_network


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    import torch

    from nndefense.attacks.problem import make_problem
    from nndefense.attacks.region import region_of
    from nndefense.models.batching import in_batches
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.computing import computing_of

    computing = computing_of(arguments, job)
    statistics, networks = read_json(arguments.target), []
    for path in arguments.networks:
        networks.append(freeze(open_checkpoint(path)[0]).to(device))
        check_network(read_json(path), arguments.clean)
    attack = make("attack", ATTACKS, arguments.attack, json.loads(arguments.options))
    clean = read_drawn(arguments.clean, arguments.count, seed=arguments.seed)
    count, found = len(clean["rows"]), {"rows": clean["rows"]}

    def climb(epsilon: float, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images = torch.from_numpy(clean["images"][part]).to(device).contiguous(memory_format=torch.channels_last)
        problem = make_problem(
            networks[0],
            images,
            torch.from_numpy(clean["labels"][part]),
            region=region_of(Ball.parse(arguments.ball), (statistics["mean"], statistics["std"]), images, epsilon),
            rows=torch.from_numpy(clean["rows"][part]),
            seed=derive_seed(arguments.seed, "climbs", arguments.attack),
            context={"surrogates": networks},
            computing=computing,
        )
        ends, moved = attack.ends(problem)
        stacked = np.stack([one.contiguous().cpu().numpy() for one in ends])
        return problem.region.radius.cpu().numpy(), stacked, moved.cpu().numpy()

    with Progress("climbs on networks", count * len(arguments.epsilons), "images", job.log) as progress:
        for epsilon in arguments.epsilons:
            parts = []
            for one in in_batches(lambda part, epsilon=epsilon: climb(epsilon, part), count, arguments.batch):
                parts.append(one)
                progress.advance(len(one[0]))
            radii, ends, moved = zip(*parts, strict=True)
            at = number_text(epsilon)
            found[f"{at}/radii"], found[f"{at}/moved"] = np.concatenate(radii), np.concatenate(moved)
            found[f"{at}/ends"] = np.concatenate(ends, axis=1)
    write_arrays(arguments.output, **found)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--count", type=int, help="images that are attacked, drawn at random (default: all)")
    options.add_argument("--networks", nargs="+", required=True, help="model.json of each network, in their order")
    options.add_argument("--target", required=True, help="model.json of the model that defines the standardized space")
    options.add_argument("--attack", required=True, help="name of the attack")
    options.add_argument("--options", default="{}", help="its options, as JSON")
    options.add_argument("--ball", default="raw01", help="raw01 or standardized: where distances are measured")
    options.add_argument("--epsilons", type=float, nargs="+", required=True, help="largest distances in the ball")
    options.add_argument("--batch", type=int, default=125, help="images attacked at once")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, computing_options(options).parse_args())
