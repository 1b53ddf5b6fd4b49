"""Say what images show, by the deployed nearest-neighbour defence, and by which database images.

Images are brought to the size of the experiment's test images. Each neighbour is given with the class that the network
sees in it, its confidence weight and its distance from the image in feature space (squared l2, or bits that differ).
"""

import argparse
import csv
import io
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nndefense.commands.images import check_suffix, find_images, in_columns, printable, suffix, tell_skipped
from nndefense.core.errors import InputError
from nndefense.core.files import write_bytes, write_text
from nndefense.core.text import visible

if TYPE_CHECKING:
    from nndefense.api import DefendedNetwork

COLUMNS = (
    "image",
    "class",
    "probability",
    "votes",
    "k",
    "rank",
    "neighbor_row",
    "neighbor_class",
    "weight",
    "distance",
)
SHEET_KINDS = ("png", "pdf", "svg")
SHEET_ROWS = 40
BATCH = 64


@dataclass(frozen=True)
class Answer:
    """What an image shows, and why.

    Attributes:
        name: of the image's file. pixels: (H, W, 3) uint8, as the network saw it.
        label: name of the class. probability: of that class.
        votes: neighbours whose own class it is, of k.
        ids: of the nearest neighbours, (n,). labels: names of their classes.
        weights, distances: (n,).
    """

    name: str
    pixels: np.ndarray
    label: str
    probability: float
    votes: int
    k: int
    ids: np.ndarray
    labels: list[str]
    weights: np.ndarray
    distances: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--run", help="name of the run: results/RUN instead of results")
    parser.add_argument("--results", default="results", help="folder of results, with knn.json (default: results)")
    parser.add_argument("--neighbors", type=int, default=5, help="neighbours shown of each image (default: 5)")
    parser.add_argument("--sheet", help="picture to write of the images and their neighbours: .png, .pdf or .svg")
    parser.add_argument("--output", help="table to write: .csv or .json")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="what to compute on (default: cpu)")


def main(arguments: argparse.Namespace) -> int:
    """Answer, print and write; the exit code is 1 where no image can be read."""
    if arguments.neighbors < 1:
        raise InputError(f"--neighbors is {arguments.neighbors}; allowed: an integer >= 1")
    check_suffix("--output", arguments.output, ("csv", "json"))
    check_suffix("--sheet", arguments.sheet, SHEET_KINDS)
    from nndefense.api import load

    place = Path(arguments.results, arguments.run) if arguments.run else Path(arguments.results)
    paths, skipped = find_images(arguments.images)
    answers: list[Answer] = []
    if paths:
        network = load(place, arguments.device)
        for found, bad in answer(network, paths, arguments.neighbors):
            answers += found
            skipped |= bad
    tell_skipped(skipped, len(answers))
    if not answers:
        return 1
    print(table(answers))
    if arguments.output:
        write_text(
            arguments.output, as_json(answers, skipped) if suffix(arguments.output) == "json" else as_csv(answers)
        )
    if arguments.sheet:
        if len(answers) > SHEET_ROWS:
            print(f"{visible(arguments.sheet)}: holds the first {SHEET_ROWS} of {len(answers)} images", file=sys.stderr)
        write_bytes(arguments.sheet, sheet(network, answers[:SHEET_ROWS], suffix(arguments.sheet)))
    return 0


