"""Exact nearest-neighbour search against its floor and against what a user would pick instead, as ratios.

The floor is the matrix product of queries and codes. Compared are our search of a Flat index, FAISS with its own
threshold for the use of BLAS, torch's product and topk, and scikit-learn. Contenders take turns within a repeat,
and CPU time is counted (of all threads), so that a busy machine disturbs little; the table gives the median, the
smallest and the largest ratio over the repeats, for each batch of queries.

    PYTHONPATH=scripts python benchmarks/search.py --rows 100000 --batches 1 400 1000
"""

import argparse
import time
from collections.abc import Callable

import faiss
import numpy as np
import torch

from nndefense.database.index import BLAS_THRESHOLD, build_index, search

FAISS_THRESHOLD = faiss.cvar.distance_compute_blas_threshold


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(options.rows, options.dimension)).astype(np.float32)
    print(f"faiss {faiss.__version__}, torch {torch.__version__}, {options.threads} threads")
    print(f"{options.neighbors} neighbours in {options.rows} codes of {options.dimension} dimensions")
    print(f"BLAS threshold: ours {BLAS_THRESHOLD}, FAISS {FAISS_THRESHOLD}; {options.repeats} repeats")
    for batch in options.batches:
        queries = rng.normal(size=(batch, options.dimension)).astype(np.float32)
        report(f"{batch} queries", contenders(codes, queries, options.neighbors), options.repeats)


def contenders(codes: np.ndarray, queries: np.ndarray, k: int) -> dict[str, Callable[[], object]]:
    index = build_index(codes)
    points, tensor = torch.from_numpy(queries), torch.from_numpy(codes)
    squares = tensor.square().sum(dim=1)

    def default_faiss() -> object:
        faiss.cvar.distance_compute_blas_threshold = FAISS_THRESHOLD
        return index.search(queries, k)

    found = {
        "floor: torch matrix product": lambda: points @ tensor.T,
        "ours": lambda: search(index, queries, k),
        "faiss, its own threshold": default_faiss,
        "torch matmul + topk": lambda: (squares - 2 * points @ tensor.T).topk(k, largest=False),
    }
    try:
        from sklearn.neighbors import NearestNeighbors

        brute = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(codes)
        found["scikit-learn brute"] = lambda: brute.kneighbors(queries)
    except ImportError:
        pass
    return found


def report(title: str, calls: dict[str, Callable[[], object]], repeats: int) -> None:
    """Ratios to the first contender."""

    def seconds(call: Callable[[], object]) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    for call in calls.values():
        call()
    taken = np.array([[seconds(call) for call in calls.values()] for _ in range(repeats)])
    ratios = taken / taken[:, :1]
    print(f"{title:30} {'median':>7} {'min':>7} {'max':>7} {'seconds':>9}")
    for column, name in enumerate(calls):
        ratio, cost = ratios[:, column], np.median(taken[:, column])
        print(f"{name:30} {np.median(ratio):7.2f} {ratio.min():7.2f} {ratio.max():7.2f} {cost:9.4f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--neighbors", type=int, default=50)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 10, 400, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
