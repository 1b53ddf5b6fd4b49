"""A fingerprint of the code that a script can reach: a rule's jobs run again when it changes.

Import statements are followed within the library, also those within functions. What is found by name (the attack, the
architecture) is added by the rule, as registry entries. Comments, docstrings and formatting do not count. A package's
`__init__.py` is left out: it holds a registry, and what a job takes from it stands among the job's parameters.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imported_modules(path: Path) -> tuple[Path, ...]:
    """Files of `nndefense` modules that the Python file at `path` imports itself."""
    found = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found += [file for name in names if (file := module_file(name))]
    return tuple(dict.fromkeys(found))


def module_file(name: str) -> Path | None:
    """The file of a dotted module name within the library; None for packages and for anything else."""
    package, *rest = name.split(".")
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


@functools.cache
def code_of(path: Path) -> str:
    """SHA-256 of a file's code, without comments, docstrings and formatting."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def fingerprint(script: str | Path, targets: Iterable[str] = ()) -> str:
    """Fingerprint of a script, the modules of `targets` ("module:name"), and of what these import.

    Raises ValueError for a target that is no module of the library.
    """
    files = {Path(script).resolve()}
    for target in targets:
        file = module_file(target.partition(":")[0])
        if file is None:
            raise ValueError(f"registry entry {target!r} names no module of the library")
        files.add(file)
    reached = {file for start in files for file in (start, *used_modules(start))}
    codes = [f"{file.name} {code_of(file)}" for file in sorted(reached)]
    return hashlib.sha256("\n".join(codes).encode()).hexdigest()[:16]
