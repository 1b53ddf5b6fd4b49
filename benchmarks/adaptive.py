"""Attacks through the deployed nearest-neighbour defence against the bare passes, in one process, as ratios.

The floor of a step is one forward pass of the network and the gradient of the images, weights frozen. An attack through
the defence adds the search for candidates, soft votes, and questions to the exact defence. The budget is so small that
no image leaves; those that are wrong already are left out.

    PYTHONPATH=scripts python benchmarks/adaptive.py results --batch 125
"""

import argparse
from pathlib import Path

import torch
from attacks import floor, report

from nndefense.attacks.adaptive import Adaptive
from nndefense.attacks.feature_matching import FeatureMatching
from nndefense.attacks.guide_samples import GuideSamples
from nndefense.attacks.soft_retrieval import SoftRetrieval
from nndefense.axes.ball import RAW
from nndefense.core.arrays import read_arrays
from nndefense.defenses.deployed import open_deployed, read_deployed

EPSILON = 1e-5


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    bound = open_deployed(read_deployed(options.run), options.device)
    stored = read_arrays(Path(options.run) / "attacks/clean.npz", "clean/images", "labels")
    images = torch.from_numpy(stored["clean/images"][: 2 * options.batch]).to(device)
    labels = torch.from_numpy(stored["labels"][: 2 * options.batch]).to(device)
    right = bound.probabilities(images, rows=torch.arange(len(images)), seed=0).argmax(dim=1) == labels
    images, labels = images[right][: options.batch], labels[right][: options.batch]
    images = images.contiguous(memory_format=torch.channels_last)
    rows = torch.arange(len(images))

    def ours(attack: Adaptive) -> object:
        axes = {"epsilon": EPSILON, "ball": RAW, "rows": rows, "seed": 0, "measure_loss": False}
        return attack.run(bound, images, labels, **axes)

    steps = options.steps
    attacks = {
        "A1, soft retrieval": SoftRetrieval(steps=steps, temperatures=[1.0]),
        "A1, neighbours looked up in every step": SoftRetrieval(steps=steps, temperatures=[1.0], refresh=1, slack=0.0),
        "A1, APGD": SoftRetrieval(steps=steps, temperatures=[1.0], schedule="apgd"),
        "A2, guide samples": GuideSamples(steps=steps),
        "A3, feature matching": FeatureMatching(steps=steps, targets=1),
    }
    contenders = {"floor": lambda: floor(bound.model, images, labels, steps)}
    contenders |= {name: lambda attack=attack: ours(attack) for name, attack in attacks.items()}
    print(f"torch {torch.__version__}, {options.threads} threads, {device}, {options.repeats} repeats")
    print(f"{len(images)} images, {steps} steps, database of {sum(len(one.rows) for one in bound.context['shards']):,}")
    report(contenders, options.repeats, device)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="folder of results with knn.json")
    parser.add_argument("--batch", type=int, default=125)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
