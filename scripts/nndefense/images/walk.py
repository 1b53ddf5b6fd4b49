"""Image files below a folder, in a stable order and each once, whatever links and other things lie there."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nndefense.core.errors import InputError
from nndefense.images.classes import same_text
from nndefense.images.states import digest

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

MAX_NOTED = 4_096  # folders of a set; whether files come to one with more is not noticed, only if some are replaced

Key = tuple[int, int]


class NoImages(InputError):
    """A folder holds no image."""


def check_folder(root: Path) -> None:
    """Raise InputError if `root` is not a folder."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; expected images there, as {root}/<class>/<name>.jpg")


def list_images(root: Path) -> tuple[list[Path], list[str]]:
    """Image files under `root` and the first folder of each below it ("" for none), as `walk_images` finds them."""
    found = list(walk_images(root))
    return [root / path for path, _ in found], [tag for _, tag in found]


def walk_images(root: Path, seen: "Seen | None" = None) -> Iterator[tuple[str, str]]:
    """Image files under `root` in a stable order; holds the names of one of its folders, and what links lead to.

    What only looks like an image file (a pipe, a link to nothing) is among them, and skipped when it is read.

    Args:
        root: the folder.
        seen: where folders are noted.

    Yields:
        The path from `root` with forward slashes, and the first folder of it ("" for none).

    Raises:
        InputError: `root` is no folder, or holds no image; a folder cannot be read; a link leads to a folder or a file
            that is reached in another way, too, so that pictures would count twice, or no link can be followed.
    """
    check_folder(root)
    seen, empty = seen or Seen(), True
    folders, names = _entries(root, seen)
    for name in names:
        empty = False
        yield name, ""
    for tag in folders:
        for below, inside in _image_folders(root / tag, seen):
            for name in inside:
                empty = False
                yield f"{tag}/{below}{name}", tag
    seen.check()
    if empty:
        raise NoImages(f"{root} holds no image; expected {root}/<class>/<name>.jpg ({', '.join(SUFFIXES)})")


def class_folders(root: Path) -> list[str]:
    """Names of visible folders in a folder, in the order of `walk_images`. Raises InputError if it cannot be read."""
    return _entries(root, None)[0]


@dataclass
class Entered:
    """A folder that was entered: where, its date (nanoseconds since 1970), and how many names are listed there."""

    path: Path
    date: int
    count: int = 0
    names: str = ""


class Seen:
    """Which folders were entered, and which files links lead to."""

    def __init__(self) -> None:
        self.folders: dict[Key, Entered] = {}
        self.files: set[Key] = set()
        # Of folders that linked files are in: one of the links.
        self.homes: dict[Key, str] = {}

    def enter(self, folder: Path) -> Entered:
        """Raises InputError for a folder that was entered before."""
        about = os.stat(folder)
        found = Entered(folder, about.st_mtime_ns)
        first = self.folders.setdefault((about.st_dev, about.st_ino), found)
        if first is not found:
            raise InputError(f"{folder} is the same folder as {first.path}; allowed: no link to what is listed already")
        return found

    def follow(self, link: str) -> None:
        """Note a link to a file. Raises InputError for one that another link leads to."""
        try:
            key = _key(link)
        except OSError:
            return  # It is skipped when it is read.
        if key in self.files:
            raise InputError(f"{link} is the same file as another link of the set; allowed: each picture once")
        self.files.add(key)
        target = os.path.realpath(link)
        if _is_image(os.path.basename(target)):
            self.homes.setdefault(_key(os.path.dirname(target)), link)

    def check(self) -> None:
        """Raises InputError if a link leads to a file that is listed by its own name."""
        for home, link in self.homes.items():
            if home in self.folders:
                raise InputError(f"{link} is a link to a file in {self.folders[home].path}; allowed: each picture once")


def _key(path: str | Path) -> Key:
    about = os.stat(path)
    return about.st_dev, about.st_ino


def _image_folders(folder: Path, seen: Seen) -> list[tuple[str, list[str]]]:
    """A folder and all folders in it, in order: what paths to images there start with, and their names."""
    found, waiting = [], [folder]
    while waiting:
        place = waiting.pop()
        inner, names = _entries(place, seen)
        waiting += [place / name for name in inner]
        below = "" if place == folder else place.relative_to(folder).as_posix() + "/"
        found.append((str(place), below, names))
    return [(below, names) for _, below, names in sorted(found)]


def _entries(folder: Path, seen: Seen | None) -> tuple[list[str], list[str]]:
    """Visible folders in a folder, and image files there, each sorted; seen: where these are noted.

    Names of folders are sorted as they read, in whichever normal form they are stored.
    """
    folders, names = [], []
    try:
        entered = seen.enter(folder) if seen else None
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    folders.append(entry.name)
                elif _is_image(entry.name):
                    names.append(entry.name)
                    if seen and entry.is_symlink():
                        seen.follow(entry.path)
                elif entry.is_symlink() and not os.path.exists(entry.path):
                    raise InputError(f"{entry.path} is a link that leads nowhere; allowed: links that can be followed")
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); allowed: folders that can") from error
    if entered:
        entered.count, entered.names = len(folders) + len(names), digest([*folders, *names])
    return sorted(folders, key=lambda name: (same_text(name), name)), sorted(names)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # as of a link that leads to itself
        return False


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


# -- what came since


def note_folders(folders: Collection[Entered], root: Path, now: float) -> dict[str, Any]:
    """What tells `folder_news` whether files came or went.

    Args:
        folders: that were entered.
        root: that their paths start from.
        now: when listing began, in seconds since 1970.
    """
    if len(folders) > MAX_NOTED:
        return {}
    # What comes to a folder within the tick of the clock in which it is listed does not change its date.
    fresh = (now - 2) * 1e9
    return {
        "folders": {
            one.path.relative_to(root).as_posix(): [one.date if one.date < fresh else 0, one.count, one.names]
            for one in folders
        }
    }


def folder_news(root: Path, noted: Mapping[str, Any]) -> str:
    """What came to folders or went since they were listed, "" for nothing; looks into those of another date only.

    Args:
        root: that their paths start from.
        noted: of `note_folders`.
    """
    for below, (date, count, names) in noted.get("folders", {}).items():
        folder = root / below
        try:
            if os.stat(folder).st_mtime_ns == date:
                continue
        except OSError:
            return f"{folder} is gone"
        found = [name for part in _entries(folder, None) for name in part]
        if digest(found) != names:
            return f"{folder} holds {len(found):,} images and folders, and held {count:,} or others"
    return ""


def some(names: Sequence[str]) -> str:
    """The first of many names, for messages."""
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "") or "none"
