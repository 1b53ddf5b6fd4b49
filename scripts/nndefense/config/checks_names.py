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
    "skipped", "softmax", "srd", "systems", "tuned",
)  # fmt: skip


def check_names(config: Config) -> None:
    """Raises ConfigError, one line, for the first of them."""
    if config.run.lower() in FOLDERS:
        raise ConfigError(f"run: {config.run!r} is a folder of the run without a name; allowed: any other")
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
