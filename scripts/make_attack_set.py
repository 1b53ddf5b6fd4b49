"""Attack the clean query set at every budget of a pack; distances are measured in every ball.

The attacked system is a network or a defence bound to one. What attack and defence need to know besides (directions,
neighbours in a database, ...) comes as files, each with the need that it is for.
"""

import argparse
import json

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import Ball
from nndefense.axes.threat import Threat
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, computing_options, need_options, parser, run
from nndefense.core.files import read_json
from nndefense.core.progress import Progress
from nndefense.core.registry import make
from nndefense.core.seeds import derive_seed
from nndefense.defenses import DEFENSES
from nndefense.evaluation.context import at_rows, read_context, read_drawn
from nndefense.images.classes import check_network


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()

    from nndefense.attacks.batches import attack_in_batches, summarize
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.computing import computing_of

    threat, ball = Threat.parse(arguments.threat), Ball.parse(arguments.ball)
    target, statistics = freeze(open_checkpoint(arguments.attacker)[0]).to(device), read_json(arguments.target)
    check_network(read_json(arguments.attacker), arguments.clean)
    context = read_context(
        arguments.roles, arguments.files, json.loads(arguments.readers), json.loads(arguments.facts), target
    )
    if arguments.defense:
        target = make("defense", DEFENSES, arguments.defense, json.loads(arguments.defense_options)).bind(
            target, context
        )
    if arguments.count is None:
        stored = read_arrays(arguments.clean, "clean/images", "labels", "rows")
        clean = {name.removeprefix("clean/"): values for name, values in stored.items()}
    else:
        clean = read_drawn(arguments.clean, arguments.count, seed=arguments.seed)
    name = f"{arguments.attack} {threat}"
    total = len(clean["labels"]) * len(arguments.epsilons)
    with Progress(name, total, "images", job.log) as progress:
        attacked = attack_in_batches(
            make("attack", ATTACKS, arguments.attack, json.loads(arguments.options)),
            target,
            clean,
            epsilons=arguments.epsilons,
            ball=ball,
            statistics=(statistics["mean"], statistics["std"]),
            seed=derive_seed(arguments.seed, "attack", threat.stream, arguments.attack),
            batch=arguments.batch,
            budget=arguments.budget,
            context=lambda rows: at_rows(context, rows),
            computing=computing_of(arguments, job),
            on_batch=lambda result: progress.advance(len(result.images), f"loss {result.loss_after.mean():.3f}"),
        )
    for epsilon in arguments.epsilons:
        job.say(summarize(attacked, ball, epsilon))
    write_arrays(arguments.output, **attacked)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--count", type=int, help="images that are attacked, drawn at random (default: all)")
    options.add_argument("--attacker", required=True, help="model.json of the network whose gradients are used")
    options.add_argument("--target", required=True, help="model.json of the model that defines the standardized space")
    options.add_argument("--attack", required=True, help="name of the attack")
    options.add_argument("--options", default="{}", help="its options, as JSON")
    options.add_argument("--ball", default="raw01", help="raw01, standardized or linf")
    options.add_argument("--threat", required=True, help="threat model, enters the seed")
    options.add_argument("--epsilons", type=float, nargs="+", required=True, help="largest distances in the ball")
    options.add_argument(
        "--budget", default="per_image", help="per_image, or dataset_mean: epsilon is the mean distance"
    )
    options.add_argument("--defense", help="kind of the defence that is attacked (default: the network itself)")
    options.add_argument("--defense-options", default="{}", help="its options, as JSON")
    options.add_argument("--batch", type=int, default=125, help="images attacked at once")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, computing_options(need_options(options)).parse_args())
