"""What this machine does in a second, as `nndefense plan` reckons with it: writes a rates.json.

CPU seconds of one core, the median of some repeats after one that is not counted: what others run on the machine
disturbs little. Everything is called as the workflow calls it: networks through the feature extractor and through PGD
(whose time beyond its forward passes, a step, is that of a gradient and of the step itself), search through the exact
engine, with two dimensions, of which one tells the products from what is done besides. Files are in the page cache, so
reading is verifying; with slower disks, set `read_mb_per_s` by hand. On a GPU (--device cuda) networks alone are
measured, by the clock; without one the numbers of a GPU are assumed.

    PYTHONPATH=scripts python benchmarks/rates.py --output rates.json
"""

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import faiss
import numpy as np
import torch
from network_rates import network, others, seconds
from PIL import Image

from nndefense.core.arrays import stream_array, write_array
from nndefense.core.blocks import read_blocks
from nndefense.core.tables import TableReader
from nndefense.database.engines.binary import Binary
from nndefense.database.engines.exact import Exact
from nndefense.database.merge import merge_neighbors
from nndefense.database.row_checks import row_checks
from nndefense.database.softmax_store import to_stored
from nndefense.database.stored_softmax import open_stores
from nndefense.features.bits import pack_signs
from nndefense.features.codes import stored_codes
from nndefense.features.pca import PCA, Moments
from nndefense.flow.rates import check_rates
from nndefense.images.decode import read_files
from nndefense.images.description import list_set
from nndefense.images.manifest import StoredManifest
from nndefense.images.pool_file import write_pool
from nndefense.images.shapes import Shapes
from nndefense.retrieval.votes import COMBINATIONS, vote_neighbors
from nndefense.retrieval.weights import stored_weights, weight_columns

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
STARTED = {
    "numpy": "import vote",
    "tables": "import build_pool, nndefense.images.shapes, pyarrow.parquet",
    "faiss": "import search_span",
    "scipy": "import encode_features",
    "torch": (
        "import extract_features, nndefense.features.blocks, nndefense.models.checkpoint, torch\n"
        "from nndefense.models.build import build_model, freeze\n"
        "with torch.inference_mode():\n"
        "    freeze(build_model('cifar_resnet8', 10, [0.5] * 3, [0.25] * 3))(torch.zeros(2, 3, 32, 32))"
    ),
}
# A child's peak of resident memory, MB; its `ru_maxrss` would be that of this process, where this one is larger.
TOLD = """
lines = open("/proc/self/status").read().splitlines()
print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1.024e-3)
"""
# The network that stands for others.
TYPICAL = "resnet50/224"
# 3,000 images a second of a ResNet-50 at 224 pixels.
GPU = {"gflops": 25_000, "backward": 2.0, "training": 3.0, "assumed": True}


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    device = torch.device(options.device)
    names, sizes = dict.fromkeys([*options.networks, TYPICAL]), (options.pixels, options.repeats)
    networks = {name: network(name, torch.device("cpu"), *sizes) for name in names}
    found = {
        "machine": machine(),
        "start_up": {name: start_up(code, options.repeats) for name, code in STARTED.items()},
        "networks": {name: one for name, (one, _) in networks.items()},
        "other_networks": others(*networks[TYPICAL]),
        "gpu": GPU if device.type == "cpu" else others(*network(TYPICAL, device, *sizes)) | {"assumed": False},
        **arithmetic(options.repeats),
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found |= files(Path(folder), options.repeats) | images(Path(folder), options.repeats)
        found["votes"] = votes(Path(folder), options.repeats)
    check_rates(found)
    text = json.dumps(_rounded(found), indent=1, sort_keys=True) + "\n"
    Path(options.output).write_text(text, encoding="utf-8") if options.output else sys.stdout.write(text)


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return (
        f"{model or platform.processor() or platform.machine()}, one core; torch {torch.__version__}, faiss "
        f"{faiss.__version__}, numpy {np.__version__}"
    )


def start_up(code: str, repeats: int) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"}
    taken = []
    for _ in range(repeats + 1):
        command = [sys.executable, "-c", f"{code}\n{TOLD}"]
        child = subprocess.Popen(command, env=environment, cwd=SCRIPTS, stdout=subprocess.PIPE, text=True)
        told = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{code}: exit code {child.returncode}")
        taken.append((used.ru_utime + used.ru_stime, float(told)))
    return dict(zip(("seconds", "megabytes"), map(median, zip(*taken[1:], strict=True)), strict=True))


# -- codes and votes


def arithmetic(repeats: int) -> dict[str, object]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4096, 1024)).astype(np.float16)
    directions = np.linalg.qr(rng.normal(size=(1024, 256)))[0].T.astype(np.float32)
    pca = PCA(np.zeros(1024), directions, np.ones(256), np.ones(256), 4096)
    moments = seconds(lambda: Moments.empty(1024).update(features), repeats)
    encoded = seconds(lambda: stored_codes(pca, features, "conv_4_1", 0), repeats)
    return {
        "pca_gflops": 2 * features.size * 1024 / moments / 1e9,
        "encode_gflops": 2 * features.size * 256 / encoded / 1e9,
        "search": search(repeats),
    }


