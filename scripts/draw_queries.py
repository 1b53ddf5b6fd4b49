"""Embed noisy copies of a task's queries, streamed to disk: what all certificates rest on. And the queries themselves.

The noise is fresh for every query. Of each, the first copies choose the answer, the others certify it.
"""

import argparse

import numpy as np

from nndefense.core.arrays import read_arrays, stream_array, write_arrays
from nndefense.core.command import Job, embedding_options, parser, run
from nndefense.core.progress import Progress
from nndefense.core.seeds import derive_seed


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.models.embedding import open_embedding
    from nndefense.models.smoothing import noisy_embeddings

    task = read_arrays(arguments.task, "queries/images", "queries/labels", "queries/rows")
    images, labels, rows = task.values()
    embedding = open_embedding(arguments.model, arguments.output, arguments.transform, device)
    common = {
        "seed": derive_seed(arguments.seed, "queries", arguments.name),
        "batch": arguments.batch,
        "device": device,
    }
    base = [values for *_, values in noisy_embeddings(embedding, images, rows, count=1, sigma=0.0, **common)]
    write_arrays(arguments.base, embeddings=np.concatenate(base), labels=labels, rows=rows)
    count = arguments.first + arguments.draws
    about = {"draws": arguments.draws, "first": arguments.first, "queries": len(images), "sigma": arguments.sigma}
    shape = (len(images) * count, base[0].shape[1])
    with (
        Progress("queries", shape[0], "draws", job.log) as progress,
        stream_array(arguments.file, shape, np.float16, about) as append,
    ):
        for *_, values in noisy_embeddings(embedding, images, rows, count=count, sigma=arguments.sigma, **common):
            append(values)
            progress.advance(len(values))
    job.say(f"{len(images):,} queries, {count:,} draws each")


if __name__ == "__main__":
    options = embedding_options(parser(__doc__, torch=True))
    options.add_argument("--first", type=int, required=True, help="copies that choose the answer")
    options.add_argument("--draws", type=int, required=True, help="copies that certify it")
    options.add_argument("--file", required=True, help="embeddings of the copies, query after query, .npy to write")
    options.add_argument("--base", required=True, help="embeddings of the queries, .npz to write")
    run(main, options.parse_args())
