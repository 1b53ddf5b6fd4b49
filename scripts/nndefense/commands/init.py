"""Write a configuration for images and weights of your own: FOLDER/config.yaml, with comments on what to change.

Images lie in DIR as folders of classes: DIR/test/CLASS/*.jpg, and a database in DIR/train/CLASS or DIR/database (which
needs no classes), or both. Architecture and classes are read from the weights, the size from the images; all of it is
checked, so that what is written passes a dry run.
"""

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nndefense.commands.init_text import Experiment, configuration_text
from nndefense.config import load_config
from nndefense.config.checks_names import FOLDERS
from nndefense.core.errors import ConfigError, InputError
from nndefense.core.text import visible
from nndefense.models.blocks import blocks_of

if TYPE_CHECKING:
    from nndefense.models.forms import Found

FILE = "config.yaml"
# What folders of images are called, whatever the case of letters.
PARTS = {
    "test": ("test", "testing", "val", "valid", "validation"),
    "train": ("train", "training"),
    "database": ("database", "db", "gallery", "web"),
}
# Images whose size is looked up, and the largest side that is taken as it is.
LOOKED_AT, LARGEST = 20, 256
SMALL, USUAL, SHORT_SIDE = 32, 224, 256


@dataclass(frozen=True)
class Part:
    """A folder of images.

    Attributes:
        root: where it is. classes: names of its folders of classes. count: its images.
    """

    root: Path
    classes: tuple[str, ...]
    count: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command's arguments."""
    parser.add_argument("folder", metavar="FOLDER", help=f"where {FILE} is written; its name is that of the run")
    parser.add_argument("--weights", required=True, metavar="FILE", help="of the classifier: .pth, .safetensors, …")
    parser.add_argument("--images", metavar="DIR", help="folder of the images (default: FOLDER)")
    for name, words in PARTS.items():
        parser.add_argument(f"--{name}", metavar="DIR", help=f"its folder of them (default: {', '.join(words)})")
    parser.add_argument("--arch", metavar="NAME", help="architecture (default: recognised from the weights)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the images (default: looked up)")


def main(arguments: argparse.Namespace) -> int:
    """Look, check, write and say what comes next; the exit code is 0."""
    folder, weights = Path(arguments.folder), Path(arguments.weights)
    path = folder / FILE
    if path.exists():
        raise InputError(f"{path}: is there already; allowed: another folder, or delete it")
    if arguments.size is not None and arguments.size < 8:
        raise InputError(f"--size is {arguments.size}; allowed: an integer >= 8")
    images = Path(arguments.images or folder)
    parts = find_parts(images, {name: getattr(arguments, name) for name in PARTS})
    from nndefense.models.weights import read_weights

    found = read_weights(weights)
    architecture, classes = recognise(weights, found, arguments.arch)
    check_classes(weights, classes, parts)
    statistics = fitting_statistics(weights, found, architecture, classes)
    size, resize = choose_size(parts["test"], architecture, arguments.size)
    text = configuration_text(
        Experiment(
            run=run_name(folder),
            data=written(images),
            weights=written(weights),
            architecture=architecture,
            classes=classes,
            blocks=blocks_of(architecture) or (),
            statistics=statistics,
            parts={name: (place_within(images, part.root), part.count) for name, part in parts.items()},
            size=size,
            resize=resize,
        )
    )
    load_config(parsed(text))
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    counts = ", ".join(f"{part.count:,} in {name}" for name, part in parts.items())
    print(visible(f"{path}: {architecture}, {classes} classes, images of {size} pixels ({counts})"))
    if chosen := str(found):
        print(visible(f"{weights}: {chosen}"))
    if statistics is None:
        print("models.own.mean and .std are those of ImageNet: change them if the network was trained with others")
    print(visible(f"next: nndefense doctor --configfile {path}; nndefense run -n --configfile {path}"))
    return 0


# -- images


def find_parts(images: Path, named: dict[str, str | None]) -> dict[str, Part]:
    """Folders of test images, training images and the database, those that there are.

    Args:
        images: where they are looked for. named: the user's own, within it or anywhere.

    Raises:
        InputError: one that is named is missing, there are no test images or no database, or classes differ.
    """
    if not images.is_dir():
        raise InputError(f"--images {images}: no such folder; allowed: one that holds test/CLASS/*.jpg")
    inner = {one.name.lower(): one for one in sorted(images.iterdir()) if one.is_dir()}
    places = {}
    for name, words in PARTS.items():
        if own := named[name]:
            places[name] = images / own if (images / own).is_dir() else Path(own)
        elif found := [inner[word] for word in words if word in inner]:
            places[name] = found[0]
    there = ", ".join(one.name for one in list(inner.values())[:10]) or "no folders"
    for needed in (("test",), ("train", "database")):
        if not any(name in places for name in needed):
            allowed = ", ".join(word for name in needed for word in PARTS[name])
            options = " or ".join(f"--{name} DIR" for name in needed)
            raise InputError(
                f"{images}: has no images for {' or '.join(needed)}, but {there}; allowed: {allowed}, or {options}"
            )
    parts = {name: look_at(place) for name, place in places.items()}
    for name in ("test", "train"):
        if name in parts and parts[name].classes != parts["test"].classes:
            other = sorted(set(parts[name].classes) ^ set(parts["test"].classes))
            raise InputError(
                f"{parts[name].root}: has other classes than {parts['test'].root}, as {other[0]!r}; allowed: the same"
            )
    return parts


