"""What tests of the scripts of dictionaries share: a folder in which these run, one after the other on small files."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import extract_latents
import find_clusters
import gather_dictionaries
import learn_dictionaries
import make_clean_set
from nndefense.core.arrays import read_arrays
from nndefense.core.files import read_json
from nndefense.images.description import open_options
from nndefense.models.build import freeze
from nndefense.models.checkpoint import open_checkpoint
from nndefense.models.latents import latents

from .retrieval_cases import Place

DIVIDED = {"most": 2, "smallest": 3, "components": 4, "criterion": "silhouette", "least_silhouette": -1.0}
CENTRAL = 8
LEARNT = {"filters": 4, "size": 3, "steps": 3, "batch": 5, "sparsity": 0.05, "low_pass": 2.0, "crop": None}


class Workshop(Place):
    """A folder in which scripts of dictionaries run."""

    def draw_set(self, output: str, name: str = "test", **options) -> dict[str, np.ndarray]:
        """The images that make_clean_set draws."""
        files = {"manifest": self.path(f"{name}.parquet"), "description": self.path(f"{name}.json")}
        own = {"key": "queries", "classes": 4, "count": None, "task": [], "without": []}
        self.log = self.run(make_clean_set, output=self.path(output), **files, **own | options)
        return read_arrays(self.path(output))

    def extract(self, output: str, **options) -> dict[str, np.ndarray]:
        """The latents that extract_latents writes."""
        files = {"images": self.path("train.json"), "manifest": self.path("train.parquet")}
        own = {"model": self.path("model.json"), "classes": 4, "batch": 10, "output": self.path(output)}
        self.log = self.run(extract_latents, **files, **own | options)
        return read_arrays(self.path(output))

    def learn_part(self, output: str, **options) -> dict[str, np.ndarray]:
        """The dictionaries that learn_dictionaries writes."""
        files = {"clusters": self.path("clusters.npz"), "images": self.path("train.json")}
        own = {"part": None, "jobs": None, **LEARNT}
        self.log = self.run(learn_dictionaries, output=self.path(output), **files, **own | options)
        return read_arrays(self.path(output))

    def gather(self, output: str, *parts: str) -> dict[str, np.ndarray]:
        """The dictionaries that gather_dictionaries writes."""
        files = {"clusters": self.path("clusters.npz"), "parts": list(map(self.path, parts))}
        self.log = self.run(gather_dictionaries, low_pass=2.0, output=self.path(output), **files)
        return read_arrays(self.path(output))

    def images(self, rows, name: str = "train") -> np.ndarray:
        """Images of a set, (n, H, W, 3) uint8, read one by one."""
        own = open_options(read_json(self.path(f"{name}.json"))["options"])
        return np.concatenate([own.read(np.array([row])).images for row in rows])

    def latents(self, images: Tensor) -> np.ndarray:
        """(n, D) of images (n, 3, H, W), one by one."""
        model = freeze(open_checkpoint(self.path("model.json"))[0])
        with torch.no_grad():
            return torch.cat([latents(model, images[place : place + 1]) for place in range(len(images))]).numpy()


def pixels(images: np.ndarray) -> Tensor:
    """uint8 (n, H, W, 3) -> float (n, 3, H, W), channel by channel."""
    return torch.stack([torch.from_numpy(images[..., channel]) for channel in range(3)], dim=1).float() / 255


def make_workshop(folder: Path) -> Workshop:
    """A workshop with a network, its latents and clusters, and dictionaries."""
    place = Workshop(folder)
    place.learn()
    place.extract("latents.npz")
    files = {"latents": place.path("latents.npz"), "images": place.path("train.json")}
    made = {"output": place.path("clusters.npz"), "examples": place.path("central.npz")}
    place.told = place.run(find_clusters, central=CENTRAL, **files, **made, **DIVIDED)
    for part in range(2):
        place.learn_part(f"{part}of2.npz", part=part, jobs=2)
    place.learn_part("whole.npz")
    place.gather("dictionaries.npz", "0of2.npz", "1of2.npz", "whole.npz")
    return place
