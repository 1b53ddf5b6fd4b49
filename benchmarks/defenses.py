"""TV minimisation and image quilting against plain loops over the images, in one process, as ratios.

scikit-image knows no mask. One call per image on the masked image counts dropped pixels as black; the masked problem
takes repeated calls, each with the dropped pixels set to what the last one found (majorisation and minimisation). Both
are timed, and ART's masked solver, and the objective that each arrives at is given. The loops for quilting look for
patches as NumPy would at first, one by one, and with a product of matrices for each image, and lay them one by one.
Contenders take turns within a repeat, and CPU time is counted (of all threads), so that a busy machine disturbs little.

    PYTHONPATH=scripts python benchmarks/defenses.py --side 32 --batch 64 --patches 20000
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nndefense.defenses.image_quilting import assemble, quilt
from nndefense.defenses.patches import build_patch_index, grid_patches, nearest_patches
from nndefense.defenses.tv_minimization import keep_mask, minimize_tv, objective

WEIGHT, SIZE, STRIDE = 0.03, 5, 3


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    import faiss

    faiss.omp_set_num_threads(options.threads)
    images = pictures(options.batch, options.side)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.device}, {options.repeats} repeats")
    print(f"{options.batch} images of {options.side} pixels; the loops take the first {options.loop}")
    total_variation(images, options)
    quilting(images, options)


def pictures(count: int, side: int) -> Tensor:
    """Shaded images with edges and noise, (count, 3, side, side)."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    edges = 0.3 * (smooth[:, :1] > 0.5) + 0.03 * torch.randn(smooth.shape, generator=draw)
    return (0.6 * smooth + edges).clamp(0, 1)


def total_variation(images: Tensor, options: argparse.Namespace) -> None:
    kept = keep_mask(images.shape, 0.5, torch.arange(len(images)), 0)
    shown, mask = images.to(options.device), kept.to(options.device)
    pairs = [
        (image, own)
        for image, own in zip(
            images[: options.loop].permute(0, 2, 3, 1).numpy(),
            kept[: options.loop].permute(0, 2, 3, 1).numpy(),
            strict=True,
        )
    ]
    contenders = {}
    for tolerance in (0.01, 0.001):
        contenders[f"ours, tolerance {tolerance}"] = lambda t=tolerance: minimize_tv(shown, mask, tolerance=t)
        for name, solve in (("once, no mask", once), ("repeated for the mask", repeated)):
            contenders[f"scikit-image {name}, {tolerance}"] = lambda t=tolerance, s=solve: [s(*p, t) for p in pairs]
    contenders["ART TotalVarMin, 100 steps"] = lambda: [with_art(*pair) for pair in pairs]
    print("\nTV minimisation")
    found = report(contenders, options, ours=len(images), loop=len(pairs))
    print("mean objective over the images of the loops")
    for name, result in found.items():
        if not isinstance(result, Tensor):
            result = torch.from_numpy(np.stack(result)).permute(0, 3, 1, 2)
        result = result.cpu()[: len(pairs)]
        print(f"{name:42} {objective(images[: len(pairs)], result, kept[: len(pairs)], WEIGHT).mean():9.3f}")


def once(image: np.ndarray, kept: np.ndarray, tolerance: float) -> np.ndarray:
    from skimage.restoration import denoise_tv_bregman

    return denoise_tv_bregman(image * kept, 1 / WEIGHT, max_num_iter=100, eps=tolerance, channel_axis=-1)


def repeated(image: np.ndarray, kept: np.ndarray, tolerance: float) -> np.ndarray:
    found = image * kept
    for _ in range(100):
        before, found = found, once(np.where(kept, image, found), np.ones_like(kept), tolerance)
        if np.sqrt(np.mean((found - before) ** 2)) < tolerance:
            break
    return found


def with_art(image: np.ndarray, kept: np.ndarray) -> np.ndarray:
    from art.defences.preprocessor import TotalVarMin

    return TotalVarMin(prob=0.5, norm=2, lamb=WEIGHT, max_iter=100)._minimize(image * kept, kept.astype(int))


