"""Search of a database in one pass over its codes against an index opened for every query set: CPU time and memory.

The floor is the streamed pass: half-precision codes are read block by block, with their digest running along, and all
query sets take each block in turn. Against it stand the way of earlier versions, which verify, read and
deserialise a Flat index for every query set, and the streamed pass that keeps a snapshot for each of six sizes. Every
contender runs in a process of its own, which gives its CPU time and the peak of its resident memory; contenders take
turns within a repeat, and ratios are those within repeats. The share of places with the same id is compared, too.

    PYTHONPATH=scripts python benchmarks/search_streams.py --rows 1000000 --sets 20
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from nndefense.core.arrays import read_array, read_sealed, stream_array, write_arrays, write_sealed
from nndefense.core.blocks import read_blocks
from nndefense.database.engines.exact import Exact
from nndefense.database.index import build_index, index_from_bytes, index_to_bytes, search

FLOOR = "streamed, one pass"
# As shares of all rows: the sizes of a database ladder.
LADDER = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
BLOCK = 8192


def main() -> None:
    options = _options()
    if options.case:
        return run(options)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        options.folder = folder
        child(options, "make")
        print(f"faiss {faiss.__version__}, 1 thread, {options.repeats} repeats")
        print(
            f"{options.sets} sets of {options.queries} queries in {options.rows:,} codes of {options.dimension} numbers"
        )
        print(f"{options.neighbors} neighbours")
        taken = {name: [] for name in CASES}
        for _ in range(options.repeats):
            for name in CASES:
                taken[name].append(child(options, name))
        report(options, taken)
    return None


def report(options: argparse.Namespace, taken: dict[str, list[dict[str, float]]]) -> None:
    print(f"\n{'':34}{'CPU s':>9}{'ratio':>8}{'min':>8}{'max':>8}{'peak MB':>10}{'same ids':>10}")
    floor = np.array([one["seconds"] for one in taken[FLOOR]])
    expected = np.load(Path(options.folder, f"{FLOOR}.npz"))["ids"]
    for name, values in taken.items():
        seconds, memory = (np.array([one[key] for one in values]) for key in ("seconds", "megabytes"))
        ratios, same = seconds / floor, (np.load(Path(options.folder, f"{name}.npz"))["ids"] == expected).mean()
        print(
            f"{name:34}{np.median(seconds):9.2f}{np.median(ratios):8.3f}{ratios.min():8.3f}{ratios.max():8.3f}"
            f"{memory.max():10.0f}{same:10.6f}"
        )


def child(options: argparse.Namespace, case: str) -> dict[str, float]:
    """Seconds and megabytes of a case, from a process of its own."""
    words = [sys.executable, __file__, "--case", case]
    for name in ("rows", "sets", "queries", "dimension", "neighbors", "folder"):
        words += [f"--{name}", str(getattr(options, name))]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout or "{}")


def run(options: argparse.Namespace) -> None:
    """Run a case in this process and print what it took."""
    faiss.omp_set_num_threads(1)
    if options.case == "make":
        return make(options)
    rng = np.random.default_rng(1)
    queries = [rng.normal(size=(options.queries, options.dimension)).astype(np.float32) for _ in range(options.sets)]
    start = time.process_time()
    ids = CASES[options.case](options, queries)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write_arrays(Path(options.folder, f"{options.case}.npz"), ids=ids)
    print(json.dumps({"seconds": seconds, "megabytes": peak}))
    return None


def make(options: argparse.Namespace) -> None:
    """Half-precision codes, and the index of the same numbers as the workflow builds it."""
    path, shape, rng = Path(options.folder, "codes.npy"), (options.rows, options.dimension), np.random.default_rng(0)
    with stream_array(path, shape, np.float16) as append:
        for start in range(0, options.rows, BLOCK):
            append(rng.normal(size=(min(BLOCK, options.rows - start), options.dimension)))
    index = build_index(read_array(path)[0].astype(np.float32))
    about = {"start": 0, "stop": options.rows, "skipped": [], "dimension": options.dimension}
    write_sealed(Path(options.folder, "codes.faiss"), index_to_bytes(index), about)


def streamed(options: argparse.Namespace, queries: list[np.ndarray], stops: tuple[int, ...] = ()) -> np.ndarray:
    blocks = read_blocks(Path(options.folder, "codes.npy"), BLOCK, columns=options.dimension)
    found = Exact().search_blocks(blocks, queries, options.neighbors, stops=stops)
    return np.stack([ids for ids, _ in found[options.rows]])


def ladder(options: argparse.Namespace, queries: list[np.ndarray]) -> np.ndarray:
    return streamed(options, queries, tuple(round(share * options.rows) for share in LADDER))


def opened(options: argparse.Namespace, queries: list[np.ndarray]) -> np.ndarray:
    found = []
    for one in queries:
        index = index_from_bytes(read_sealed(Path(options.folder, "codes.faiss"))[0])
        found.append(search(index, one, options.neighbors)[0])
    return np.stack(found)


CASES: dict[str, Callable[[argparse.Namespace, list[np.ndarray]], np.ndarray]] = {
    FLOOR: streamed,
    "index opened for every query set": opened,
    "streamed, snapshots of six sizes": ladder,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--queries", type=int, default=500, help="of each set")
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--neighbors", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--folder", help="where the codes and the index are put, 2 KB a row; a temporary folder without"
    )
    parser.add_argument("--case", help="run one contender and print what it took")
    return parser.parse_args()


if __name__ == "__main__":
    main()
