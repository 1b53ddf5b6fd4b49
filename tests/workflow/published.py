"""Commands of presets, and small stand-ins where their data would lie: folders, lists and tars as published."""

import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.image_cases import put
from tests.unit.tar_cases import sample, write_samples

from .test_retrieval_presets import PRESETS as RETRIEVAL

HEADER = re.compile(r"^#   (snakemake (?:.*\\\n#)*.*)$", re.MULTILINE)
TEXTS = ["A tench, caught today", "my goldfish", "nothing of that kind", "tench or goldfish?", "two goldfish"]


def command(path: Path) -> list[str]:
    """The command in a preset's first lines."""
    return shlex.split(HEADER.search(path.read_text())[1].replace("\\\n#", " "))


def write_imagenet(root: Path) -> None:
    """One photograph of each of the 1,000 classes, by their WordNet ids, and the names that the devkit has."""
    lists = Path(pytest.importorskip("timm").__file__).parent / "data/_info"
    synsets = (lists / "imagenet_synsets.txt").read_text().split()
    names = dict(row.split("\t", 1) for row in (lists / "imagenet_synset_to_lemma.txt").read_text().splitlines())
    put(root / "one.JPEG", 90)
    for split in ("train", "val"):
        for synset in synsets:
            folder = root / split / synset
            folder.mkdir(parents=True)
            (folder / f"{synset}_1.JPEG").hardlink_to(root / "one.JPEG")
    words = {synset: tuple(names[synset].split(", ")) for synset in synsets}
    torch.save((words, [synset for synset in synsets for _ in range(50)]), root / "meta.bin")


def write_cifar(root: Path, files: dict[str, int], meta: tuple[str, str], key: str, classes: int) -> None:
    root.mkdir(parents=True)
    for name, first in files.items():
        rows = np.full((3, 3072), first, dtype=np.uint8)
        (root / name).write_bytes(pickle.dumps({"data": rows, key: [first, first + 1, first + 2]}))
    (root / meta[0]).write_bytes(pickle.dumps({meta[1]: [f"thing {number}" for number in range(classes)]}))


def write_tars(folder: Path) -> None:
    for number in (0, 1):
        rows = [sample(10000 * number + place, caption=text) for place, text in enumerate(TEXTS)]
        write_samples(folder / f"{number:05}.tar", *rows)


def write_published(folder: Path) -> Path:
    """What presets expect below `data`, but for SVHN, of which one takes more rows than a stand-in has."""
    write_imagenet(folder / "imagenet")
    batches = {f"data_batch_{number}": number for number in range(1, 6)}
    meta = "batches.meta", "label_names"
    write_cifar(folder / "cifar10/cifar-10-batches-py", {**batches, "test_batch": 0}, meta, "labels", 10)
    meta = "meta", "fine_label_names"
    write_cifar(folder / "cifar100/cifar-100-python", {"train": 40, "test": 97}, meta, "fine_labels", 100)
    for name in ("laion", "yfcc100m"):
        write_tars(folder / name)
    for place, write, _ in RETRIEVAL.values():
        write(folder / place)
    return folder
