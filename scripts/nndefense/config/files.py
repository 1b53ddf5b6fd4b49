"""Configuration files as they are written, before YAML makes values of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nndefense.core.errors import ConfigError

MERGE = "<<"


def check_files(paths: Iterable[str | Path]) -> None:
    """Raises ConfigError for a key that a file has twice, of which YAML silently takes the last.

    Files that are not there, or no YAML, are left to whoever reads them.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in map(Path, paths):
        try:
            node = yaml.compose(path.read_text(encoding="utf-8"), Loader=loader)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if node is not None:
            _check_node(path, node, (), set())


def _check_node(path: Path, node: Any, place: tuple[str, ...], seen: set[int]) -> None:
    # An anchor's node stands in several places.
    if id(node) in seen or isinstance(node.value, str):
        return
    seen.add(id(node))
    keys = set()
    for number, part in enumerate(node.value):
        key, value = part if isinstance(part, tuple) else (None, part)
        name = str(number) if key is None else str(key.value)
        if key is not None and name != MERGE and name in keys:
            line, whole = key.start_mark.line + 1, ".".join((*place, name))
            raise ConfigError(f"{path}, line {line}: {whole} stands there twice; allowed: each key once")
        keys.add(name)
        _check_node(path, value, (*place, name), seen)