def quilting(images: Tensor, options: argparse.Namespace) -> None:
    patches = np.random.default_rng(0).integers(0, 256, (options.patches, 3 * SIZE**2), dtype=np.uint8)
    index = build_patch_index(patches, options.factory)
    values = patches.astype(np.float32) / 255
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    # Sides that the grid covers, so that nobody has to pad.
    side = SIZE + (options.side - SIZE) // STRIDE * STRIDE
    pixels = pixels[:, :side, :side]
    shown = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(options.device)
    rows, few = torch.arange(len(images)), pixels[: options.loop]
    nprobe = 5 if "IVF" in options.factory else None
    queries = grid_patches(pixels)
    known = nearest_patches(index, queries.reshape(-1, queries.shape[-1]), nprobe=nprobe).reshape(len(pixels), -1)
    chosen = torch.from_numpy(patches[known]).to(options.device)
    contenders = {
        "ours": lambda: quilt(shown, patches, index, rows=rows, seed=0, nprobe=nprobe),
        "loop, product of matrices per image": lambda: [lay(patches[by_product(x, values)], side) for x in few],
        "loop, patch by patch": lambda: [lay(patches[one_by_one(x, values)], side) for x in few],
    }
    print(f"\nImage quilting, {len(patches)} patches, {options.factory}")
    found = report(contenders, options, ours=len(images), loop=len(few))
    if options.factory == "Flat":
        ours = (found["ours"][: len(few)] * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        equal = [np.mean(ours == np.stack(found[name])) for name in contenders if name != "ours"]
        print(f"share of equal pixels: {equal}")
    print("Patches laid, neighbours known")
    laying = {
        "ours": lambda: assemble(chosen, (side, side)),
        "loop": lambda: [lay(patches[own], side) for own in known[: len(few)]],
    }
    report(laying, options, ours=len(images), loop=len(few))


def by_product(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    queries = grid_patches(image[None])[0]
    return ((values**2).sum(1) - 2 * queries @ values.T).argmin(1)


def one_by_one(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.array([((values - query) ** 2).sum(1).argmin() for query in grid_patches(image[None])[0]])


def seam(errors: np.ndarray) -> list[int]:
    """Column of the cheapest path in each row."""
    costs = [errors[0]]
    for row in errors[1:]:
        edged = np.pad(costs[-1], 1, constant_values=np.iinfo(int).max)
        costs.append(row + np.minimum(np.minimum(edged[:-2], edged[1:-1]), edged[2:]))
    path = [int(costs[-1].argmin())]
    for row in costs[-2::-1]:
        low = max(0, path[-1] - 1)
        path.append(low + int(row[low : path[-1] + 2].argmin()))
    return path[::-1]


def lay(patches: np.ndarray, side: int) -> np.ndarray:
    canvas, overlap = np.zeros((side, side, 3), np.uint8), SIZE - STRIDE
    corners = range(0, side - SIZE + 1, STRIDE)
    for place, patch in enumerate(patches.reshape(-1, SIZE, SIZE, 3)):
        top, left = corners[place // len(corners)], corners[place % len(corners)]
        old = canvas[top : top + SIZE, left : left + SIZE]
        errors = ((old.astype(int) - patch) ** 2).sum(2)
        new = np.ones((SIZE, SIZE), bool)
        if left:
            for row, column in enumerate(seam(errors[:, :overlap])):
                new[row, :column] = False
        if top:
            for column, row in enumerate(seam(errors[:overlap].T)):
                new[:row, column] = False
        old[new] = patch[new]
    return canvas


def report(contenders: dict[str, Callable[[], object]], options: argparse.Namespace, ours: int, loop: int) -> dict:
    """Images a second, and how many times as long the others take for an image as the first contender."""
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    found, taken = {}, []
    for _ in range(options.repeats + 1):
        taken.append([])
        for name, call in contenders.items():
            start = clock()
            found[name] = call()
            if options.device != "cpu":
                torch.cuda.synchronize()
            taken[-1].append((clock() - start) / (ours if name.startswith("ours") else loop))
    costs = np.array(taken[1:])
    ratios = costs / costs[:, :1]
    print(f"{'':42} {'images/s':>9} {'ratio':>8} {'min':>7} {'max':>7}")
    for column, name in enumerate(contenders):
        ratio = ratios[:, column]
        rate = 1 / np.median(costs[:, column])
        print(f"{name:42} {rate:9.1f} {np.median(ratio):8.2f} {ratio.min():7.2f} {ratio.max():7.2f}")
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--loop", type=int, default=4, help="images that the loops take")
    parser.add_argument("--patches", type=int, default=20_000)
    parser.add_argument("--factory", default="Flat", help="FAISS factory string, e.g. PCA64,IVF200,PQ16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
