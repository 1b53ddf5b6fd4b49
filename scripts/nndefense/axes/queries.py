"""Query sets, and packs of them: what one file and one job hold together."""

from collections.abc import Iterator
from dataclasses import dataclass

from nndefense.axes.ball import Ball
from nndefense.axes.numbers import number_text
from nndefense.axes.threat import Threat
from nndefense.core.errors import ConfigError

NO_ATTACK = "none"
# What broke a defence, whichever attack it was.
WORST = "worst"


@dataclass(frozen=True)
class QuerySet:
    """The test images, clean (ball and threat None, epsilon 0) or attacked within a budget."""

    ball: Ball | None
    threat: Threat | None
    attack: str
    epsilon: float

    def __str__(self) -> str:
        return str(Pack(self.ball, self.threat, self.attack, (self.epsilon,)))

    @property
    def member(self) -> str:
        """Its name within the files of a pack: "clean" or the budget."""
        return "clean" if self.ball is None else number_text(self.epsilon)

    def columns(self) -> dict[str, object]:
        """The columns attack, setting, space and epsilon of its result rows."""
        setting, space = ("clean", "none") if self.ball is None else (str(self.threat), str(self.ball))
        return {"attack": self.attack, "setting": setting, "space": space, "epsilon": self.epsilon}


@dataclass(frozen=True)
class Pack:
    """Query sets of one attack that differ in the budget, made, searched and evaluated together.

    Its name lists the budgets, so a budget in a pack of its own leaves the files of other packs alone.
    """

    ball: Ball | None
    threat: Threat | None
    attack: str
    epsilons: tuple[float, ...]

    def __str__(self) -> str:
        if self.ball is None:
            return "clean"
        return f"{self.ball}/{self.threat}/{self.attack}/{self.budgets}"

    @property
    def budgets(self) -> str:
        """The last part of its name."""
        return f"eps-{','.join(map(number_text, self.epsilons))}"

    def __iter__(self) -> Iterator[QuerySet]:
        return (QuerySet(self.ball, self.threat, self.attack, epsilon) for epsilon in self.epsilons)

    @classmethod
    def parse(cls, text: str) -> "Pack":
        """`clean`, or BALL/THREAT/ATTACK/eps-EPSILON[,EPSILON...]. Raises ConfigError for anything else."""
        if text == "clean":
            return CLEAN
        try:
            ball, threat, attack, budgets = text.split("/")
            if not budgets.startswith("eps-"):
                raise ValueError
            epsilons = tuple(map(float, budgets.removeprefix("eps-").split(",")))
        except ValueError:
            raise ConfigError(
                f"query sets {text!r} are not named `clean` or BALL/THREAT/ATTACK/eps-EPSILON[,EPSILON...]"
            ) from None
        return cls(Ball.parse(ball), Threat.parse(threat), attack, epsilons)


CLEAN = Pack(None, None, NO_ATTACK, (0.0,))
