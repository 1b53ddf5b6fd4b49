"""Smoothed retrieval: which systems a configuration asks for, and where their files are."""

from dataclasses import dataclass
from typing import Any

from nndefense.axes.numbers import number_text
from nndefense.config import Config
from nndefense.config.retrieval import EmbeddingSection

ROOT = "<results>/retrievalguard"


@dataclass(frozen=True)
class Guard:
    """A retrieval that is certified: an embedding, with noise, among the gallery of a task.

    Attributes:
        task, embedding: names of the configuration. sigma: standard deviation of the noise.
    """

    task: str
    embedding: str
    sigma: float

    def __str__(self) -> str:
        return f"{self.task}/{self.embedding}/sigma-{number_text(self.sigma)}"

    @classmethod
    def of(cls, wildcards: Any) -> "Guard":
        """The retrieval of a rule's wildcards."""
        return cls(wildcards.task, wildcards.embedding, float(wildcards.sigma))

    def file(self, name: str) -> str:
        """One of its files."""
        return f"{ROOT}/{self}/{name}"


def guards(config: Config) -> list[Guard]:
    """Every retrieval of the configuration, task by task."""
    section = config.retrieval
    if section is None:
        return []
    return [
        Guard(task, name, sigma)
        for task in section.tasks
        for name, one in section.embeddings.items()
        if one.tasks is None or task in one.tasks
        for sigma in one.sigmas
    ]


def task_file(task: str) -> str:
    """Images of a task's gallery, and its queries."""
    return f"{ROOT}/tasks/{task}.npz"


def transform_file(embedding: str, sigma: float) -> str:
    """What an embedding does to the network's features."""
    return f"{ROOT}/embeddings/{embedding}/sigma-{number_text(sigma)}.npz"


def fitted_on(config: Config, one: EmbeddingSection) -> str | None:
    """The image set that an embedding's transform is fitted on; None where there is nothing to fit."""
    if one.transform == "none":
        return None
    return one.fit or config.models[one.model].train.images


def guard_sigmas(config: Config) -> list[str]:
    """Standard deviations as they stand in paths."""
    section = config.retrieval
    found = [sigma for one in section.embeddings.values() for sigma in one.sigmas] if section else []
    return list(dict.fromkeys(map(number_text, found)))


def certificate_files(config: Config, guard: Guard) -> list[str]:
    """What every certificate says of a retrieval's queries."""
    return [guard.file(f"{name}.npz") for name in config.retrieval.certificates]


def row_files(config: Config) -> list[str]:
    """Rows of every retrieval."""
    return [one.file("rows.csv") for one in guards(config)]


def checked_files(config: Config) -> list[str]:
    """What attacks on certified queries did, of every retrieval; none where there are no such attacks."""
    section = config.retrieval
    if section is None or section.attack is None or section.attack.certified is None:
        return []
    return [one.file("checked.npz") for one in guards(config)]
