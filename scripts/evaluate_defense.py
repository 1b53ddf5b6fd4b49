"""Answer a pack of query sets with a defence that has no database, or with the bare network."""

import argparse
import json

import numpy as np

from nndefense.axes.cells import System
from nndefense.axes.queries import Pack
from nndefense.core.command import Job, need_options, parser, run
from nndefense.core.files import read_arrays
from nndefense.core.progress import Progress
from nndefense.core.registry import make
from nndefense.core.seeds import derive_seed
from nndefense.defenses import DEFENSES
from nndefense.evaluation.context import read_context
from nndefense.evaluation.outcomes import write_predictions


def answer(arguments: argparse.Namespace, job: Job, pack: Pack, stored: dict[str, np.ndarray]) -> dict:
    """Predicted classes (n,) by query set, computed."""
    device = job.torch_device()
    from nndefense.defenses.batches import answers_in_batches
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    network = freeze(open_checkpoint(arguments.model)[0]).to(device)
    facts = json.loads(arguments.facts)
    context = read_context(arguments.roles, arguments.files, json.loads(arguments.readers), facts, network)
    bound = make("defense", DEFENSES, arguments.kind, json.loads(arguments.options)).bind(network, context)
    found = {}
    with Progress(
        f"{arguments.defense} {pack}", len(stored["rows"]) * len(pack.epsilons), "images", job.log
    ) as progress:
        for queries in pack:
            probabilities = answers_in_batches(
                bound,
                read_arrays(arguments.queries, f"{queries.member}/images")[f"{queries.member}/images"],
                stored["rows"],
                seed=derive_seed(arguments.seed, "defense", arguments.defense),
                batch=arguments.batch,
                on_batch=progress.advance,
            )
            found[queries] = probabilities.argmax(1)
    return found


def main(arguments: argparse.Namespace, job: Job) -> None:
    pack = Pack.parse(arguments.queries_name)
    names = ["labels", "rows", *(f"{one.member}/delta_{one.ball}" for one in pack if one.ball)]
    stored = read_arrays(arguments.queries, *names)
    if "answers" in arguments.roles:
        (values,) = read_context(arguments.roles, arguments.files, json.loads(arguments.readers), {}, None).values()
        found = dict(zip(pack, values.argmax(1).reshape(len(pack.epsilons), -1), strict=True))
    else:
        found = answer(arguments, job, pack, stored)
    zeros = np.zeros(len(stored["labels"]))
    delta = {one: stored[f"{one.member}/delta_{one.ball}"] if one.ball else zeros for one in pack}
    predicted = {(one, System.plain(arguments.defense)): classes for one, classes in found.items()}
    write_predictions(arguments.predictions, stored["labels"], stored["rows"], predicted, delta)
    for one, classes in found.items():
        job.say(f"{one}: {(classes == stored['labels']).mean():.4f} of {len(classes):,} right")


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json")
    options.add_argument("--queries", required=True, help="query sets, .npz")
    options.add_argument("--queries-name", required=True, help="clean, or BALL/THREAT/ATTACK/eps-EPSILON[,EPSILON...]")
    options.add_argument("--defense", required=True, help="name of the defence")
    options.add_argument("--kind", required=True, help="its kind, a registered defence")
    options.add_argument("--options", default="{}", help="its options, as JSON")
    options.add_argument("--batch", type=int, default=125, help="images defended at once")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--predictions", required=True, help=".npz to write")
    run(main, need_options(options).parse_args())
