"""Find the worst case of a defence: attacks one after the other, each on the images that have held so far.

Images of attacks that were run before come first. What broke the defence is kept, and by whom; of images that hold, the
one that came furthest. Random defences are attacked with draws of the attacker's own.
"""

import argparse
import json
from collections.abc import Iterator

import numpy as np

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import Ball
from nndefense.axes.queries import Pack
from nndefense.axes.threat import Threat
from nndefense.core.arrays import write_arrays
from nndefense.core.command import Job, computing_options, need_options, parser, run
from nndefense.core.files import read_json, write_json
from nndefense.core.progress import Progress
from nndefense.core.registry import make
from nndefense.core.seeds import derive_seed
from nndefense.defenses import DEFENSES
from nndefense.evaluation.context import images_of, read_context, read_drawn
from nndefense.images.classes import check_network


def stored_images(arguments: argparse.Namespace, rows: np.ndarray, above: float, limit: float) -> Iterator:
    """Names and images (n, 3, H, W) of attacks that were run before, of budgets in (above, limit]."""
    for name, path in zip(arguments.names, arguments.stored, strict=True):
        pack = Pack.parse(name)
        for one in pack:
            if above < one.epsilon <= limit:
                found = images_of(path, rows, one.member)
                yield f"{pack.threat}/{pack.attack}", found


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()

    from nndefense.attacks.cascade import Cascade, worst_case
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.computing import computing_of

    threat, statistics = Threat.parse(arguments.threat), read_json(arguments.target)
    network = freeze(open_checkpoint(arguments.attacker)[0]).to(device)
    check_network(read_json(arguments.attacker), arguments.clean)
    facts = json.loads(arguments.facts)
    context = read_context(arguments.roles, arguments.files, json.loads(arguments.readers), facts, network)
    options = json.loads(arguments.attacks)
    bound = make("defense", DEFENSES, arguments.defense, json.loads(arguments.defense_options)).bind(network, context)
    clean = read_drawn(arguments.clean, arguments.count, seed=arguments.seed)
    with Progress(f"worst case of {threat.defense}", None, "images", job.log) as progress:
        cascade = Cascade(
            bound,
            clean,
            Ball.parse(arguments.ball),
            (statistics["mean"], statistics["std"]),
            derive_seed(arguments.seed, "attack", threat.stream),
            arguments.batch,
            context,
            lambda result: progress.advance(len(result.images)),
            json.loads(arguments.limits),
            computing_of(arguments, job),
        )
        arrays, report = worst_case(
            cascade,
            {name: make("attack", ATTACKS, name, options[name]) for name in arguments.order},
            epsilons=arguments.epsilons,
            stored=lambda above, limit: stored_images(arguments, clean["rows"], above, limit),
            doubled=arguments.doubled,
            sanity=arguments.sanity,
        )
    for share in report["shares"]:
        job.say(f"within {share['epsilon']:g}: {share['holds']:.3f} of {report['images']} images hold")
    write_arrays(arguments.output, **arrays)
    write_json(
        arguments.report, {"threat": str(threat), "ball": arguments.ball, "classes": int(network.classes), **report}
    )


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--count", type=int, help="images that are attacked (default: all)")
    options.add_argument("--attacker", required=True, help="model.json of the network that the defence asks")
    options.add_argument("--target", required=True, help="model.json of the model that defines the standardized space")
    options.add_argument("--attacks", required=True, help="options of the attacks by name, as JSON")
    options.add_argument("--order", nargs="+", required=True, help="names of the attacks, as they are tried")
    options.add_argument("--limits", default="{}", help="images that an attack is tried on at most, by name, as JSON")
    options.add_argument("--doubled", required=True, help="the attack that is run again with twice the steps")
    options.add_argument("--ball", default="raw01", help="raw01, standardized or linf")
    options.add_argument("--threat", required=True, help="threat model, enters the seed")
    options.add_argument("--epsilons", type=float, nargs="+", required=True, help="largest distances in the ball")
    options.add_argument("--sanity", type=float, default=0.3, help="distance at which nothing should hold")
    options.add_argument("--defense", required=True, help="kind of the defence")
    options.add_argument("--defense-options", default="{}", help="its options, as JSON")
    options.add_argument("--names", nargs="*", default=[], help="query sets of --stored, in its order")
    options.add_argument(
        "--stored", nargs="*", default=[], help="attacked images of attacks that were run before, .npz"
    )
    options.add_argument("--batch", type=int, default=125, help="images attacked at once")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help=".npz to write")
    options.add_argument("--report", required=True, help=".json to write")
    run(main, computing_options(need_options(options)).parse_args())
