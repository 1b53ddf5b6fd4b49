"""Threat models: what an attacker knows, and of which defence."""

import re
from dataclasses import dataclass, replace

from nndefense.axes.numbers import number_text
from nndefense.core.errors import ConfigError

ADAPTIVE, KNOWS, KNOWLEDGE = "adaptive", "knows-", ("features", "nothing")
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
    """What an attacker knows.

    Attributes:
        box: "gray_box", the target network; "black_box", the surrogate; "white_box", the target together with what a
            database tells about the retrieval; "adaptive", the defence itself, which the attack goes through.
        defense: gray box: the defence that is attacked through its surrogate, None: the bare network. Adaptive: the
            attacked defence.
        database: white box: the attacker's. Adaptive: the attacker's, where it is not the defence's own.
        knows: adaptive, of the target's weights: None, all; "features", not the classifier; "nothing". The surrogate's
            serve for the rest.
    """

    box: str
    defense: str | None = None
    database: AttackDatabase | None = None
    knows: str | None = None

    def __str__(self) -> str:
        knows = None if self.knows is None else f"{KNOWS}{self.knows}"
        return "-".join(str(one) for one in (self.box, self.defense, self.database, knows) if one is not None)

    @classmethod
    def parse(cls, text: str) -> "Threat":
        """gray_box, black_box, gray_box-DEFENSE, white_box-DATABASE or adaptive-DEFENSE[-DATABASE][-knows-PART].

        Raises ConfigError for anything else.
        """
        box, dash, more = text.partition("-")
        wrong = {"gray_box": bool(dash) != bool(more), "black_box": bool(dash)}
        if wrong.get(box, box not in ("white_box", ADAPTIVE) or not more):
            raise ConfigError(
                f"threat {text!r} is unknown; allowed: gray_box, black_box, gray_box-DEFENSE, white_box-DATABASE, "
                f"{ADAPTIVE}-DEFENSE[-DATABASE][-{KNOWS}features|nothing]"
            )
        if box == "white_box":
            return cls(box, database=AttackDatabase.parse(more))
        if box == ADAPTIVE:
            knows = next((one for one in KNOWLEDGE if more.endswith(f"-{KNOWS}{one}")), None)
            defense, _, database = more.removesuffix(f"-{KNOWS}{knows}").partition("-")
            return cls(box, defense, AttackDatabase.parse(database) if database else None, knows)
        return cls(box, more or None)

    @property
    def stream(self) -> str:
        """What its random starts depend on: not the database, so that its effect is not mixed with another start."""
        return str(replace(self, database=None, knows=None))


GRAY, BLACK = Threat("gray_box"), Threat("black_box")
