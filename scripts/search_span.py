"""Search a span of shards for the nearest neighbours of every query set of some packs; ids are rows of the pool.

One pass over the codes, block by block, lists the nearest behind every row where a database ends. Of an approximate
index the shards' own are searched, one at a time.
"""

import argparse

import numpy as np

from nndefense.core.arrays import write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.database.copies import nearly_there
from nndefense.database.engines.on_gpu import has_gpus
from nndefense.database.engines.stored import Span, search_span
from nndefense.features.queries import query_codes
from nndefense.features.stored_pca import read_pca


def main(arguments: argparse.Namespace, job: Job) -> None:
    # Without a GPU there is no need of torch, which takes seconds to start.
    device = job.torch_device() if arguments.gpus else "cpu"
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    pca, pca_id = read_pca(arguments.pca)
    span = Span(arguments.shards, arguments.skipped, pca=pca_id)
    bits = not span.indexed and span.bits
    network = {name: span.about[name] for name in ("model", "layer")}
    packs = [list(query_codes(path, pca, network)) for path in arguments.queries]
    queries = [codes for pack in packs for _, codes in pack]
    job.say(
        f"{sum(map(len, queries)):,} queries of {len(queries)} sets in {span.rows:,} codes, rows {span.start:,} to "
        f"{span.stop:,}, {arguments.neighbors} neighbours each"
    )
    if device != "cpu" and (bits or (span.indexed and not has_gpus())):
        job.say("searches on the CPU: " + ("bits are compared there" if bits else "this FAISS was built without GPUs"))
    found = search_span(span, queries, arguments.neighbors, arguments.stops, arguments.probes, device)
    first = 0
    for pack, output in zip(packs, arguments.neighbors_files, strict=True):
        own = slice(first, first + len(pack))
        first = own.stop
        lists = [[found[stop][number] for stop in arguments.stops] for number in range(own.start, own.stop)]
        ids, distances = (np.array([[one[part] for one in stops] for stops in lists]) for part in (0, 1))
        near = np.array(
            [
                [nearly_there(codes, apart[:, 0], bits=bits) for apart in stops]
                for (_, codes), stops in zip(pack, distances, strict=True)
            ]
        )
        write_arrays(output, stops=np.array(arguments.stops), ids=ids, distances=distances, near=near)
        for (name, codes), nearest, same in zip(pack, ids[:, -1], near[:, -1], strict=True):
            job.say(
                f"{name}: {int(same.sum()):,} of {len(codes):,} queries have a database image of nearly the same code, "
                f"{int((nearest < 0).sum()):,} places empty, {int((~np.isfinite(codes).all(axis=1)).sum())} unusable "
                "queries"
            )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--queries", nargs="+", required=True, help="features of packs of query sets, .npy")
    options.add_argument("--pca", required=True, help=".npz of the pool's PCA")
    options.add_argument("--shards", nargs="+", required=True, help="codes (.npy) or indexes (.faiss), in their order")
    options.add_argument("--skipped", nargs="+", required=True, help="rows without codes of the shards, .npy")
    options.add_argument("--stops", nargs="+", type=int, required=True, help="rows behind which lists are wanted")
    options.add_argument("--neighbors", type=int, default=100, help="neighbours kept per query")
    options.add_argument("--probes", type=int, default=1, help="lists that an inverted file visits")
    options.add_argument("--gpus", type=int, default=0, help="1: search on a GPU, where there is one")
    options.add_argument("--neighbors-files", nargs="+", required=True, help=".npz to write, of each pack")
    run(main, options.parse_args())
