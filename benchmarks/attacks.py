"""PGD against its floor and against the libraries a user would pick instead, in one process, as ratios.

The floor is `steps` bare forward passes with the gradient of the images alone, weights frozen. Ours can be below it:
the workflow folds batch norms into convolutions before it attacks (`nndefense.models.build.freeze`). The libraries'
radius is one number for the batch, which their timing does not notice. Contenders take turns within a repeat, and
CPU time is counted (of all threads), so that a busy machine disturbs little; the table gives the median, the
smallest and the largest ratio over the repeats.

    PYTHONPATH=scripts python benchmarks/attacks.py --architecture resnet50 --side 224 --batch 4
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from nndefense.attacks.pgd import PGD
from nndefense.axes.ball import RAW
from nndefense.models.build import build_model, freeze

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPSILON = 0.06


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    side = 32 if options.architecture.startswith("cifar_") else options.side
    images = torch.rand(options.batch, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.arange(options.batch, device=device) % 10
    models = [build_model(options.architecture, 10, MEAN, STD).to(device) for _ in range(2)]
    models[0].requires_grad_(False)
    folded = freeze(models[0])
    contenders = {
        "floor": lambda: floor(models[0], images, labels, options.steps),
        "floor, batch norms folded": lambda: floor(folded, images, labels, options.steps),
        "ours, losses measured": ours(folded, images, labels, options.steps, measure_loss=True),
        "ours, losses not measured": ours(folded, images, labels, options.steps, measure_loss=False),
        "ours, not folded, losses measured": ours(models[0], images, labels, options.steps, measure_loss=True),
        "ours, not folded, losses not measured": ours(models[0], images, labels, options.steps, measure_loss=False),
        **libraries(models, images, labels, options.steps),
    }
    print(f"torch {torch.__version__}, {options.threads} threads, {device}, {options.repeats} repeats")
    print(f"{options.architecture}, {options.batch} images of {side} pixels, PGD with {options.steps} steps")
    report(contenders, options.repeats, device)


def floor(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int) -> torch.Tensor:
    """The passes alone."""
    for _ in range(steps):
        point = images.detach().requires_grad_()
        loss = nn.functional.cross_entropy(model(point), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, point)
    return gradient


def ours(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int, measure_loss: bool
) -> Callable[[], object]:
    attack, rows = PGD(steps=steps), torch.arange(len(images))
    axes = {"epsilon": EPSILON, "ball": RAW, "statistics": (MEAN, STD), "rows": rows, "seed": 0}
    return lambda: attack.run(model, images, labels, measure_loss=measure_loss, **axes)


class Contiguous(nn.Module):
    """Hands out gradients in the plain memory format: torchattacks fails on channels-last ones."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images.flatten(1).view(images.shape))


def libraries(
    models: list[nn.Module], images: torch.Tensor, labels: torch.Tensor, steps: int
) -> dict[str, Callable[[], object]]:
    """The libraries that are installed; models: weights frozen, weights not frozen."""
    radius = EPSILON * images.flatten(1).norm(dim=1).mean().item()
    step = 2.5 * radius / steps
    found = {}
    try:
        import torchattacks

        attack = torchattacks.PGDL2(Contiguous(models[1]).eval(), eps=radius, alpha=step, steps=steps)
        found["torchattacks PGDL2"] = lambda: attack(images, labels)
    except ImportError:
        pass
    try:
        import foolbox

        l2 = foolbox.attacks.L2PGD(abs_stepsize=step, steps=steps)
        for model, name in zip(models, ("weights frozen", "default call"), strict=True):
            wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
            found[f"foolbox L2PGD, {name}"] = lambda wrapped=wrapped: l2(wrapped, images, labels, epsilons=radius)
    except ImportError:
        pass
    try:
        from art.attacks.evasion import ProjectedGradientDescent
        from art.estimators.classification import PyTorchClassifier

        classifier = PyTorchClassifier(
            models[1],
            nn.CrossEntropyLoss(),
            tuple(images.shape[1:]),
            10,
            clip_values=(0, 1),
            device_type="cpu" if images.device.type == "cpu" else "gpu",
        )
        radii = EPSILON * images.flatten(1).norm(dim=1).view(-1, 1, 1, 1).cpu().numpy()
        pgd = ProjectedGradientDescent(
            classifier,
            norm=2,
            eps=radii,
            eps_step=2.5 * radii / steps,
            max_iter=steps,
            batch_size=len(images),
            verbose=False,
        )
        arrays = images.cpu().numpy(), np.eye(10, dtype=np.float32)[labels.cpu()]
        found["ART ProjectedGradientDescent"] = lambda: pgd.generate(*arrays)
    except ImportError:
        pass
    return found


def report(contenders: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> None:
    """Ratios to the first contender."""

    # On a GPU the work is not CPU time.
    clock = time.process_time if device.type == "cpu" else time.perf_counter

    def seconds(call: Callable[[], object]) -> float:
        start = clock()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    for call in contenders.values():
        call()
    taken = np.array([[seconds(call) for call in contenders.values()] for _ in range(repeats)])
    ratios = taken / taken[:, :1]
    print(f"{'':42} {'median':>7} {'min':>7} {'max':>7} {'seconds':>9}")
    for column, name in enumerate(contenders):
        ratio, cost = ratios[:, column], np.median(taken[:, column])
        print(f"{name:42} {np.median(ratio):7.2f} {ratio.min():7.2f} {ratio.max():7.2f} {cost:9.3f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="cifar_resnet20")
    parser.add_argument("--side", type=int, default=224, help="pixels; cifar_ networks take 32")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
