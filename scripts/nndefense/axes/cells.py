"""Cells of an experiment: which answers of which defence to which query set are counted together."""

from typing import Any, NamedTuple

from nndefense.axes.queries import QuerySet
from nndefense.core.errors import ConfigError

NO_DEFENSE, NEIGHBORS = "none", "knn"
# Folder of the answers, and their role among the files of figures and tables.
PREDICTIONS = "predictions"


class System(NamedTuple):
    """A deployed defence: the columns of a result row that do not tell about the queries."""

    pool: str
    size: int
    features: str
    neighbors: int
    weighting: str
    combination: str
    defense: str

    @classmethod
    def plain(cls, defense: str) -> "System":
        """A defence without a database; "none" is the bare network."""
        return cls("none", 0, "none", 0, "none", "none", defense)

    def __str__(self) -> str:
        """Its name within a file of predictions: POOL/SIZE/K/WEIGHTING/COMBINATION, or the defence's name."""
        if self.defense != NEIGHBORS:
            return self.defense
        return f"{self.pool}/{self.size}/{self.neighbors}/{self.weighting}/{self.combination}"

    @classmethod
    def parse(cls, text: str, features: str) -> "System":
        """The system of a name; features: the layer, which the file's place tells. ConfigError for another name."""
        match text.split("/"):
            case [pool, size, neighbors, weighting, combination] if size.isdecimal() and neighbors.isdecimal():
                return cls(pool, int(size), features, int(neighbors), weighting, combination, NEIGHBORS)
            case [defense] if defense:
                return cls.plain(defense)
        raise ConfigError(f"predictions {text!r}: expected POOL/SIZE/K/WEIGHTING/COMBINATION, or a defence")


class Cell(NamedTuple):
    """The columns of a result row that tell cells of one run apart."""

    pool: str
    size: int
    features: str
    neighbors: int
    weighting: str
    combination: str
    defense: str
    attack: str
    setting: str
    space: str
    epsilon: float

    @classmethod
    def of(cls, system: System, queries: QuerySet) -> "Cell":
        """The answers of a system to a query set."""
        columns: dict[str, Any] = queries.columns()
        return cls(*system, **columns)
