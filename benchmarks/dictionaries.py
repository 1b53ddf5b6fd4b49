"""Purification by dictionaries against a loop of SPORCO over the images and against bare transforms, in one process.

The floor is the transforms of the maps that ADMM's steps take, there and back, and nothing else. SPORCO gets one image
at a time, with the options of the code of Silva et al. (penalty 5 at first, 250 steps at most, tolerance 0.001), and
again with a tolerance that leaves the objective about as far above its minimum as ours; how far is given for each.
Contenders take turns within a repeat, and CPU time is counted (of all threads), so that a busy machine disturbs little.

    PYTHONPATH=scripts python benchmarks/dictionaries.py --folder data/cifar10/test --images 48
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nndefense.dictionaries.coding import code, evaluate
from nndefense.dictionaries.learning import begin, learn
from nndefense.dictionaries.purify import purify
from nndefense.dictionaries.spectrum import Spectrum, transform_filters
from nndefense.dictionaries.split import split

LOW_PASS = 5.0


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    images = read_images(options.folder, options.images) if options.folder else pictures(options.images, options.side)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.device}, {options.repeats} repeats")
    height, width = images.shape[2:]
    print(f"{len(images)} images of {height} x {width} pixels; SPORCO takes the first {options.loop}")
    state = learn(
        begin(filters=options.filters),
        lambda rows: images[torch.from_numpy(rows)],
        len(images),
        steps=options.steps,
        sparsity=0.2,
        method="admm",
    )
    filters = torch.from_numpy(state.filters)
    for sparsity in options.sparsity:
        measure(images.to(options.device), filters.to(options.device), sparsity, options)


def read_images(folder: str, count: int) -> Tensor:
    """The same number of images of each class folder, (count, 3, H, W); all of one size."""
    from PIL import Image

    classes = [sorted(one.iterdir()) for one in sorted(Path(folder).iterdir()) if one.is_dir()]
    files = [classes[place % len(classes)][place // len(classes)] for place in range(count)]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255)


def pictures(count: int, side: int) -> Tensor:
    """Shaded images with edges and noise, (count, 3, side, side)."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    edges = 0.3 * (smooth[:, :1] > 0.5) + 0.03 * torch.randn(smooth.shape, generator=draw)
    return (0.6 * smooth + edges).clamp(0, 1)


def measure(images: Tensor, filters: Tensor, sparsity: float, options: argparse.Namespace) -> None:
    height, width = images.shape[2:]
    spectrum = transform_filters(filters, height, width)
    chosen = torch.zeros(len(images), dtype=torch.int64)
    high = split(images, LOW_PASS)[1]
    steps = code(high, spectrum, sparsity, method="admm").iterations
    some = images[: options.loop]

    def ours(method: str) -> Callable[[], object]:
        return lambda: purify(images, [spectrum], chosen, sparsity=sparsity, low_pass=LOW_PASS, method=method)

    def loop(tolerance: float) -> Callable[[], object]:
        return lambda: purify_by_sporco(some, filters, sparsity, tolerance)

    contenders = {
        "bare transforms": (len(images), lambda: transforms(steps, spectrum)),
        "ours, ADMM": (len(images), ours("admm")),
        "ours, FISTA": (len(images), ours("fista")),
    }
    contenders |= {f"SPORCO, tolerance {tolerance}": (len(some), loop(tolerance)) for tolerance in options.tolerances}
    report(f"sparsity {sparsity}, {len(filters)} filters of {filters.shape[2]} pixels", contenders, options.repeats)

    found = {method: code(high, spectrum, sparsity, method=method) for method in ("admm", "fista")}
    values = {f"ours, {name.upper()}": codes.objectives[:, -1] for name, codes in found.items()}
    for tolerance in options.tolerances:
        values[f"SPORCO, tolerance {tolerance}"] = purify_by_sporco(some, filters, sparsity, tolerance)[1]
    exact = transform_filters(filters.double(), height, width)
    best = code(high.double(), exact, sparsity, method="admm", tolerance=1e-7, iterations=2000)
    least = evaluate(high.double(), best.maps, exact, sparsity)
    print(f"\n{'objective above its minimum, in %':34}{'mean':>8}{'max':>8}")
    for name, value in values.items():
        excess = 100 * (value.double() / least[: len(value)] - 1)
        print(f"{name:34}{excess.mean():8.3f}{excess.max():8.3f}")
    for name, codes in found.items():
        print(f"steps of {name.upper()}: {codes.iterations.double().mean():.0f}, at most {codes.iterations.max()}")


