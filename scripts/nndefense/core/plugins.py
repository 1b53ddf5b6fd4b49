"""Components that live in somebody's own package, which says so by entry points:

    [project.entry-points."nndefense.attacks"]
    coin = "their_package.coin:Coin"

The name is that of configurations, files and messages. What a registry entry tells besides, the class tells as class
variables `label`, `needs` and `balls`; for a function or an object its module does, by LABEL, NEEDS and BALLS. They are
literals, because they are read from the source: nothing of the package is imported before the component is used.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from nndefense.core.errors import ConfigError
from nndefense.core.registry import Entry
from nndefense.core.sources import module_source, source_tree

PREFIX = "nndefense."
# Of them, with what their entry points name; docs/extending.md says what each has to be.
GROUPS = (
    "architectures",
    "attacks",
    "certificates",
    "defenses",
    "evaluations",
    "figures",
    "images",
    "summaries",
    "training",
)
NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
FACTS = ("label", "needs", "balls")


@cache
def _points() -> EntryPoints:
    found = entry_points()
    own = sorted(one for one in found.groups if one.startswith(PREFIX))
    points = EntryPoints(point for group in own for point in found.select(group=group))
    for point in points:
        if point.group.removeprefix(PREFIX) not in GROUPS:
            allowed = ", ".join(PREFIX + one for one in GROUPS)
            raise ConfigError(f"{_said(point)}: there is no such group; allowed: {allowed}")
    return points


def plugins(group: str, known: Iterable[str]) -> dict[str, Entry]:
    """Registry entries of a group's plugins, by name.

    Args:
        group: one of GROUPS.
        known: names that the group has already.

    Raises:
        ConfigError: a name twice or with other characters than letters, digits and _, a module that is not there, or a
            group that there is not.
    """
    found = {}
    for point in _checked(group, known):
        facts = _facts(point)
        found[point.name] = Entry(point.value, **{"label": point.name, **facts})
    return found


def plugin_targets(group: str, known: Iterable[str]) -> dict[str, str]:
    """Targets, "module:name", of a group's plugins, by name. Raises as `plugins`."""
    return {point.name: point.value for point in _checked(group, known)}


@cache
def plugin_packages() -> frozenset[str]:
    """Top-level packages of all plugins: what a job's code may consist of besides the library."""
    return frozenset(re.split(r"[.:]", point.value)[0] for point in _points())


def _checked(group: str, known: Iterable[str]) -> Iterator[EntryPoint]:
    taken = set(known)
    for point in _points().select(group=PREFIX + group):
        if not NAME.fullmatch(point.name):
            raise ConfigError(f"{_said(point)}: allowed: a name of 1 to 64 letters, digits and _")
        if point.name in taken:
            raise ConfigError(f"{_said(point)}: the name is taken; allowed: any but {', '.join(sorted(taken))}")
        taken.add(point.name)
        module, _, name = point.value.partition(":")
        if not name.isidentifier() or module_source(module) is None:
            raise ConfigError(f"{_said(point)}: allowed: module:name of a module that is there")
        yield point


def _said(point: EntryPoint) -> str:
    package = f" of package {point.dist.name}" if point.dist else ""
    return f"entry point {point.name} = {point.value!r} in {point.group}{package}"


# -- what a registry entry tells, from the source


def _facts(point: EntryPoint) -> Mapping[str, Any]:
    module, _, name = point.value.partition(":")
    tree = source_tree(module)
    found = next((one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == name), None)
    values = _assigned(found or tree)
    facts = {}
    for fact in FACTS:
        node = values.get(fact if found else fact.upper())
        if node is None:
            continue
        try:
            value = ast.literal_eval(node)
        except ValueError:
            value = None
        if not _fits(fact, value):
            wanted = "a text" if fact == "label" else "a tuple of names"
            raise ConfigError(f"{_said(point)}: {fact} is {ast.unparse(node)}; allowed: {wanted}, written out")
        facts[fact] = value if fact == "label" else tuple(value)
    return facts


def _assigned(place: ast.ClassDef | ast.Module) -> dict[str, ast.expr]:
    """What a class or module assigns to its names; of annotated names of a class only the class variables."""
    found: dict[str, ast.expr] = {}
    for node in place.body:
        if isinstance(node, ast.Assign):
            found |= {one.id: node.value for one in node.targets if isinstance(one, ast.Name)}
        # An option of that name is an option.
        elif (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.value is not None
            and (isinstance(place, ast.Module) or "ClassVar" in ast.unparse(node.annotation))
        ):
            found[node.target.id] = node.value
    return found


def _fits(fact: str, value: Any) -> bool:
    if fact == "label":
        return isinstance(value, str) and bool(value.strip())
    return isinstance(value, tuple | list) and all(isinstance(one, str) for one in value)
