"""Which files the l-infinity comparison of networks consists of (Zhao, Li & Cho 2018, Table 1).

Imported while Snakemake parses the workflow, so it imports nothing heavy.
"""

from collections.abc import Mapping
from typing import Any

ATTACKS = ("fgsm", "ifgsm")


class LinfPlan:
    """Names of everything the section `linf` of a validated configuration asks for; nothing where it is null."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._section = config["linf"] or {"networks": [], "epsilons": [], "steps": 1, "keep": True}

    @property
    def networks(self) -> list[str]:
        """The compared networks, the baseline first."""
        return list(self._section["networks"])

    @property
    def baseline(self) -> str:
        """The network whose adversarial images are tried on all others."""
        return self.networks[0]

    @property
    def epsilons(self) -> list[float]:
        """Budgets."""
        return list(self._section["epsilons"])

    @property
    def keep(self) -> bool:
        """Whether the attacked images stay when they have been classified."""
        return self._section["keep"]

    def steps(self, attack: str) -> int:
        """Gradient steps of an attack."""
        return self._section["steps"] if attack == "ifgsm" else 1

    def names(self) -> list[str]:
        """Attack and budget of every attacked set of a network, ATTACK/EPSILON."""
        return [f"{attack}/{epsilon}" for attack in ATTACKS for epsilon in self.epsilons]

    def sets(self, network: str, attack: str | None = None) -> list[str]:
        """The attacked sets of a network, in the order of `names`; of one attack or of all."""
        wanted = [attack] if attack else ATTACKS
        return [f"<results>/linf/{network}/{one}/eps-{epsilon}.npz" for one in wanted for epsilon in self.epsilons]

    def parts(self, file: str) -> list[str]:
        """One file of every network: accuracy.csv or predictions.npz."""
        return [f"<results>/linf/{network}/{file}" for network in self.networks]

    def targets(self) -> list[str]:
        """The table and the figure."""
        return ["<results>/table1_racnn.md", "<results>/fig_racnn.pdf"] if self.networks else []
