"""Measure a search index on the base values: its lists, the votes of these, its size, and CPU seconds of building it
and of searching it. These differ from run to run; all else does not.
"""

import argparse

import numpy as np

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.seals import fault
from nndefense.database.engines.stored import Span
from nndefense.database.engines.timed import build_timed
from nndefense.database.softmax_store import SoftmaxStore
from nndefense.database.stored_softmax import open_stores
from nndefense.features.queries import query_codes
from nndefense.features.stored_pca import read_pca
from nndefense.retrieval.votes import vote_neighbors


def wanted_codes(arguments: argparse.Namespace, pca: object, expected: dict) -> list[np.ndarray]:
    """Codes (Q, d) float32 of the query sets that are asked for, one of each pack."""
    found = []
    for path, member in zip(arguments.queries, arguments.members, strict=True):
        codes = dict(query_codes(path, pca, expected))
        if member not in codes:
            raise fault(path, f"lacks the query set {member}, it has {', '.join(codes)}")
        found.append(codes[member])
    return found


def answers(arguments: argparse.Namespace, store: SoftmaxStore, ids: np.ndarray, job: Job) -> np.ndarray:
    """Classes (Q,) that the neighbours vote for."""
    k, weighting, combination = arguments.neighbors, arguments.weighting, arguments.combination
    votes, fallbacks = vote_neighbors(
        store.take, ids, classes=store.classes, neighbors=[k], weightings=[weighting], combinations=[combination]
    )
    if count := fallbacks[k, weighting]:
        job.say(f"{count} queries without weight, UW used")
    return votes[k, weighting, combination]


def main(arguments: argparse.Namespace, job: Job) -> None:
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    pca, pca_id = read_pca(arguments.pca)
    span = Span(arguments.codes, arguments.skipped, pca=pca_id)
    sets = wanted_codes(arguments, pca, {name: span.about[name] for name in ("model", "layer")})
    store = open_stores(arguments.softmax, arguments.weights, arguments.checks)[span.about["pool"]]
    # In memory, so that no reading is timed.
    blocks, skipped = list(span.blocks()), list(span.skipped())
    index = build_timed(arguments.factory, blocks, sample=arguments.samples, first=span.start, skipped=skipped)
    job.say(
        f"{arguments.factory}: {index.rows:,} codes, {index.size:,} bytes, trained in {index.train_seconds:.2f} s, "
        f"filled in {index.add_seconds:.2f} s"
    )
    k, probes = arguments.neighbors, arguments.probes
    found = [index.search_timed(codes, k, probes, arguments.repeats) for codes in sets]
    ids, seconds = [lists for (lists, _), _ in found], [own for _, own in found]
    for member, codes, own in zip(arguments.members, sets, seconds, strict=True):
        job.say(f"{member}: {len(codes):,} queries, {', '.join(f'{one:.3f}' for one in own)} s")
    write_arrays(
        arguments.output,
        **read_arrays(arguments.clean, "labels", "rows"),
        ids=np.stack(ids),
        classes=np.stack([answers(arguments, store, one, job) for one in ids]).astype(np.int32),
        bytes_per_vector=np.array(index.size / index.rows),
        train_seconds=np.array(index.train_seconds),
        add_seconds=np.array(index.add_seconds),
        search_seconds=np.stack(seconds),
    )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--factory", required=True, help="FAISS factory string; Flat for the exact search")
    options.add_argument("--probes", type=int, help="lists that an inverted file visits")
    options.add_argument("--samples", type=int, default=100000, help="codes it is trained on, the first")
    options.add_argument("--repeats", type=int, default=5, help="searches that are timed")
    options.add_argument(
        "--codes", nargs="+", required=True, help="codes of the database's shards, .npy, in their order"
    )
    options.add_argument("--skipped", nargs="+", required=True, help="rows without codes of the shards, .npy")
    options.add_argument("--pca", required=True, help=".npz of the pool's PCA")
    options.add_argument("--clean", required=True, help="the clean images, .npz, for their labels")
    options.add_argument("--queries", nargs="+", required=True, help="features of packs of query sets, .npy")
    options.add_argument("--members", nargs="+", required=True, help="the query set of each: clean, or a budget")
    options.add_argument("--softmax", nargs="+", required=True, help="softmax rows of the shards")
    options.add_argument("--weights", nargs="+", required=True, help="their confidence weights, in the same order")
    options.add_argument("--checks", nargs="+", required=True, help="checks of the softmax rows, in the same order")
    options.add_argument("--neighbors", type=int, default=50, help="neighbours that are listed, and vote")
    options.add_argument("--weighting", default="CBW-D")
    options.add_argument("--combination", default="soft")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