def answer(network: "DefendedNetwork", paths: list[Path], count: int) -> Iterator[tuple[list[Answer], dict[Path, str]]]:
    """Answers to the images of each batch, and the reasons why others have none; count: neighbours kept of each."""
    import torch

    from nndefense.core.progress import blocks
    from nndefense.images.decode import read_files
    from nndefense.models.predict import to_tensor

    about: Any = network.deployed
    for block in blocks(len(paths), BATCH):
        names = paths[block]
        batch = read_files(names, about.size, about.resize, about.crop)
        good = [place for place in range(len(names)) if place not in batch.skipped]
        answers = []
        if good:
            images = to_tensor(batch.images[good]).to(network.bound.device)
            with torch.no_grad():
                shares = network(images).softmax(dim=1).cpu().numpy()
            found = network.neighbors(images)
            classes = np.where(found.ids >= 0, found.softmax.argmax(axis=2), -1)
            for place, row, own, ids, weights, distances in zip(
                good, shares, classes, found.ids, found.weights, found.distances, strict=True
            ):
                label = int(row.argmax())
                kept = slice(0, min(count, int((ids >= 0).sum())))
                answers.append(
                    Answer(
                        name=printable(names[place]),
                        pixels=batch.images[place],
                        label=about.class_names[label],
                        probability=float(row[label]),
                        votes=int((own == label).sum()),
                        k=int((ids >= 0).sum()),
                        ids=ids[kept],
                        labels=[about.class_names[one] for one in own[kept]],
                        weights=weights[kept],
                        distances=distances[kept],
                    )
                )
        yield answers, {names[place]: reason for place, reason in sorted(batch.skipped.items())}


def table(answers: list[Answer]) -> str:
    """The answers as text in columns."""
    lines = [("image", "class", "probability", "votes", "nearest: class (weight, distance)")]
    for one in answers:
        shown = [
            f"{label} ({weight:.3g}, {distance:.4g})"
            for label, weight, distance in zip(one.labels, one.weights, one.distances, strict=True)
        ]
        lines.append((one.name, one.label, f"{one.probability:.3f}", f"{one.votes}/{one.k}", ", ".join(shown)))
    return in_columns(lines)


def neighbor_rows(one: Answer) -> list[dict[str, Any]]:
    """The neighbours of an answer that are shown, nearest first."""
    return [
        {
            "rank": rank,
            "neighbor_row": int(one.ids[rank - 1]),
            "neighbor_class": one.labels[rank - 1],
            "weight": float(one.weights[rank - 1]),
            "distance": float(one.distances[rank - 1]),
        }
        for rank in range(1, len(one.ids) + 1)
    ]


def summary(one: Answer) -> dict[str, Any]:
    """The answer without its neighbours."""
    return {
        "image": one.name,
        "class": one.label,
        "probability": one.probability,
        "votes": one.votes,
        "k": one.k,
    }


def as_csv(answers: list[Answer]) -> str:
    """One line of COLUMNS for each neighbour of each image."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**summary(one), **row} for one in answers for row in neighbor_rows(one))
    return text.getvalue()


def as_json(answers: list[Answer], skipped: dict[Path, str]) -> str:
    """The images with their neighbours, and those that cannot be read."""
    content = {
        "images": [{**summary(one), "neighbors": neighbor_rows(one)} for one in answers],
        "skipped": [{"image": printable(path), "reason": reason} for path, reason in skipped.items()],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def sheet(network: "DefendedNetwork", answers: list[Answer], kind: str) -> bytes:
    """A picture: each image, and beside it its neighbours."""
    from nndefense.commands.predict_sheet import Row, draw_sheet
    from nndefense.report.style import figure_bytes

    ids = np.concatenate([one.ids for one in answers])
    pixels = np.split(network.database_images(ids).images, np.cumsum([len(one.ids) for one in answers])[:-1])
    rows = [
        Row(
            name=Path(one.name).name,
            image=one.pixels,
            label=one.label,
            verdict=f"{one.probability:.0%}, {one.votes} of {one.k} votes",
            neighbors=near,
            labels=one.labels,
            captions=[f"w {w:#.3g}   d {d:.4g}" for w, d in zip(one.weights, one.distances, strict=True)],
        )
        for one, near in zip(answers, pixels, strict=True)
    ]
    with warnings.catch_warnings():
        # Of names in scripts that the font lacks, boxes are drawn.
        warnings.filterwarnings("ignore", message="Glyph")
        return figure_bytes(draw_sheet(rows), kind)