def search(repeats: int, rows: int = 65536, queries: int = 1000, k: int = 100) -> dict[str, float]:
    rng = np.random.default_rng(0)
    pairs, taken = rows * queries, {}
    for dimension in (64, 256):
        codes = rng.normal(size=(rows, dimension)).astype(np.float16)
        asked = rng.normal(size=(queries, dimension)).astype(np.float32)
        taken[dimension] = seconds(lambda c=codes, q=asked: Exact().search_blocks([c], [q], k), repeats)
    products = (taken[256] - taken[64]) / (2 * pairs * (256 - 64))
    bits = seconds(lambda: Binary().search_blocks([pack_signs(codes.astype(np.float32))], [asked], k), repeats)
    ids, distances = rng.integers(0, rows, (queries, k)), np.sort(rng.random((queries, k), np.float32))
    lists = [(ids, distances), (ids + rows, distances)]
    merged = seconds(lambda: merge_neighbors(lists, k), repeats)
    return {
        "gflops": 1e-9 / products,
        "pair_ns": max(taken[256] / pairs - 512 * products, 0.0) * 1e9,
        "bit_pair_ns": bits / pairs * 1e9,
        "merge_ns": merged / (2 * queries * k) * 1e9,
    }


def votes(folder: Path, repeats: int, rows: int = 65536, queries: int = 500, k: int = 100) -> dict[str, float]:
    """Of neighbours that are drawn at random, so that hardly a row is read twice."""
    rng, taken = np.random.default_rng(0), {}
    weightings = ["UW", *weight_columns()]
    axes = {"neighbors": [1, 5, 10, 20, 50, 100], "weightings": weightings, "combinations": list(COMBINATIONS)}
    ids = rng.integers(0, rows, (queries, k))
    for classes in (10, 500):
        softmax = to_stored(rng.dirichlet(np.ones(classes), rows).astype(np.float32))
        stored = softmax, stored_weights(softmax.astype(np.float32)), row_checks(softmax, first=0)
        paths = [folder / f"{name}.npy" for name in ("softmax", "weights", "checks")]
        for path, values in zip(paths, stored, strict=True):
            write_array(path, values, {"pool": "All", "start": 0, "stop": rows})
        (store,) = open_stores(*([path] for path in paths)).values()
        taken[classes] = seconds(lambda s=store, c=classes: vote_neighbors(s.take, ids, classes=c, **axes), repeats)
    slope = (taken[500] - taken[10]) / 490 / ids.size
    return {"class_ns": slope * 1e9, "row_ns": max(taken[10] / ids.size - 10 * slope, 1e-12) * 1e9}


# -- files and images


def files(folder: Path, repeats: int, rows: int = 131072) -> dict[str, float]:
    path, block = folder / "codes.npy", np.random.default_rng(0).normal(size=(8192, 256)).astype(np.float16)

    def write() -> None:
        with stream_array(path, (rows, 256), np.float16) as append:
            for _ in range(rows // len(block)):
                append(block)

    size = rows * 256 * 2 / 1e6
    written = seconds(write, repeats)
    return {
        "write_mb_per_s": size / written,
        "read_mb_per_s": size / seconds(lambda: [len(one) for one in read_blocks(path, 65536)], repeats),
    }


def images(folder: Path, repeats: int, rows: int = 131072) -> dict[str, object]:
    described, manifest, pool = (folder / name for name in ("set.json", "manifest.parquet", "pool.parquet"))
    options = {"kind": "shapes", "first": 0, "rows": rows, "content": "web"}
    listed = seconds(lambda: list_set("web", options, described, manifest), repeats)
    stored = {"web": StoredManifest(manifest)}
    built = seconds(lambda: write_pool(pool, stored, None, "table", 0), repeats)
    assert len(TableReader(pool)) == rows
    drawn = Shapes(first=0, rows=rows, content="web")
    some = np.random.default_rng(0).permutation(rows)[:2000]
    read = seconds(lambda: [drawn.read(some[start : start + 250]) for start in range(0, len(some), 250)], repeats)
    return {
        "pool_us": built / rows * 1e6,
        "pool_bytes": pool.stat().st_size / rows,
        "images": {
            "drawn": _image_rates(listed / rows, read / len(some), 32, True, manifest.stat().st_size / rows),
            "held": _image_rates(listed / rows, taking(repeats), 32, True, manifest.stat().st_size / rows),
            "files": _image_rates(listed / rows, decoding(folder, repeats), 224, False, None),
        },
    }


def taking(repeats: int, rows: int = 50_000) -> float:
    """Seconds to take an image of 32 pixels of those in memory."""
    pixels = np.ones((rows, 32, 32, 3), np.uint8)
    some = np.random.default_rng(0).permutation(rows)[:5000]
    return seconds(lambda: pixels[some], repeats) / len(some)


def decoding(folder: Path, repeats: int, count: int = 32) -> float:
    """Seconds to read a photograph of 500 x 375 pixels at 224."""
    coarse = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        path.write_bytes(stream.getvalue())
    return seconds(lambda: read_files(paths, 224, 256, "center", threads=1), repeats) / count


def _image_rates(listed: float, read: float, side: int, scales: bool, size: float | None) -> dict[str, object]:
    return {"list_us": listed * 1e6, "read_us": read * 1e6, "side": side, "scales": scales, "bytes": size}


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    measured = ["cifar_resnet8/32", "cifar_resnet14/32", "cifar_resnet20/32", "cifar_resnet56/32", "resnet18/224"]
    parser.add_argument("--networks", nargs="*", default=measured, help=f"ARCHITECTURE/SIDE, besides {TYPICAL}")
    parser.add_argument("--pixels", type=int, default=1 << 18, help="of all images of a batch, about")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: measure networks on the GPU, too")
    parser.add_argument("--folder", help="where temporary files go (default: the system's)")
    parser.add_argument("--output", help="JSON to write (default: standard output)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
