"""What commands share that are given image files: where these are, what is said of them, and tables of answers."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nndefense.core.errors import InputError


def printable(path: Path) -> str:
    """The path as text on one line: what cannot be printed, such as bytes that are no UTF-8, is replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(path))


def suffix(path: str) -> str:
    """The letters behind the last point of a file's name, in small ones."""
    return Path(path).suffix.lower().removeprefix(".")


def check_suffix(option: str, path: str | None, allowed: tuple[str, ...]) -> None:
    """Raises InputError for a file of another kind."""
    if path is not None and suffix(path) not in allowed:
        raise InputError(f"{option} {path}: allowed: a name that ends in .{', .'.join(allowed)}")


def find_images(places: list[str]) -> tuple[list[Path], dict[Path, str]]:
    """Files, and those in folders, in the given order; and places where there is none, with the reason."""
    from nndefense.images.folder import list_images

    paths, missing = [], {}
    for place in map(Path, places):
        if place.is_dir():
            try:
                paths += list_images(place)[0]
            except InputError:
                missing[place] = "folder without images"
        else:
            paths.append(place)
    return list(dict.fromkeys(paths)), missing


def tell_skipped(skipped: Mapping[Path, str], answered: int) -> None:
    """Say on standard error which images cannot be read, and why; answered: how many others there are."""
    for path, reason in skipped.items():
        print(f"{printable(path)}: {reason}", file=sys.stderr)
    if skipped:
        print(f"{len(skipped)} of {len(skipped) + answered} images cannot be read", file=sys.stderr)


def in_columns(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as text in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
