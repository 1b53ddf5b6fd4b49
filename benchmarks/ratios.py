"""Contenders in turn, in one process: what the benchmarks of stages have in common."""

import time
from collections.abc import Callable

import numpy as np
import torch


def report(title: str, contenders: dict[str, Callable[[], object]], repeats: int) -> None:
    """Run the contenders in turn and print their CPU time, and its ratio to the first one's."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            for name, run in contenders.items():
                start = time.process_time()
                run()
                # The first turn warms caches and is not counted.
                if repeat:
                    seconds[name].append(time.process_time() - start)
    floor = np.array(next(iter(seconds.values())))
    print(f"\n{title}\n{'':34}{'CPU s':>10}{'ratio':>8}{'min':>8}{'max':>8}")
    for name, values in seconds.items():
        ratios = np.array(values) / floor
        print(f"{name:34}{np.median(values):10.4f}{np.median(ratios):8.3f}{ratios.min():8.3f}{ratios.max():8.3f}")
