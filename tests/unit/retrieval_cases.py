"""What the tests of certified retrieval share: embeddings whose distances are known, and a place for its scripts."""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import draw_task
import fit_embedding
from nndefense.certificates.base import Gallery
from nndefense.core.arrays import read_arrays
from nndefense.core.command import Job
from nndefense.core.files import read_json
from nndefense.images.description import list_set, open_options
from nndefense.models.build import build_model
from nndefense.models.checkpoint import save_checkpoint
from nndefense.models.embedding import open_embedding
from nndefense.models.gaussian_noise import GaussianNoise
from nndefense.models.train import train

SIDE = 4
PIXELS = 3 * SIDE * SIDE
COLOURS = {"blue": (60, 90, 200), "green": (60, 180, 90), "red": (200, 70, 60), "sand": (190, 180, 110)}
MEAN, STD = [0.5] * 3, [0.25] * 3
SIGMA, SIZE = 0.1, 12
NAME = "colours/lda/sigma-0.1"


def paint(folder, count, seed):
    """Noisy images of one colour, in a folder of each."""
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(np.array(colour) + rng.integers(-40, 40, (SIZE, SIZE, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")


class Place:
    """A folder with image sets and, once it has learnt, a network, in which scripts run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, count, seed in (("train", 12, 1), ("test", 5, 2)):
            paint(folder / "pictures" / name, count, seed)
            self.describe(name, kind="folder", root=str(folder / "pictures" / name), size=SIZE)

    def learn(self) -> None:
        """Train the network, in a second."""
        model = build_model("cifar_resnet8", 4, MEAN, STD, seed=1)
        own = open_options(read_json(self.path("train.json"))["options"])
        images, labels = own.read(range(48)).images, own.manifest()["label"]
        options = {"epochs": 6, "batch": 16, "learning_rate": 0.1, "weight_decay": 0.0, "seed": 1, "threads": 1}
        train(model, images, labels, objective=GaussianNoise(sigma=SIGMA).objective(), **options)
        about = {"name": "small", "architecture": "cifar_resnet8", "classes": 4, "mean": MEAN, "std": STD}
        save_checkpoint(self.path("weights.safetensors"), self.path("model.json"), model, about)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def describe(self, name: str, **options) -> dict[str, np.ndarray]:
        """List an image set, as its rule would."""
        list_set(name, options, self.path(f"{name}.json"), self.path(f"{name}.parquet"))
        return open_options(options).manifest()

    def run(self, script, **options) -> str:
        """A script's log."""
        log = io.StringIO()
        common = {"seed": 1, "threads": 1, "batch": 100, "skip_limit": 0.0}
        script.main(argparse.Namespace(**common | options), Job(log, gpus=0, threads=1))
        return log.getvalue()

    def draw(self, output: str, gallery="train", queries="test", **options) -> dict[str, np.ndarray]:
        """The task that draw_task writes."""
        files = {
            "gallery": self.path(f"{gallery}.json"),
            "gallery_manifest": self.path(f"{gallery}.parquet"),
            "queries": self.path(f"{queries}.json"),
            "queries_manifest": self.path(f"{queries}.parquet"),
        }
        counts = {"gallery_count": 32, "queries_count": 16, "same_set": gallery == queries, "task": "colours"}
        self.log = self.run(draw_task, output=self.path(output), **files, **counts | options)
        return read_arrays(self.path(output))

    def asked(self, **options) -> dict:
        """Options of a script that asks the network about the task."""
        own = {"name": NAME, "output": "features", "sigma": SIGMA, "task": self.path("task.npz")}
        return {**own, "model": self.path("model.json"), "transform": [self.path("lda.npz")], **options}

    def fit(self, file: str, **options) -> dict[str, np.ndarray]:
        """The transform that fit_embedding writes."""
        sets = {"images": self.path("train.json"), "manifest": self.path("train.parquet")}
        own = {"name": "lda", "output": "features", "transform": "lda", "sigma": SIGMA, "count": 40}
        self.log = self.run(fit_embedding, model=self.path("model.json"), file=self.path(file), **sets, **own | options)
        return read_arrays(self.path(file))

    def embedding(self, transform=("lda.npz",), output="features"):
        return open_embedding(self.path("model.json"), output, [self.path(one) for one in transform])


class Ridge(nn.Module):
    """tanh(3 v . (x - 1/2)), |v| = 1. Between two opposite vectors the answer changes where v . x = v . 1/2."""

    nonnegative = False

    def __init__(self, seed=0):
        super().__init__()
        direction = torch.randn(PIXELS, generator=torch.Generator().manual_seed(seed))
        self.direction = direction / direction.norm()

    def forward(self, images):
        return torch.tanh(3 * ((images.flatten(1) - 0.5) @ self.direction.to(images)))[:, None]


class Curve(nn.Module):
    """A smooth embedding of norm 1 in three dimensions."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(2)
        self.weight = torch.randn(PIXELS, 3, generator=draw)

    def forward(self, images):
        found = torch.sin(images.flatten(1) @ self.weight.to(images))
        return functional.normalize(found, dim=1)


def away(distances, direction):
    """Images at signed distances from the boundary of a ridge, far from the ends of the pixels' range."""
    offsets = torch.as_tensor(distances, dtype=torch.float32)[:, None] * direction
    return (0.5 + offsets).view(-1, 3, SIDE, SIDE)


def opposite():
    return Gallery(np.array([[-0.5], [0.5]]), np.array([0, 1]))


def a_gallery(count=9, seed=3):
    vectors = np.random.default_rng(seed).standard_normal((count, 3))
    return Gallery(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.arange(count) % 3)
