"""Throughput of a GPU beside what it could do: passes over images, PGD, and searches, as the workflow computes them.

The floor of each is the time that its multiplications take at the rate of this device's own large product (of bf16
numbers, 8192 x 8192): one forward pass an image for features; a forward pass and the gradient of the image for a step;
2 N d for a query. Nothing can be faster; `share` says how near it comes. Reading and decoding images is not part of it.
Votes that a way of computing changes are counted by `make test-gpu`.

    PYTHONPATH=scripts python benchmarks/gpu_throughput.py
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import faiss
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from nndefense.attacks.batches import attack_in_batches
from nndefense.attacks.pgd import PGD
from nndefense.axes.ball import RAW
from nndefense.core import devices
from nndefense.database.engines.exact import Exact
from nndefense.database.engines.on_gpu import has_gpus
from nndefense.database.engines.trained import search_indexes, train
from nndefense.features.blocks import feature_blocks
from nndefense.features.extract import FeatureExtractor
from nndefense.features.layers import default_layers
from nndefense.models.build import build_model, freeze
from nndefense.models.computing import Computing
from nndefense.models.predict import to_tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WAYS = [Computing(), Computing("tf32"), Computing("bf16"), Computing("bf16", True)]
STEPS, DIMENSIONS, NEIGHBORS = 10, 256, 50


class Line(NamedTuple):
    """A line of the table: what, how, how many a second, and how many at the floor."""

    what: str
    how: str
    rate: float
    floor: float


def main() -> None:
    options = _options()
    if devices.accelerated(options.device) and not torch.cuda.is_available():
        sys.exit("error: no GPU; allowed: --device cpu, for a look at the table alone")
    devices.exact_products()
    gpu = devices.accelerated(options.device)
    name = torch.cuda.get_device_name() if gpu else "the CPU"
    rate = product_rate(options.device, options.product)
    print(f"{name}, torch {torch.__version__}, faiss {faiss.__version__}, {options.repeats} repeats, medians")
    print(f"products {rate / 1e12:.3g} TFLOP/s, copies {copy_rate(options.device) / 1e12:.3g} TB/s\n")
    print(f"{'':34}{'':16}{'a second':>12}{'floor':>12}{'share':>8}")
    for line in [*networks(options, rate), *searches(options, rate)]:
        print(f"{line.what:34}{line.how:16}{line.rate:12,.0f}{line.floor:12,.0f}{line.rate / line.floor:8.3f}")


def seconds(call: Callable[[], object], device: str, repeats: int) -> float:
    """Median by the clock, after a turn that warms up and compiles."""
    taken = []
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        call()
        if devices.accelerated(device):
            torch.cuda.synchronize()
        if repeat:
            taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def product_rate(device: str, side: int) -> float:
    """Operations a second of a large product; of single precision where the device is none for bf16."""
    kind = torch.bfloat16 if devices.accelerated(device) else torch.float32
    factors = [torch.rand(side, side, device=device, dtype=kind) for _ in range(2)]
    return 2 * side**3 / seconds(lambda: torch.mm(*factors), device, 5)


def copy_rate(device: str) -> float:
    """Bytes a second that are read and written."""
    source = torch.zeros(1 << (30 if devices.accelerated(device) else 26), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / seconds(lambda: target.copy_(source), device, 5)


def networks(options: argparse.Namespace, rate: float) -> Iterator[Line]:
    """Passes over images and attacks, in every way."""
    generator, shape = np.random.default_rng(0), (options.images, options.side, options.side, 3)
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    model = freeze(build_model(options.architecture, 1000, MEAN, STD)).to(options.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(to_tensor(images[:1]).to(options.device))
    flop = float(counter.get_total_flops())
    extractor = FeatureExtractor(model, default_layers(model))
    attacked = images[: min(options.images, 4 * options.batch)]
    clean = {
        "images": to_tensor(attacked).contiguous().numpy(),
        "labels": np.arange(len(attacked)),
        "rows": np.arange(len(attacked)),
    }
    for way in WAYS if devices.accelerated(options.device) else WAYS[:1]:
        how = f"{way.precision}{', compiled' if way.compiles else ''}"
        taken = seconds(lambda way=way: extract(extractor, images, options, way), options.device, options.repeats)
        yield Line(f"{options.architecture}, features", how, len(images) / taken, rate / flop)
        taken = seconds(lambda way=way: attack(model, clean, options, way), options.device, options.repeats)
        yield Line(f"{options.architecture}, PGD-{STEPS}", how, len(attacked) / taken, rate / (2 * STEPS * flop))


def extract(extractor: FeatureExtractor, images: np.ndarray, options: argparse.Namespace, way: Computing) -> None:
    """All layers and softmax rows, from pixels in memory."""
    blocks = ((slice(at, at + options.batch), images[at : at + options.batch], {}) for at in _starts(images, options))
    for _ in feature_blocks(extractor, blocks, options.batch, options.device, way):
        pass


def _starts(images: np.ndarray, options: argparse.Namespace) -> range:
    return range(0, len(images), options.batch)


def attack(model: torch.nn.Module, clean: dict[str, np.ndarray], options: argparse.Namespace, way: Computing) -> None:
    """PGD, losses not measured."""
    attack_in_batches(
        PGD(steps=STEPS),
        model,
        clean,
        epsilons=[0.06],
        ball=RAW,
        statistics=(MEAN, STD),
        seed=1,
        batch=options.batch,
        context=lambda rows: {},
        on_batch=lambda result: None,
        measure_loss=False,
        computing=way,
    )


def searches(options: argparse.Namespace, rate: float) -> Iterator[Line]:
    """Exact search of half-precision codes, and an inverted file where FAISS has it on the device."""
    generator = np.random.default_rng(0)
    codes = generator.normal(size=(options.rows, DIMENSIONS)).astype(np.float16)
    queries = generator.normal(size=(options.queries, DIMENSIONS)).astype(np.float32)
    blocks = np.array_split(codes, max(1, len(codes) // 65536))
    engine = Exact(device=options.device)
    taken = seconds(lambda: engine.search_blocks(blocks, [queries], NEIGHBORS), options.device, options.repeats)
    floor = rate / (2 * options.rows * DIMENSIONS)
    yield Line(
        f"exact search of {options.rows:,} codes", "torch" if engine.on_torch else "faiss", len(queries) / taken, floor
    )
    lists, probes = max(4, int(options.rows**0.5)), 16
    index = faiss.deserialize_index(np.frombuffer(train(codes[: 64 * lists], f"IVF{lists},Flat"), np.uint8))
    index.add(codes.astype(np.float32))

    def search() -> None:
        search_indexes([(options.rows, index)], [queries], NEIGHBORS, [options.rows], probes, options.device)

    taken = seconds(search, options.device, options.repeats)
    visited = lists + probes * options.rows / lists
    how = "faiss, GPU" if devices.accelerated(options.device) and has_gpus() else "faiss, CPU"
    yield Line(f"IVF{lists},Flat, {probes} probes", how, len(queries) / taken, rate / (2 * visited * DIMENSIONS))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu")
    parser.add_argument("--architecture", default="resnet50")
    parser.add_argument("--side", type=int, default=224, help="pixels of a side")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=250, help="images of a pass")
    parser.add_argument("--rows", type=int, default=1_000_000, help="codes of the database")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--product", type=int, default=8192, help="side of the product that gives the floor")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
