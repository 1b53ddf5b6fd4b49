"""Threat models: what an attacker knows, and of which defence."""

import re
from dataclasses import dataclass

from nndefense.axes.numbers import number_text
from nndefense.core.errors import ConfigError

_DATABASE = re.compile(r"(?P<pool>\w+?)-(?P<size>\d+)(?:-overlap-(?P<overlap>[0-9.e-]+))?")


@dataclass(frozen=True)
class AttackDatabase:
    """The database that a white-box attacker takes neighbours from.

    Attributes:
        pool: whose seeded order it is cut from. size: images.
        overlap: share of its images that the defence's database of that pool and size holds too; None: it is the first
            `size` images of the pool's order.
    """

    pool: str
    size: int
    overlap: float | None = None

    def __str__(self) -> str:
        share = "" if self.overlap is None else f"-overlap-{number_text(self.overlap)}"
        return f"{self.pool}-{self.size}{share}"

    @classmethod
    def parse(cls, text: str) -> "AttackDatabase":
        """POOL-SIZE or POOL-SIZE-overlap-SHARE. Raises ConfigError for anything else."""
        found = _DATABASE.fullmatch(text)
        if found is None:
            raise ConfigError(f"attacker's database {text!r} is not POOL-SIZE or POOL-SIZE-overlap-SHARE")
        overlap = found["overlap"]
        return cls(found["pool"], int(found["size"]), None if overlap is None else float(overlap))


@dataclass(frozen=True)
class Threat:
    """Whose gradients an attack follows.

    Attributes:
        box: "gray_box", the target network's; "black_box", the surrogate's; "white_box", the target's together with
            what a database tells about the retrieval.
        defense: gray box only; the defence that is attacked itself, through its surrogate. None: the bare network.
        database: white box only; the attacker's.
    """

    box: str
    defense: str | None = None
    database: AttackDatabase | None = None

    def __str__(self) -> str:
        more = self.defense if self.database is None else self.database
        return self.box if more is None else f"{self.box}-{more}"

    @classmethod
    def parse(cls, text: str) -> "Threat":
        """gray_box, black_box, gray_box-DEFENSE or white_box-DATABASE. Raises ConfigError for anything else."""
        box, dash, more = text.partition("-")
        wrong = {"gray_box": bool(dash) != bool(more), "black_box": bool(dash), "white_box": not more}
        if wrong.get(box, True):
            raise ConfigError(
                f"threat {text!r} is unknown; allowed: gray_box, black_box, gray_box-DEFENSE, white_box-DATABASE"
            )
        if box == "white_box":
            return cls(box, database=AttackDatabase.parse(more))
        return cls(box, more or None)

    @property
    def stream(self) -> str:
        """What its random starts depend on: not the database, so that its effect is not mixed with another start."""
        return self.box if self.database else str(self)


GRAY, BLACK = Threat("gray_box"), Threat("black_box")
