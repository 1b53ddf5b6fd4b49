"""Choose an option of a defence on validation images: the last value that costs few of the right answers.

It shall cost as little on other images, so what counts is the upper end of the loss's interval. Values stand in the
order of how much they change images. Where already the first one costs more than allowed, it is taken, and the choice
says so.
"""

import argparse
import json

from nndefense.core.arrays import read_arrays
from nndefense.core.command import Job, need_options, parser, run
from nndefense.core.files import read_json, write_json
from nndefense.core.progress import Progress
from nndefense.core.registry import make
from nndefense.core.seeds import derive_seed
from nndefense.defenses import DEFENSES
from nndefense.evaluation.context import read_context
from nndefense.evaluation.tuning import choose_value, clean_loss
from nndefense.images.classes import check_network


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.defenses.batches import answers_in_batches
    from nndefense.defenses.none import NoDefense
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    network = freeze(open_checkpoint(arguments.model)[0]).to(device)
    readers, facts = json.loads(arguments.readers), json.loads(arguments.facts)
    context = read_context(arguments.roles, arguments.files, readers, facts, network)
    check_network(read_json(arguments.model), arguments.queries, "validation.images")
    stored = read_arrays(arguments.queries, "clean/images", "labels", "rows")
    ((option, values),) = json.loads(arguments.tune).items()
    given = json.loads(arguments.options)
    tried = [make("defense", DEFENSES, arguments.kind, {**given, option: value}) for value in values]
    bounds = [NoDefense().bind(network), *(one.bind(network, context) for one in tried)]
    with Progress(f"tune {arguments.defense}", len(stored["rows"]) * len(bounds), "images", job.log) as progress:
        right = []
        for bound in bounds:
            answers = answers_in_batches(
                bound,
                stored["clean/images"],
                stored["rows"],
                seed=derive_seed(arguments.seed, "tune", arguments.defense),
                batch=arguments.batch,
                on_batch=progress.advance,
            )
            right.append(answers.argmax(1) == stored["labels"])
    undefended, *found = (float(one.mean()) for one in right)
    upper = [clean_loss(one, right[0])[1] for one in right[1:]]
    place, within = choose_value(upper, arguments.loss)
    write_json(
        arguments.output,
        {
            "option": option,
            "values": values,
            "accuracies": found,
            "undefended": undefended,
            "n": len(stored["labels"]),
            "loss": arguments.loss,
            "upper": upper,
            "value": values[place],
            "within": within,
        },
    )
    shares = ", ".join(f"{value}: {accuracy:.3f}" for value, accuracy in zip(values, found, strict=True))
    job.say(f"undefended {undefended:.3f}; {option} {shares}")
    costs = ", ".join(f"{value}: {one:.3f}" for value, one in zip(values, upper, strict=True))
    job.say(f"it costs at most {costs}; chosen: {values[place]}")
    if not within:
        job.say(f"every value may cost more than {arguments.loss:g}")


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json of the network that the defence asks")
    options.add_argument("--queries", required=True, help="validation images, .npz as the clean query set")
    options.add_argument("--defense", required=True, help="name of the defence")
    options.add_argument("--kind", required=True, help="its kind, a registered defence")
    options.add_argument("--options", default="{}", help="its other options, as JSON")
    options.add_argument("--tune", required=True, help="the option and its values, weakest first, as JSON")
    options.add_argument("--loss", type=float, default=0.05, help="clean accuracy that the choice may cost")
    options.add_argument("--batch", type=int, default=125, help="images defended at once")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help="JSON to write")
    run(main, need_options(options).parse_args())
