"""What the tests of the attacks share: small models, images, contexts, and the calls with their defaults."""

from functools import cache

import pytest
import torch
from torch import nn

from nndefense.attacks import ATTACKS, base
from nndefense.attacks.region import region_of, space_of
from nndefense.axes.ball import RAW, STANDARDIZED
from nndefense.core.registry import make

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
SPACES = {ball: space_of(ball, (MEAN, STD)) for ball in (RAW, STANDARDIZED)}
both_l2_balls = pytest.mark.parametrize("ball", SPACES, ids=str)
CLASSES, NEIGHBORS, CODES = 3, 4, 5


class Linear(nn.Module):
    """Two classes with Z_1 - Z_0 = 2 (w . x + bias); counts the images it sees."""

    def __init__(self, size=6, bias=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, size, size, generator=torch.Generator().manual_seed(1)))
        self.bias = bias
        self.images_seen = 0

    def forward(self, images):
        self.images_seen += len(images)
        score = (images * self.weight).sum(dim=(1, 2, 3)) + self.bias
        return torch.stack([-score, score], dim=1)


class Curved(nn.Module):
    """Three classes, smooth, and computed image by image, so that the batch cannot change a bit."""

    def __init__(self, size=6, seed=0):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(8, 3 * size * size, generator=draw) / size)
        self.second = nn.Parameter(torch.randn(CLASSES, 8, generator=draw))

    def hidden(self, images):
        flat = images.contiguous().flatten(1)
        return torch.tanh((flat[:, None, :] * self.first).sum(dim=2))

    def forward(self, images):
        return (self.hidden(images)[:, None, :] * self.second).sum(dim=2)


def draw_images(batch=4, size=6, seed=0, low=0.0, high=1.0):
    """Images (batch, 3, size, size) uniform in [low, high], and labels 0 to 2."""
    draw = torch.Generator().manual_seed(seed)
    images = low + (high - low) * torch.rand(batch, 3, size, size, generator=draw)
    return images, torch.arange(batch) % CLASSES


def make_context(images, classes=CLASSES, seed=0):
    """Every context key that some attack needs, with random neighbours."""
    draw = torch.Generator().manual_seed(seed)
    size = images[0].numel()
    projection = torch.randn(CODES, size, generator=draw) / size**0.5

    def encode(points):
        return torch.tanh((points.contiguous().flatten(1)[:, None, :] * projection).sum(dim=2))

    return {
        "neighbor_softmax": torch.randn(len(images), NEIGHBORS, classes, generator=draw).softmax(dim=2),
        "neighbor_images": torch.rand(len(images), NEIGHBORS, *images.shape[1:], generator=draw),
        "neighbor_codes": torch.randn(len(images), NEIGHBORS, CODES, generator=draw) / 2,
        "encode": encode,
        "surrogates": [Curved(images.shape[-1], seed + 1).eval(), Curved(images.shape[-1], seed + 2).eval()],
    }


def make_attack(name, **options):
    """A registered attack."""
    return make("attack", ATTACKS, name, options)


def make_problem(model, images, labels, *, epsilon=0.1, ball=RAW, context=None):
    """What `Attack.run` hands to an attack."""
    region = region_of(ball, (MEAN, STD), images, epsilon)
    rows = torch.arange(len(images))
    return base.make_problem(model, images, labels, region=region, rows=rows, seed=0, context=context or {})


def run(attack, target, images, labels, **more):
    """`Attack.run` with the tests' defaults."""
    defaults = {"epsilon": 0.1, "ball": RAW, "rows": torch.arange(len(images)), "seed": 3, "statistics": (MEAN, STD)}
    return attack.run(target, images, labels, **(defaults | more))


@cache
def trained_net():
    """A small convolutional net trained on three kinds of noisy gratings, and 24 images it has not seen."""
    generator = torch.Generator().manual_seed(0)

    def draw(n):
        labels = torch.randint(0, 3, (n,), generator=generator)
        grid = torch.arange(12) / 12 * 2 * torch.pi
        waves = torch.stack([torch.sin(2 * grid)[:, None].expand(12, 12), torch.sin(2 * grid).expand(12, 12)])
        waves = torch.cat([waves, torch.sin(2 * (grid[:, None] + grid))[None]])
        noise = torch.randn(n, 3, 12, 12, generator=generator)
        return (0.5 + 0.15 * waves[labels][:, None] + 0.15 * noise).clamp(0, 1), labels

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(192, 3)
        )
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        images, labels = draw(64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    net.eval()
    images, labels = draw(24)
    assert (net(images).argmax(1) == labels).float().mean() > 0.9
    return net, images, labels


def neighbors_of_trained(neighbors=NEIGHBORS):
    """A context for `trained_net`'s images: of each, other images of its class, encoded by the net's last layer."""
    net, images, labels = trained_net()
    encode = net[:5]
    places = [
        [other for other in (labels == label).nonzero()[:, 0].tolist() if other != place][:neighbors]
        for place, label in enumerate(labels)
    ]
    with torch.no_grad():
        codes, softmax = encode(images), net(images).softmax(dim=1)
    return {
        "neighbor_softmax": torch.stack([softmax[place] for place in places]),
        "neighbor_images": torch.stack([images[place] for place in places]),
        "neighbor_codes": torch.stack([codes[place] for place in places]),
        "encode": encode,
        "surrogates": [net],
    }
