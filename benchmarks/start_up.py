"""CPU time and memory of listing image sets, of building pools, and of a shard's start, for several numbers of rows.

A shard's start is a process of its own that opens the pool and reads the first block of its last rows, as a job that
extracts features does before its network gets anything to do. Folders are directory entries of a few files, tars are
names of one, so that a million rows need no room. The floor is a process that imports the same modules.

    PYTHONPATH=scripts python benchmarks/start_up.py --rows 10000 1000000
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
CLASSES, LINKS, IN_A_TAR, SHARD, BLOCK, SIDE = 100, 10_000, 10_000, 1_000, 64, 16
IMPORT = "import nndefense.images.pool, nndefense.images.{}, pyarrow.parquet, concurrent.futures.thread"
START = """
from nndefense.images.pool import pool_blocks
_, images, skipped = next(pool_blocks({pool!r}, [{described!r}], ({start}, {stop}), {block}))
assert images.shape == ({block}, {side}, {side}, 3) and images.any() and not skipped
"""


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(f"{'':12}{'order':10}{'rows':>12}{'CPU s':>10}{'peak MB':>10}")
        for kind in options.kinds:
            for rows in options.rows:
                place = Path(folder, kind, str(rows))
                place.mkdir(parents=True)
                measure(kind, KINDS[kind](place, rows), place, rows, options)


def measure(kind: str, described: dict[str, Any], place: Path, rows: int, options: argparse.Namespace) -> None:
    """Print a line for listing, and of each order one for building the pool and one for a shard's start."""
    files = {"manifest": place / "manifest.parquet", "description": place / "set.json"}
    row("list", kind, "", rows, script("list_images", name=kind, image_set=json.dumps(described), **files))
    for order in ["table", "function", *(["tars"] if kind == "webdataset" else [])]:
        pool = place / f"{order}.parquet"
        named = {"pool": "All", "names": kind, "manifests": files["manifest"], "task": files["description"]}
        row("pool", kind, order, rows, script("build_pool", **named, order=order, output=pool))
        where = {"pool": str(pool), "described": str(files["description"]), "start": rows - SHARD, "stop": rows}
        floor, start = IMPORT.format(kind), START.format(**where, block=BLOCK, side=SIDE)
        for name, code in (("floor", floor), ("start", start)):
            taken = [run(["-c", code]) for _ in range(options.repeats)]
            row(name, kind, order, rows, tuple(np.median(taken, axis=0)))


def script(script: str, **arguments: object) -> tuple[float, float]:
    """CPU seconds and peak MB of a script."""
    given = [text for key, value in arguments.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    return run([str(SCRIPTS / f"{script}.py"), *given])


def run(command: list[str]) -> tuple[float, float]:
    """CPU seconds and peak resident MB of a Python process."""
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, *command], env=environment, stderr=subprocess.PIPE, text=True)
    told = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(told)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def row(what: str, kind: str, order: str, rows: int, taken: tuple[float, float]) -> None:
    print(f"{what:6}{kind:12}{order:10}{rows:>12,}{taken[0]:>10.2f}{taken[1]:>10.0f}", flush=True)


# -- sets


def shapes(place: Path, rows: int) -> dict[str, Any]:
    return {"kind": "shapes", "first": 0, "rows": rows, "content": "web", "size": SIDE}


def folder(place: Path, rows: int) -> dict[str, Any]:
    source = place / "0.png"
    for number in range(rows):
        # A file has only so many names.
        if number % LINKS == 0:
            source = place / f"{number}.png"
            source.write_bytes(image(number))
        within = place / f"set/class_{number % CLASSES:03d}"
        within.mkdir(parents=True, exist_ok=True)
        os.link(source, within / f"image_{number:09d}.png")
    return {"kind": "folder", "root": str(place / "set"), "size": SIDE}


def webdataset(place: Path, rows: int) -> dict[str, Any]:
    (place / "tars").mkdir()
    with tarfile.open(place / "one.tar", "w") as tar:
        for number in range(min(rows, IN_A_TAR)):
            about = json.dumps({"key": f"{number:09d}", "class": f"class {number % CLASSES}"}).encode()
            for suffix, data in (("png", image(number)), ("json", about)):
                member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    for number in range(max(rows // IN_A_TAR, 1)):
        os.link(place / "one.tar", place / f"tars/{number:05d}.tar")
    return {"kind": "webdataset", "pattern": str(place / "tars/*.tar"), "size": SIDE, "label": "class"}


def image(number: int) -> bytes:
    """A PNG of one shade."""
    stream = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (number % 255 + 1, 40, 90)).save(stream, "PNG")
    return stream.getvalue()


KINDS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "shapes": shapes,
    "folder": folder,
    "webdataset": webdataset,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000], help="multiples of 10,000")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="where temporary files go (default: the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