def look_at(root: Path) -> Part:
    """Classes and number of the images of a folder. InputError where it is none, or holds none."""
    from nndefense.images.folder import Folder
    from nndefense.images.walk import walk_images

    return Part(root, Folder(str(root)).class_names, sum(1 for _ in walk_images(root)))


def choose_size(test: Part, architecture: str, size: int | None) -> tuple[int, int | None]:
    """Side of the images that the network sees, and the short side that they are resized to before they are cut.

    Raises InputError where no image can be read.
    """
    from nndefense.images.decode import ImageFile, Undecodable, decode
    from nndefense.images.walk import list_images

    paths, sides = list_images(test.root)[0], set()
    for path in paths[:: -(-len(paths) // LOOKED_AT)]:
        try:
            sides |= set(decode(ImageFile(path).read_bytes()).size)
        except (OSError, Undecodable):
            continue
    if not sides:
        raise InputError(f"{test.root}: none of its images can be read; allowed: pictures")
    same = sides.pop() if len(sides) == 1 else None
    if size is None:
        size = same if same and same <= LARGEST else SMALL if architecture.startswith("cifar") else USUAL
    return size, SHORT_SIDE if size == USUAL and same != USUAL else None


# -- weights


def recognise(weights: Path, found: "Found", named: str | None) -> tuple[str, int]:
    """Architecture and classes of weights. InputError where they do not tell, or for one without layers to use."""
    from nndefense.models import ARCHITECTURES
    from nndefense.models.architectures import architecture_entry
    from nndefense.models.weights import describe_state

    guess, classes = describe_state(found.state)
    architecture = named or guess
    try:
        architecture_entry(architecture)
    except ConfigError:
        allowed = f"--arch with one of {', '.join(name for name in ARCHITECTURES if blocks_of(name) != ())}"
        what = f"--arch {named}: is unknown" if named else f"{weights}: holds {guess}"
        raise InputError(f"{what}; allowed: {allowed}") from None
    if not blocks_of(architecture):
        raise InputError(f"{architecture}: has no layers that neighbours are found by; allowed: a ResNet")
    if classes is None:
        raise InputError(f"{weights}: has no last layer that tells the number of classes; allowed: a classifier")
    return architecture, classes


def check_classes(weights: Path, classes: int, parts: dict[str, Part]) -> None:
    """Raises InputError for weights of another number of classes than there are folders of test images."""
    test = parts["test"]
    if classes != len(test.classes):
        raise InputError(
            f"{weights}: tells {classes} classes apart, {test.root} has {len(test.classes)} folders of classes; "
            "allowed: as many, or a configuration by hand with `classes` of a folder"
        )


def fitting_statistics(
    weights: Path, found: "Found", architecture: str, classes: int
) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation that weights hold, None for none. FileFault if they do not fit the network."""
    from nndefense.models.build import build_model
    from nndefense.models.weights import apply_weights

    own = [found.state[name].flatten().tolist() for name in ("mean", "std") if name in found.state]
    mean, std = own if len(own) == 2 else ([0.0] * 3, [1.0] * 3)
    state = {name: value for name, value in found.state.items() if name not in ("mean", "std")}
    apply_weights(build_model(architecture, classes, mean, std), state, str(weights))
    return (mean, std) if len(own) == 2 else None


# -- what is written


def run_name(folder: Path) -> str:
    """A name for the run, of the letters that a run's may have."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", folder.resolve().name).strip("_-")[:60] or "own"
    return f"{name}_run" if name in FOLDERS else name


def written(path: Path) -> str:
    """A whole path as a configuration holds it. InputError for one that it would read as another."""
    whole = os.path.abspath(path)
    if not whole.isprintable() or os.path.expandvars(whole) != whole:
        raise InputError(
            f"{visible(whole)}: cannot be written into a configuration; allowed: paths without $ or controls"
        )
    return whole


def place_within(images: Path, root: Path) -> str:
    """A folder, from that of the images where it lies in it."""
    whole = Path(written(root))
    return str(whole.relative_to(written(images))) if whole.is_relative_to(written(images)) else str(whole)


def parsed(text: str) -> dict[str, Any]:
    """What YAML makes of a text. ConfigError without PyYAML."""
    try:
        import yaml
    except ImportError:
        raise ConfigError(f"{FILE}: PyYAML is missing; pip install PyYAML") from None
    return yaml.safe_load(text)
