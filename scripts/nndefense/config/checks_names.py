"""Names that would be confused with others: in paths, in rows, or on a disk that takes capitals for small letters."""

from collections.abc import Iterable, Mapping

from nndefense.config.sections import Config
from nndefense.core.errors import ConfigError
from nndefense.evaluation import KINDS, SUMMARIES

# What rows and paths say in the place of such a name.
RESERVED: Mapping[str, tuple[str, ...]] = {
    "pools": ("none", "queries"),
    "retrieval.tasks": ("none", "tasks", "embeddings"),
    "retrieval.embeddings": ("none",),
}
# Folders of results/, where a run without a name has its files.
FOLDERS = (
    *KINDS, *SUMMARIES, "attackers", "attacks", "benchmarks", "captions", "certificates", "codes", "features", "images",
    "index", "left_out", "logs", "models", "neighbors", "patches", "pca", "pools", "predictions", "retrievalguard",
    "retrievals", "seals", "skipped", "softmax", "srd", "systems", "tuned",
)  # fmt: skip


def check_names(config: Config) -> None:
    """Raises ConfigError, one line, for the first of them."""
    _check_runs(config)
    mappings: dict[str, Iterable[str]] = {
        "images": config.images,
        "models": config.models,
        "pools": config.pools,
        "defenses": config.defenses,
    }
    if config.retrieval:
        mappings |= {"retrieval.tasks": config.retrieval.tasks, "retrieval.embeddings": config.retrieval.embeddings}
    for key, names in mappings.items():
        found: dict[str, str] = {}
        for name in names:
            if name in RESERVED.get(key, ()):
                raise ConfigError(f"{key}: {name!r} has a meaning of its own; allowed: any other")
            if (same := found.setdefault(name.lower(), name)) != name:
                raise ConfigError(f"{key}: {same!r} and {name!r} are one file on many disks; allowed: other letters")


def _check_runs(config: Config) -> None:
    for key, name in (("run", config.run), ("base_run", config.base_run)):
        if name and name.lower() in FOLDERS:
            raise ConfigError(f"{key}: {name!r} is a folder of the run without a name; allowed: any other")
    if config.base_run is None:
        return
    if not config.run:
        raise ConfigError("base_run: `run` has no name, and nothing to begin with; allowed: null, or a name for `run`")
    if config.base_run.lower() == config.run.lower():
        raise ConfigError(f"base_run: {config.base_run!r} is this run itself; allowed: another one, or null")
