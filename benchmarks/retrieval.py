"""Noisy embeddings against their floor, the bare forward passes, and certificates from stored draws; in one process.

Contenders take turns within a repeat, and CPU time is counted (of all threads); the table gives the median, the
smallest and the largest ratio to the floor. Then the memory of a process that streams draws to disk, by their number.

    PYTHONPATH=scripts python benchmarks/retrieval.py --architecture cifar_resnet20 --side 32
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from ratios import report

from nndefense.certificates import CERTIFICATES
from nndefense.certificates.base import Gallery
from nndefense.core.arrays import stream_array
from nndefense.models.build import build_model, freeze
from nndefense.models.embedding import Embedding
from nndefense.models.smoothing import noisy_embeddings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIGMA = 0.25


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    embedding = _embedding(options.architecture)
    if options.stream:
        return _stream(embedding, options)
    print(f"torch {torch.__version__}, 1 thread, {options.repeats} repeats")
    images = np.random.default_rng(0).integers(0, 256, (options.images, options.side, options.side, 3), dtype=np.uint8)
    title = f"{options.architecture}, {options.images} images of {options.side} pixels x {options.draws} draws"
    report(title, _embeddings(embedding, images, options.draws, options.batch), options.repeats)
    report("Certificates of one query, n = 1,000, gallery 500, D = 128, against copying the draws", _certificates(), 5)
    print("\npeak resident memory of a process that streams draws of one image to disk")
    for count in (1000, 10000):
        print(f"{count:>8,} draws: {_peak(options, count):,.0f} MB")
    return None


def _embedding(architecture: str) -> Embedding:
    return freeze(Embedding(build_model(architecture, 10, MEAN, STD), "features"))


def _embeddings(embedding: Embedding, images: np.ndarray, draws: int, batch: int) -> dict[str, Callable[[], object]]:
    floats = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255)
    ready = torch.rand(len(images) * draws, *floats.shape[1:])

    def bare() -> object:
        return [embedding(part) for part in ready.split(batch)]

    def ours() -> object:
        rows = np.arange(len(images))
        return list(noisy_embeddings(embedding, images, rows, count=draws, sigma=SIGMA, seed=1, batch=batch))

    def loop() -> Iterator[torch.Tensor]:
        # As in the code of Cohen et al. 2019: batches of one image.
        for image in floats:
            left = draws
            while left > 0:
                size = min(batch, left)
                left -= size
                copies = image.repeat((size, 1, 1, 1))
                yield embedding(copies + torch.randn_like(copies) * SIGMA)

    return {"bare forward passes": bare, "ours, rounded to float16": ours, "a loop over images": lambda: list(loop())}


def _certificates() -> dict[str, Callable[[], object]]:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((500, 128))
    gallery = Gallery(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.arange(500) % 10)
    draws = gallery.vectors[0] + 0.05 * random.standard_normal((1100, 128))
    draws = (draws / np.linalg.norm(draws, axis=1, keepdims=True) * 0.999).astype(np.float16)
    found = {"copy to float64": lambda: draws.astype(np.float64)}
    for name, entry in CERTIFICATES.items():
        certify = entry.load()
        found[name] = lambda certify=certify: certify(draws[:100], draws[100:], gallery, sigma=SIGMA, alpha=0.001)
    return found


def _stream(embedding: Embedding, options: argparse.Namespace) -> None:
    """Stream draws of one image to a file, and print this process's peak memory in MB."""
    import resource

    images = np.zeros((1, options.side, options.side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        found = noisy_embeddings(
            embedding, images, np.arange(1), count=options.draws, sigma=SIGMA, seed=1, batch=options.batch
        )
        *_, first = next(found)
        with stream_array(Path(folder, "draws.npy"), (options.draws, first.shape[1]), np.float16) as append:
            append(first)
            for *_, values in found:
                append(values)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _peak(options: argparse.Namespace, count: int) -> float:
    words = ["--architecture", options.architecture, "--side", str(options.side), "--batch", str(options.batch)]
    command = [sys.executable, __file__, *words, "--draws", str(count), "--stream"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--architecture", default="cifar_resnet20")
    options.add_argument("--side", type=int, default=32)
    options.add_argument("--images", type=int, default=4)
    options.add_argument("--draws", type=int, default=500)
    options.add_argument("--batch", type=int, default=250)
    options.add_argument("--repeats", type=int, default=6)
    options.add_argument("--stream", action="store_true", help="stream draws of one image, print the peak memory")
    return options.parse_args()


if __name__ == "__main__":
    main()
