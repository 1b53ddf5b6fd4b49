"""Semantic reconstruction dictionaries: which files there are, and which query sets defences are compared on."""

from nndefense.axes.cells import NO_DEFENSE
from nndefense.config import Config

ROOT = "<results>/srd"
LATENTS, CLUSTERS = f"{ROOT}/latents.npz", f"{ROOT}/clusters.npz"
CENTRAL, ORACLE = f"{ROOT}/central.npz", f"{ROOT}/oracle.npz"
DICTIONARIES, PURIFIED = f"{ROOT}/dictionaries.npz", f"{ROOT}/purified.npz"
# The job that learns the dictionary of all images.
WHOLE = "whole"
# The attack that differentiates an unrolled defence, and the option of defences that can be.
UNROLLED = "unrolled"


def dictionary_model(config: Config) -> str:
    """The network whose latents are divided."""
    return config.dictionaries.model or config.target


def learnt_parts(config: Config) -> list[str]:
    """Jobs that learn dictionaries: every n-th cluster from each of the first n, by name, and all images."""
    jobs = config.dictionaries.learning.jobs if config.dictionaries else 0
    return [*(f"{place}of{jobs}" for place in range(jobs)), *([WHOLE] if jobs else [])]


def part_file(part: str) -> str:
    """Dictionaries of some clusters, or the one of all images."""
    return f"{ROOT}/parts/{part}.npz"


def compared_defenses(config: Config) -> list[str]:
    """Defences of the table, after the bare network; none without section `dictionaries`."""
    section = config.dictionaries
    return [NO_DEFENSE, *section.table] if section else []


def attacks_through(config: Config, defense: str) -> list[str]:
    """Attacks of section `dictionaries` that go through a defence of the table; none without section `adaptive`."""
    if defense not in compared_defenses(config) or config.attacks.adaptive is None:
        return []
    able = hasattr(config.defenses.get(defense), UNROLLED)
    return [name for name in config.dictionaries.attacks if name != UNROLLED or able]


def tuned_by(config: Config, defense: str | None) -> str | None:
    """The defence for which an option of this one is chosen: itself, or another; None where all options are given."""
    own = config.defenses.get(defense)
    return own and (own.tuned_as or (defense if own.tune else None))


def tuned_file(defense: str) -> str:
    """What was chosen for a defence, and why."""
    return f"<results>/tuned/{defense}.json"
