"""The ball that bounds an attack: a norm, and the pixel space that it is measured in."""

from dataclasses import dataclass

from nndefense.core.errors import ConfigError


@dataclass(frozen=True)
class Ball:
    """Images within a distance of the clean one.

    Attributes:
        norm: "l2", normalised: ||z - z'|| / ||z|| (Dubey et al. 2019, §3.1); or "linf", the largest change of a pixel.
        space: pixels as they are, in [0, 1] ("raw01"), or after mean and standard deviation ("standardized").
    """

    norm: str
    space: str

    def __str__(self) -> str:
        return "linf" if self.norm == "linf" else self.space

    @classmethod
    def parse(cls, text: str) -> "Ball":
        """The ball of a name. Raises ConfigError for an unknown one."""
        if text not in BALLS:
            raise ConfigError(f"ball {text!r} is unknown; allowed: {', '.join(BALLS)}")
        return BALLS[text]


RAW, STANDARDIZED, LINF = Ball("l2", "raw01"), Ball("l2", "standardized"), Ball("linf", "raw01")
BALLS = {str(ball): ball for ball in (RAW, STANDARDIZED, LINF)}
