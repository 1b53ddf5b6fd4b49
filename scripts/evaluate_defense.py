"""Predict a query set with a defence that changes images or averages over versions of them; measure accuracy."""

import argparse
import json

import numpy as np

from nndefense.command import Job, parser, run
from nndefense.files import read_array, read_arrays, write_arrays
from nndefense.progress import Progress
from nndefense.retrieval.accuracy import accuracy_row
from nndefense.retrieval.queries import delta_of, query_axes
from nndefense.retrieval.rows import write_rows
from nndefense.seeds import derive_seed

NO_DATABASE = {
    "pool": "none",
    "size": 0,
    "features": "none",
    "neighbors": 0,
    "weighting": "none",
    "combination": "none",
}


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.defenses.batches import defend_in_batches
    from nndefense.defenses.registry import make_defense
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    model, _ = open_checkpoint(arguments.model)
    queries = read_arrays(arguments.queries)
    context = {"patches": read_array(arguments.patches[0])[0]} if arguments.patches else {}
    with Progress(
        f"{arguments.defense} {arguments.queries_name}", len(queries["labels"]), "images", job.log
    ) as progress:
        probabilities = defend_in_batches(
            make_defense(arguments.defense, **json.loads(arguments.options)),
            freeze(model).to(device),
            queries["images"],
            queries["rows"],
            seed=derive_seed(arguments.seed, "defense", arguments.defense),
            batch=arguments.batch,
            context=context,
            on_batch=progress.advance,
        )
    predictions = probabilities.argmax(1)
    axes = query_axes(arguments.queries_name)
    row = accuracy_row(
        predictions,
        queries["labels"],
        delta_of(queries, axes["space"]),
        dataset=arguments.dataset,
        seed=arguments.seed,
        model=arguments.model_name,
        defense=arguments.defense,
        **axes,
        **NO_DATABASE,
    )
    stored = {arguments.defense: predictions.astype(np.int16)}
    write_arrays(arguments.predictions, labels=queries["labels"], rows=queries["rows"], **stored)
    write_rows(arguments.accuracy, [row])
    job.say(f"accuracy {row['accuracy']:.4f}, n = {row['n']:,}")


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json")
    options.add_argument("--model-name", required=True, help="for the result row")
    options.add_argument("--queries", required=True, help="query set, .npz")
    options.add_argument("--queries-name", required=True, help="clean, or space/setting/attack/eps-EPSILON")
    options.add_argument("--defense", required=True, help="name of the defence")
    options.add_argument("--options", default="{}", help="its options, as JSON")
    options.add_argument("--patches", nargs="*", default=[], help="patches, .npy, where the defence needs them")
    options.add_argument("--batch", type=int, default=125, help="images defended at once")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--dataset", required=True, help="for the result row")
    options.add_argument("--predictions", required=True, help=".npz to write")
    options.add_argument("--accuracy", required=True, help="CSV to write")
    run(main, options.parse_args())
