"""Votes on a large store: softmax rows verified one by one as they are read, against files that are hashed whole.

Neighbours are drawn at random, so hardly a row is read twice: the worst case. The file is in the page cache. Every
contender answers all query sets in a process of its own, which gives its CPU time, without and with what Python and
NumPy take to start, and the peak of its resident memory, of which mapped pages are a part. Contenders take turns within
a repeat. All have to give the same answers.

    PYTHONPATH=scripts python benchmarks/vote_scale.py --rows 1000000 --classes 1000 --sets 5
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nndefense.core.arrays import stream_array
from nndefense.core.seals import check_seal
from nndefense.database.row_checks import row_checks
from nndefense.database.softmax_store import SoftmaxStore, to_half
from nndefense.database.stored_softmax import open_stores
from nndefense.retrieval.votes import COMBINATIONS, vote_neighbors
from nndefense.retrieval.weights import stored_weights

FILES = ("softmax", "weights", "checks")
AXES = {"weightings": ("UW", "CBW-E", "CBW-D"), "combinations": COMBINATIONS}
LADDER = (1, 5, 10, 20, 50, 100)
BLOCK = 4096


def main() -> None:
    options = _options()
    if options.case:
        return run(options)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        options.folder = folder
        child(options, "make")
        print(f"numpy {np.__version__}, {options.repeats} repeats; {options.rows:,} rows of {options.classes} classes")
        print(f"{options.sets} sets of {options.queries} queries with {options.neighbors} neighbours")
        taken = {name: [] for name in CASES}
        for _ in range(options.repeats):
            for name in CASES:
                taken[name].append(child(options, name))
    report(taken)
    return None


def report(taken: dict[str, list[dict]]) -> None:
    columns = ("open s", "set s", "all s", "start s", "peak MB")
    print(f"\nmedians of CPU seconds\n{'':34}" + "".join(f"{name:>10}" for name in columns))
    answers = {one["answers"] for values in taken.values() for one in values}
    for name, values in taken.items():
        seconds = [np.median([one[key] for one in values]) for key in ("open", "set", "all", "start")]
        peak = max(one["megabytes"] for one in values)
        print(f"{name:34}" + "".join(f"{one:10.2f}" for one in seconds) + f"{peak:10.0f}")
    print("the answers are the same" if len(answers) == 1 else "THE ANSWERS DIFFER")


def child(options: argparse.Namespace, case: str) -> dict:
    """What a case took, from a process of its own."""
    words = [sys.executable, __file__, "--case", case]
    for name in ("rows", "classes", "sets", "queries", "neighbors", "folder"):
        words += [f"--{name}", str(getattr(options, name))]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout or "{}")


def run(options: argparse.Namespace) -> None:
    """Run a case in this process and print what it took."""
    if options.case == "make":
        return make(options)
    started = time.process_time()
    opener, more = CASES[options.case]
    store = opener([str(Path(options.folder, f"{name}.npy")) for name in FILES])
    opened, sets, answers = time.process_time() - started, [], hashlib.sha256()
    for number in range(options.sets):
        ids = np.random.default_rng(number).integers(0, options.rows, (options.queries, options.neighbors))
        start = time.process_time()
        places = [one for one in LADDER if one <= options.neighbors]
        votes, _ = vote_neighbors(store.take, ids, classes=store.classes, neighbors=places, **AXES, **more)
        sets.append(time.process_time() - start)
        for classes in votes.values():
            answers.update(classes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"open": opened, "set": float(np.median(sets)), "all": time.process_time() - started, "start": started}
    print(json.dumps(found | {"megabytes": peak, "answers": answers.hexdigest()}))
    return None


def make(options: argparse.Namespace) -> None:
    """Softmax rows, many of whose numbers are tiny as those of a network's are; weights; checksums."""
    about = {"pool": "All", "start": 0, "stop": options.rows}
    rng, shape = np.random.default_rng(0), (options.rows, options.classes)
    # Drawing every row would take longer than all the rest: blocks are the first one, with its classes moved on.
    drawn = rng.dirichlet(np.full(options.classes, 0.05), size=min(BLOCK, options.rows)).astype(np.float32)
    softmax, weights, checks = (Path(options.folder, f"{name}.npy") for name in FILES)
    with (
        stream_array(softmax, shape, np.float16, about) as add_rows,
        stream_array(weights, (options.rows, 2), np.float32, about) as add_weights,
        stream_array(checks, (options.rows,), np.uint64, about) as add_checks,
    ):
        confidences = stored_weights(drawn)
        for start in range(0, options.rows, BLOCK):
            count = min(BLOCK, options.rows - start)
            rows = to_half(np.roll(drawn, start // BLOCK, axis=1)[:count])
            add_rows(rows)
            add_weights(confidences[:count])
            add_checks(row_checks(rows, first=start))


def by_rows(paths: list[str]) -> SoftmaxStore:
    return open_stores(*([path] for path in paths))["All"]


def mapped(paths: list[str]) -> SoftmaxStore:
    return open_stores(*([path] for path in paths[:2]))["All"]


def hashed(paths: list[str]) -> SoftmaxStore:
    check_seal(paths[0])
    return mapped(paths)


# Blocks of 256 MiB are what mapped files were read in.
CASES: dict[str, tuple[Callable[[list[str]], SoftmaxStore], dict[str, int]]] = {
    "verified row by row": (by_rows, {}),
    "hashed whole, mapped": (hashed, {"block_bytes": 1 << 28}),
    "mapped, verified up to 1 GiB": (mapped, {"block_bytes": 1 << 28}),
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--queries", type=int, default=1000, help="of each set")
    parser.add_argument("--neighbors", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="where the store is put, 2 bytes a number; a temporary folder without")
    parser.add_argument("--case", help="run one contender and print what it took")
    return parser.parse_args()


if __name__ == "__main__":
    main()