def transforms(steps: Tensor, spectrum: Spectrum) -> None:
    """The maps' transforms, there and back, that so many steps of each image take, a few images at a time."""
    shape = (spectrum.height, spectrum.width)
    each = max(1, (1 << 18) // (len(spectrum.filters) * spectrum.height * spectrum.width))
    maps = torch.ones(each, len(spectrum.filters), *shape, device=spectrum.filters.device)
    for _ in range(int(steps.sum()) // each):
        maps = torch.fft.irfft2(torch.fft.rfft2(maps), s=shape)


def purify_by_sporco(images: Tensor, filters: Tensor, sparsity: float, tolerance: float) -> tuple[Tensor, Tensor]:
    """Purified images and least objectives, one image after the other."""
    import sporco.fft
    from sporco.admm.cbpdn import ConvBPDN
    from sporco.signal import tikhonov_filter

    sporco.fft.pyfftw_threads = torch.get_num_threads()
    atoms = filters.permute(2, 3, 1, 0).cpu().numpy()
    given = {"MaxMainIter": 250, "RelStopTol": tolerance, "rho": 5.0, "AutoRho": {"Enabled": True}}
    shown, values = [], []
    for image in images.permute(0, 2, 3, 1).cpu().numpy():
        low, high = tikhonov_filter(image, LOW_PASS, 16)
        options = ConvBPDN.Options(given | {"RelaxParam": 1.8, "DataType": np.float32, "AuxVarObj": True})
        solver = ConvBPDN(atoms, high.astype(np.float32), sparsity, options)
        maps = solver.solve()
        shown.append(np.clip(low + solver.reconstruct(maps).squeeze(), 0, 1))
        values.append(solver.getitstat().ObjFun[-1])
    return torch.from_numpy(np.stack(shown)), torch.tensor(values)


def report(title: str, contenders: dict[str, tuple[int, Callable[[], object]]], repeats: int) -> None:
    """Runs the contenders in turn and prints their images/s, and their time relative to the first one's."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            for name, (count, run) in contenders.items():
                start = time.process_time()
                run()
                # The first turn warms caches and is not counted.
                if repeat:
                    seconds[name].append((time.process_time() - start) / count)
    floor = np.array(next(iter(seconds.values())))
    print(f"\n{title}\n{'':34}{'images/s':>10}{'ratio':>8}{'min':>8}{'max':>8}")
    for name, values in seconds.items():
        ratios = np.array(values) / floor
        print(
            f"{name:34}{1 / np.median(values):10.1f}{np.median(ratios):8.2f}{ratios.min():8.2f}{ratios.max():8.2f}",
        )


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", help="of class folders of images of one size; default: drawn ones")
    options.add_argument("--side", type=int, default=32, help="of drawn images")
    options.add_argument("--images", type=int, default=48)
    options.add_argument("--loop", type=int, default=8, help="images that the loop takes")
    options.add_argument("--filters", type=int, default=64)
    options.add_argument("--steps", type=int, default=20, help="batches that the dictionary is learnt from")
    options.add_argument("--sparsity", type=float, nargs="+", default=[0.2, 0.05])
    options.add_argument("--tolerances", type=float, nargs="+", default=[0.001, 0.008], help="of SPORCO")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--device", default="cpu")
    options.add_argument("--repeats", type=int, default=5)
    return options.parse_args()


if __name__ == "__main__":
    main()
