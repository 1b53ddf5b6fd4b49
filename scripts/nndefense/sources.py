"""Which library files a script uses, read from import statements: they are inputs of the script's rule.

So an edit to a library module reruns the rules that use it and no others. A package's `__init__.py` is left out:
it holds a registry of names only, and the module that a name stands for is an input of its own.
"""

import ast
import functools
from pathlib import Path

LIBRARY = Path(__file__).resolve().parent


@functools.cache
def imported_modules(path: Path) -> tuple[Path, ...]:
    """Files of `nndefense` modules that the Python file at `path` imports itself."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
