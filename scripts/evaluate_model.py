"""Evaluate a model on the clean test images."""

import argparse

from nndefense.core.arrays import read_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.files import write_json
from nndefense.evaluation.intervals import wilson_interval
from nndefense.images.classes import check_network


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.predict import predict_softmax

    model, about = open_checkpoint(arguments.model)
    check_network(about, arguments.queries)
    queries = read_arrays(arguments.queries, "clean/images", "labels")
    softmax = predict_softmax(model, queries["clean/images"], arguments.batch, device)
    n = len(softmax)
    correct = int((softmax.argmax(1) == queries["labels"]).sum())
    low, high = wilson_interval(correct, n)
    job.say(f"{about['name']}: clean accuracy {correct / n:.4f} [{low:.4f}, {high:.4f}], n = {n:,}")
    write_json(
        arguments.output,
        {
            "name": about["name"],
            "architecture": about["architecture"],
            "provenance": about["provenance"],
            "accuracy": correct / n,
            "ci_low": low,
            "ci_high": high,
            "n": n,
        },
    )


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json")
    options.add_argument("--queries", required=True, help="clean query set, .npz")
    options.add_argument("--batch", type=int, default=250, help="images per forward pass")
    options.add_argument("--output", required=True, help="JSON to write")
    run(main, options.parse_args())
