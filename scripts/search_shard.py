"""Search the index of a shard for the nearest neighbours of every query set of a pack; ids are rows of the pool."""

import argparse

import numpy as np

from nndefense.axes.shards import parse_shard_name
from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_array, write_arrays
from nndefense.core.skipped import usable_mask
from nndefense.database.index import open_index, search
from nndefense.features.stored_pca import read_pca


def main(arguments: argparse.Namespace, job: Job) -> None:
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    pca, pca_id = read_pca(arguments.pca)
    features, about = read_array(arguments.features, columns=len(pca.mean))
    start, _ = parse_shard_name(arguments.shard)
    index, rows = open_index(arguments.index, pca=pca_id, model=about["model"], layer=about["layer"], start=start)
    found, count = [], len(features) // len(about["sets"])
    good = usable_mask(len(features), about["skipped"])
    for number, name in enumerate(about["sets"]):
        # Each query set by itself: products of more rows round otherwise, which changes distances and even ids.
        part = slice(number * count, (number + 1) * count)
        codes = pca.transform(features[part])
        codes[~good[part]] = np.nan
        ids, distances = search(index, codes, arguments.neighbors, nprobe=arguments.probes, ids=rows)
        found.append((ids, distances))
        job.say(
            f"{name}: {count:,} queries in {index.ntotal:,} codes, {arguments.neighbors} neighbours each, "
            f"{int((ids < 0).sum()):,} places empty, {int((~good[part]).sum())} unusable queries"
        )
    ids, distances = map(np.stack, zip(*found, strict=True))
    write_arrays(arguments.output, ids=ids, distances=distances)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--features", required=True, help="features of the query sets, .npy")
    options.add_argument("--pca", required=True, help=".npz of the pool's PCA")
    options.add_argument("--index", required=True, help="index of the shard")
    options.add_argument("--shard", required=True, help="rows of the pool, START-STOP")
    options.add_argument("--neighbors", type=int, default=100, help="neighbours kept per query")
    options.add_argument("--probes", type=int, help="lists an inverted-file index visits")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
