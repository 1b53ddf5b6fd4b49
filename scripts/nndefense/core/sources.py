"""Where a module's source is, found without importing it: a workflow that is parsed must not load PyTorch."""

import ast
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from nndefense.core.errors import ConfigError

LIBRARY = Path(__file__).resolve().parents[1]


def module_source(name: str) -> Path | None:
    """The Python file of a dotted module name, None where there is none; packages around it are not imported either."""
    top, *rest = name.split(".")
    spec = _top(top)
    for place in range(len(rest)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        # What `find_spec` would import first: the packages around the module.
        spec = PathFinder.find_spec(".".join([top, *rest[: place + 1]]), list(spec.submodule_search_locations))
    origin = spec.origin if spec and spec.has_location else None
    return Path(origin) if origin and origin.endswith(".py") else None


def _top(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except (ImportError, ValueError):  # of modules that others have put there by hand
        return None


@cache
def source_tree(module: str) -> ast.Module:
    """The syntax tree of a module. ConfigError for one that is not there, or no Python."""
    path = module_source(module)
    if path is None:
        raise ConfigError(f"registry: module {module!r} is not there")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ConfigError(f"registry: module {module!r} cannot be read ({error})") from None


def named(node: ast.ImportFrom, package: str) -> str:
    """The module that `from ... import` names, in a module of this package; dots in front are told from there."""
    if node.level == 0:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def package_of(module: str) -> str:
    """The package that relative imports of a module start from."""
    path = module_source(module)
    return module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]


def packages_around(path: Path) -> list[Path]:
    """Folders of the packages that a file is in, the innermost first."""
    found = []
    folder = path.parent
    while (folder / "__init__.py").is_file():
        found.append(folder)
        folder = folder.parent
    return found
