"""What tests of attacks through a defence share: fakes that remember what they are asked, a made-up database."""

from copy import copy

import numpy as np
import pytest
import torch
from torch import nn

from nndefense.attacks import ATTACKS
from nndefense.attacks.adaptive import Adaptive, Climber
from nndefense.database.engines.held import Held
from nndefense.database.index import build_index
from nndefense.database.softmax_store import ShardRows, SoftmaxStore
from nndefense.defenses.neighbors import NearestNeighbors
from nndefense.retrieval.weights import stored_weights
from tests.unit.attack_cases import (
    draw_images,
    make_attack,
    run,
)

ADAPTIVE = sorted(name for name, entry in ATTACKS.items() if issubclass(entry.load(), Adaptive))
CLIMBERS = [name for name in ADAPTIVE if issubclass(ATTACKS[name].load(), Climber)]
every_attack = pytest.mark.parametrize("name", ADAPTIVE)
every_climber = pytest.mark.parametrize("name", CLIMBERS)
LIGHT = {"square": {"queries": 40}, "noise": {"tries": 8}}
ALWAYS = 1e9  # A slack with which the exact defence is asked at every chance.


class Fake:
    """A defence that is told what to answer, and remembers what it was asked.

    Args:
        logits: (images, rows, seed) -> (B, C), what can be differentiated.
        shares: likewise, its exact answers.
    """

    def __init__(self, logits, shares, random=False):
        self.logits, self.shares, self.random = logits, shares, random
        self.model, self.asked, self.climbed, self.seeds, self.memos = nn.Identity().eval(), [], [], set(), []

    def surrogate(self, images, *, rows, seed, draws=1, memo=None):
        self.climbed.append((rows.tolist(), images.detach().clone(), draws))
        self.seeds.add(seed)
        if memo is not None:
            memo["steps"] = memo.get("steps", 0) + 1
            self.memos.append(memo)
        return self.logits(images, rows, seed)

    def embed(self, images, *, rows, seed, draws=1, memo=None):
        return self.surrogate(images, rows=rows, seed=seed, draws=draws, memo=memo).softmax(dim=1)

    def landmarks(self, classes):
        return torch.eye(classes), torch.arange(classes), 1

    def pictures(self, places):
        return None

    def softened(self, temperature):
        return self

    def unrolled(self):
        return self

    def probabilities(self, images, *, rows, seed):
        shares = self.shares(images, rows, seed)
        self.asked += zip(rows.tolist(), images.clone(), shares, [seed] * len(rows), strict=True)
        return shares

    def of(self, row):
        """Images, answers and seeds of the questions about an image, in their order."""
        return [one[1:] for one in self.asked if one[0] == row]


class Witness(Fake):
    """Remembers what a defence is asked."""

    def __init__(self, target):
        super().__init__(None, None, target.random)
        self.target, self.model = target, target.model
        self.logits = lambda images, rows, seed: self.target.surrogate(images, rows=rows, seed=seed)
        self.shares = lambda images, rows, seed: self.target.probabilities(images, rows=rows, seed=seed)

    def embed(self, images, *, rows, seed, draws=1, memo=None):
        self.climbed.append((rows.tolist(), images.detach().clone(), 1))
        return self.target.embed(images, rows=rows, seed=seed, memo=memo)

    def landmarks(self, classes):
        return self.target.landmarks(classes)

    def softened(self, temperature):
        found = copy(self)
        found.target = self.target.softened(temperature)
        found.logits = lambda images, rows, seed: found.target.surrogate(images, rows=rows, seed=seed)
        return self if found.target is self.target else found


def always(*shares):
    return lambda images, rows, seed: torch.tensor(shares).expand(len(images), -1)


def slope(weight, bias=0.0):
    """Logits (0, w . x + bias): the log margin of class 1 is linear."""

    def logits(images, rows, seed):
        score = (images * weight).sum(dim=(1, 2, 3)) + bias
        return torch.stack([torch.zeros_like(score), score], dim=1)

    return logits


def grey(count=4, size=6, low=0.4, high=0.6, seed=0):
    """Images that no pixel's bound stops, and labels 0."""
    return draw_images(count, size, seed, low, high)[0], torch.zeros(count, dtype=torch.int64)


def leads(shares, labels):
    """Of the best wrong class over the right one, one image after the other."""
    found = [max(one[k] - one[y] for k in range(len(one)) if k != y) for one, y in zip(shares, labels, strict=True)]
    return torch.stack(found)


def unit(direction):
    return direction / direction.flatten(1).norm(dim=1)[:, None, None, None]


def norms(images):
    return images.flatten(1).double().norm(dim=1)


# -- a made-up database

SIDE, WIDTH, K = 2, 6, 9
MADE = 80


class Plane:
    """Codes (B, width) that are linear in the images (B, 3, 2, 2)."""

    bits = False

    def __init__(self, width=WIDTH):
        turn = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
        self.axes, self.scale = torch.from_numpy(10 * turn[:width]).float(), torch.ones(width)

    def __call__(self, images):
        return ((images.flatten(1) - 0.5)[:, None] * self.axes).sum(dim=2)

    def codes(self, images):
        return self(images).numpy()

    def images(self, codes):
        """Images with these codes."""
        return (0.5 + torch.as_tensor(codes).float() @ self.axes / 100).view(-1, 3, SIDE, SIDE)


def bound_of(codes, rows, **options):
    """Nearest neighbours among codes (N, d), with softmax rows (N, C)."""
    codes, rows = np.asarray(codes, np.float32), np.asarray(rows, np.float32)
    context = {
        "encode": Plane(codes.shape[1]),
        "shards": [Held(build_index(codes), np.arange(len(codes)))],
        "store": SoftmaxStore([(0, len(codes), rows, stored_weights(rows))]),
        "codes": ShardRows([(0, len(codes), codes)]),
    }
    return NearestNeighbors(**{"k": K, "weighting": "UW", **options}).bind(nn.Linear(1, 1).eval(), context)


def made_up(count=600, seed=0, width=WIDTH):
    """Codes in cells of twelve centres, each with one of four classes, and noisy rows."""
    rng = np.random.default_rng(seed)
    codes, centers = rng.normal(size=(count, width)), rng.normal(size=(12, width))
    cells = ((codes[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    logits = 4 * np.eye(4)[cells % 4] + rng.normal(size=(count, 4))
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return codes.astype(np.float32), rows.astype(np.float16).astype(np.float32)


def queries(count=MADE, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return (0.5 + 0.1 * torch.randn(count, 3, SIDE, SIDE, generator=draw)).clamp(0, 1)


def answers(bound, images):
    return bound.probabilities(images, rows=torch.arange(len(images)), seed=0).argmax(dim=1)


def broken_of(attack, target, images, labels, judge=None, **more):
    found = run(attack, target, images, labels, measure_loss=False, **more).images
    return answers(judge or target, found) != labels


def case_of(name):
    """An attack, a defence whose answers are remembered, images, labels and context."""
    images = queries(24)
    bound = bound_of(*made_up())
    context = {"surrogates": [Surrogate(seed) for seed in (0, 1)]}
    return make_attack(name, **LIGHT.get(name, {})), Witness(bound), images, answers(bound, images), context


class Surrogate(nn.Module):
    """A linear network that remembers the images it sees."""

    def __init__(self, seed, classes=4, size=SIDE):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, 3, size, size, generator=draw))
        self.seen = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return (images[:, None] * self.weight).sum(dim=(2, 3, 4))
