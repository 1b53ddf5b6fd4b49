"""What commands share that are given image files: where these are, what is said of them, and tables of answers."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nndefense.core.errors import InputError
from nndefense.core.text import one_line, visible


def printable(path: Path) -> str:
    """The path as text on one line: bytes that are no UTF-8, and what else cannot be printed, as Python writes it."""
    return visible(str(path))


def suffix(path: str) -> str:
    """The letters behind the last point of a file's name, in small ones."""
    return Path(path).suffix.lower().removeprefix(".")


def check_suffix(option: str, path: str | None, allowed: tuple[str, ...]) -> None:
    """Raises InputError for a file of another kind."""
    if path is not None and suffix(path) not in allowed:
        raise InputError(f"{option} {path}: allowed: a name that ends in .{', .'.join(allowed)}")


def find_images(places: list[str]) -> tuple[list[Path], dict[Path, str]]:
    """Files, and those in folders, in the given order; and places where there is none, with the reason."""
    from nndefense.images.walk import NoImages, list_images

    paths, missing = [], {}
    for place in map(Path, places):
        if place.is_dir():
            try:
                paths += list_images(place)[0]
            except NoImages:
                missing[place] = "folder without images"
        else:
            paths.append(place)
    return list(dict.fromkeys(paths)), missing


def tell_skipped(skipped: Mapping[Path, str], answered: int) -> None:
    """Say on standard error which images cannot be read, and why; answered: how many others there are."""
    for path, reason in skipped.items():
        print(f"{printable(path)}: {one_line(reason)}", file=sys.stderr)
    if skipped:
        print(f"{len(skipped)} of {len(skipped) + answered} images cannot be read", file=sys.stderr)


def in_columns(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as text in columns; whatever a cell holds, it stays in its place."""
    lines = [list(map(visible, line)) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
