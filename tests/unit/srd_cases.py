"""What tests of the purifier `srd` share: a network whose latents are colours, clusters of these, images of each."""

import numpy as np
import torch
from torch import Tensor, nn

from nndefense.models.build import freeze
from nndefense.models.standardize import Standardized
from tests.unit.attack_cases import CLASSES, MEAN, STD
from tests.unit.dictionary_cases import pictures, random_filters

COLOURS = torch.tensor([[0.62, 0.45, 0.40], [0.42, 0.60, 0.45], [0.40, 0.45, 0.62]])
CLUSTERS, FILTERS, SIDE = len(COLOURS), 6, 5


def chooser() -> Standardized:
    """Its latents are the mean of each colour, standardised, whatever the images' size."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))
    return freeze(Standardized(net, MEAN, STD, "colours", CLASSES))


def tinted(count: int = 6, height: int = 13, width: int = 13, seed: int = 0) -> Tensor:
    """Pictures whose mean colour is nearest to COLOURS[0], COLOURS[1], ... in turn."""
    found = 0.4 * pictures(count, height, width, seed)
    tints = COLOURS[torch.arange(count) % CLUSTERS]
    return (found - found.mean(dim=(2, 3), keepdim=True) + tints[:, :, None, None]).clamp(0, 1)


def srd_context(low_pass: float = 5.0, oracle: dict[int, int] | None = None) -> dict:
    """Everything that `SemanticDictionaries` needs: a cluster around each colour, a random dictionary of each."""
    means = (COLOURS - torch.tensor(MEAN)) / torch.tensor(STD)
    spread = np.array([[0.1, 0.5, 0.5], [0.5, 0.1, 0.5], [0.5, 0.5, 0.1]], dtype=np.float32)
    found = {
        "chooser": chooser(),
        "deviations": spread,
        "filters": torch.stack([random_filters(FILTERS, SIDE, seed) for seed in range(CLUSTERS + 1)]),
        "low_pass": low_pass,
        "means": means.numpy(),
    }
    return found if oracle is None else {**found, "oracle": oracle}
