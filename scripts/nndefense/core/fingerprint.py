"""A fingerprint of the code that a script can reach: a rule's jobs run again when it changes.

Import statements are followed within the library and the packages of plugins, also those within functions. What is
found by name (the attack, the architecture) is added by the rule, as registry entries. Comments, docstrings and
formatting do not count. A package's `__init__.py` is left out of the library: it holds a registry, and what a job takes
from it stands among the job's parameters. In a plugin's package it is code like any other, which importing runs.
"""

import ast
import contextlib
import functools
import glob
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nndefense.core.plugins import plugin_packages
from nndefense.core.sources import LIBRARY, module_source, packages_around

# Where a wheel has the workflow's scripts, within the library's folder.
SHIPPED = "workflow"


class Facts(NamedTuple):
    """What counts of a file: a SHA-256 of its code, and the dotted names that it imports, relative ones with dots."""

    code: str
    names: tuple[str, ...]


class Remembered:
    """Facts of files by the SHA-256 of their content, beside Python's own compiled files: parsing costs seconds.

    A memory that cannot be read or written is none.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.added = file, False
        self.used: dict[str, Facts] = {}
        try:
            stored = json.loads(file.read_bytes())
            self.facts = {key: Facts(code, tuple(names)) for key, (code, names) in stored.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.facts = {}

    def of(self, path: Path) -> Facts:
        """Facts of the file at `path`."""
        content = path.read_bytes()
        key = hashlib.sha256(content).hexdigest()
        if key not in self.facts:
            self.facts[key], self.added = parsed(content), True
        self.used[key] = self.facts[key]
        return self.facts[key]

    def save(self) -> None:
        """Write down what was asked for, where some of it is new: earlier states of files are forgotten.

        Several processes may do so at once.
        """
        if not self.added:
            return
        self.added = False
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(exist_ok=True)
            temporary = self.file.with_suffix(f".{os.getpid()}")
            try:
                temporary.write_text(json.dumps(self.used))
                os.replace(temporary, self.file)
            finally:
                # Of killed processes, too; another that is at it now does without.
                for left in self.file.parent.glob(f"{glob.escape(self.file.stem)}.[0-9]*"):
                    left.unlink(missing_ok=True)


def parsed(content: bytes) -> Facts:
    """Facts of Python code, without comments, docstrings and formatting."""
    tree = ast.parse(content)
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            joint = "." if node.module else ""
            names += [source, *(f"{source}{joint}{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return Facts(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(dict.fromkeys(names)))


# What a syntax tree looks like is Python's affair.
MEMORY = Remembered(LIBRARY / "__pycache__" / f"fingerprints-{sys.implementation.cache_tag}.json")


@functools.cache
def facts_of(path: Path) -> Facts:
    """What counts of the Python file at `path`."""
    return MEMORY.of(path)


@functools.cache
def imported_modules(path: Path) -> tuple[Path, ...]:
    """Files of modules of the library, and of plugins, that the Python file at `path` imports itself.

    Importing a plugin's module runs the packages around it, too.
    """
    around = [] if LIBRARY in path.parents else [one / "__init__.py" for one in packages_around(path)]
    found = [file for name in facts_of(path).names if (file := imported_file(path, name))]
    return tuple(dict.fromkeys(one for one in [*around, *found] if one != path))


def imported_file(path: Path, name: str) -> Path | None:
    """The file of a dotted name that the Python file at `path` imports, in front of which dots tell its own package."""
    plain = name.lstrip(".")
    if plain == name:
        return module_file(name)
    place = path.parents[len(name) - len(plain) - 1].joinpath(*filter(None, plain.split(".")))
    candidates = place.with_name(f"{place.name}.py"), place / "__init__.py"
    return next((one for one in candidates if one.is_file()), None)


@functools.cache
def module_file(name: str) -> Path | None:
    """The file of a dotted module name within the library or a plugin's package; None for anything else.

    Packages of the library, which hold registries, are none.
    """
    package, *rest = name.split(".")
    if package in plugin_packages() and package != LIBRARY.name:
        file = module_source(name)
        return file.resolve() if file else None
    file = LIBRARY.joinpath(*rest).with_suffix(".py") if package == LIBRARY.name and rest else None
    return file if file and file.is_file() else None


@functools.cache
def used_modules(path: Path) -> tuple[Path, ...]:
    """Files of all modules that the Python file at `path` imports, directly or through others, sorted."""
    pending, found = [path], set()
    while pending:
        for file in imported_modules(pending.pop()):
            if file not in found:
                found.add(file)
                pending.append(file)
    return tuple(sorted(found))


def code_of(path: Path) -> str:
    """SHA-256 of a file's code, without comments, docstrings and formatting."""
    return facts_of(path).code


def fingerprint(script: str | Path, targets: Iterable[str] = ()) -> str:
    """Fingerprint of a script, the modules of `targets` ("module:name"), and of what these import.

    Raises ValueError for a target that is no module of the library or of a plugin.
    """
    files = {Path(script).resolve()}
    for target in targets:
        file = module_file(target.partition(":")[0])
        if file is None:
            raise ValueError(f"registry entry {target!r} names no module of the library or of a plugin")
        files.add(file)
    reached = {file for start in files for file in (start, *used_modules(start))}
    codes = [f"{file.name} {code_of(file)}" for file in sorted(reached, key=_place)]
    MEMORY.save()
    return hashlib.sha256("\n".join(codes).encode()).hexdigest()[:16]


def _place(file: Path) -> tuple[bool, tuple[str, ...]]:
    """What files are sorted by: the same wherever library, scripts and plugins are installed; plugins come last."""
    if LIBRARY in file.parents and (shipped := file.relative_to(LIBRARY)).parts[0] != SHIPPED:
        return False, (LIBRARY.name, *shipped.parts)
    around = packages_around(file)
    return bool(around), file.relative_to(around[-1].parent).parts if around else (file.name,)
