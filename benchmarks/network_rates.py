"""How many images a network takes in a second, as the workflow puts them through it, and as it attacks with it."""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from nndefense.attacks.pgd import PGD
from nndefense.axes.ball import RAW
from nndefense.features.extract import FeatureExtractor, extract_features
from nndefense.features.layers import available_layers, default_layers
from nndefense.models.build import build_model, freeze
from nndefense.models.train import train

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 10
STEPS = 4


def seconds(call: Callable[[], object], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    taken = []
    for repeat in range(repeats + 1):
        start = clock()
        call()
        # The first turn warms caches and is not counted.
        if repeat:
            taken.append(clock() - start)
    return median(taken)


def network(name: str, device: torch.device, pixels: int, repeats: int) -> tuple[dict[str, float], float]:
    """Rates of ARCHITECTURE/SIDE, and operations of a forward pass; pixels: of all images of a batch, about."""
    architecture, side = name.split("/")
    model = build_model(architecture, CLASSES, MEAN, STD).to(device)
    folded = freeze(model)
    extractor = FeatureExtractor(folded, default_layers(folded) if available_layers(folded) else [])
    count = max(2, min(256, pixels // int(side) ** 2))
    shape = (count, int(side), int(side), 3)
    drawn = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    points = torch.from_numpy(drawn).permute(0, 3, 1, 2).float().div(255).to(device)
    points = points.contiguous(memory_format=torch.channels_last)
    labels, rows = torch.arange(count) % CLASSES, torch.arange(count)
    axes = {"epsilon": 0.06, "ball": RAW, "statistics": (MEAN, STD), "rows": rows, "seed": 0}
    steps = {"epochs": 1, "batch": count, "learning_rate": 0.01, "weight_decay": 0.0, "seed": 0, "device": device}

    def clock() -> float:
        # On a GPU the work is not CPU time.
        if device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def timed(call: Callable[[], object]) -> float:
        return seconds(call, repeats, clock)

    forward = timed(lambda: extract_features(extractor, drawn, count, device))
    attack = timed(lambda: PGD(steps=STEPS).run(folded, points, labels.to(device), **axes))
    training = timed(lambda: train(model, drawn, labels.numpy(), **steps))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        folded(points[:1])
    # A run is the losses before and after, and STEPS steps of one forward pass each.
    backward = (attack - (STEPS + 2) * forward) / STEPS / forward
    found = {"images_per_s": count / forward, "backward": max(backward, 0.1), "training": training / forward}
    return found, float(counter.get_total_flops())


def others(rate: dict[str, float], flop: float) -> dict[str, float]:
    """Rates of networks that are not measured, from one that is."""
    return {"gflops": rate["images_per_s"] * flop / 1e9, "backward": rate["backward"], "training": rate["training"]}
