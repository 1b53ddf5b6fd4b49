"""The worst case of a defence: attacks one after the other, each on the images that have held against all before it.

Budgets are taken from small to large, so an image that broke the defence within one breaks it within all larger ones.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nndefense.attacks.adaptive import exact_lead
from nndefense.attacks.base import Attack, AttackResult
from nndefense.attacks.batches import attack_in_batches
from nndefense.attacks.problem import Attackable, make_problem
from nndefense.attacks.region import Statistics, distances, region_of
from nndefense.axes.ball import BALLS, Ball
from nndefense.axes.numbers import number_text
from nndefense.core.errors import ConfigError
from nndefense.core.seeds import derive_seed
from nndefense.models.batching import in_batches
from nndefense.models.computing import SINGLE, Computing

CLEAN, DOUBLED = "clean", "doubled"
# Draws of a random defence that an image must break, each.
DRAWS = 3
Images = np.ndarray


@dataclass(frozen=True)
class Stage:
    """An attack within a budget: `tried` images were left, it broke `broke` of them, `stuck` had no gradient at all."""

    epsilon: float
    attack: str
    tried: int
    broke: int
    stuck: int


@dataclass
class State:
    """Where a cascade stands: of each image the one that came furthest, its lead, and who broke it ("" where it holds).

    Attributes:
        images: (n, 3, H, W) float32. lead: (n,). broken_by: (n,) text. stages: so far.
        reached: (n,) bool, some attack did something to the image.
    """

    images: Images
    lead: np.ndarray
    broken_by: np.ndarray
    reached: np.ndarray
    stages: list[Stage] = field(default_factory=list)

    @property
    def active(self) -> np.ndarray:
        """(b,) int64, places of the images that hold."""
        return np.flatnonzero(self.broken_by == "")


@dataclass(frozen=True)
class Cascade:
    """A cascade on a defence.

    Attributes:
        target: a bound defence.
        clean: images (n, 3, H, W) float32 in [0, 1], labels (n,), rows (n,).
        ball: what budgets bound.
        statistics: the data set's mean and std per channel.
        seed: of random starts, and of the draws that attacks are chosen by.
        batch: images attacked at once.
        context: what attacks need besides.
        on_batch: called after each batch.
        limits: attack, or "doubled" -> images that it is tried on at most, of those that hold.
        computing: how attacks' gradients are computed; the exact defence answers in single precision.
    """

    target: Attackable
    clean: Mapping[str, np.ndarray]
    ball: Ball
    statistics: Statistics | None
    seed: int
    batch: int
    context: Mapping[str, Any]
    on_batch: Callable[[AttackResult], None] = lambda result: None
    limits: Mapping[str, int] = field(default_factory=dict)
    computing: Computing = SINGLE

    def begin(self) -> State:
        """Before any attack."""
        n = len(self.clean["labels"])
        nobody, untouched = np.full(n, "", dtype=object), np.zeros(n, dtype=bool)
        return State(self.clean["images"].copy(), np.full(n, -np.inf), nobody, untouched)

    def offer(self, state: State, name: str, places: np.ndarray, images: Images, epsilon: float) -> int:
        """Ask the exact defence about images of some places; how many of them it breaks on."""
        if not len(places):
            return 0
        lead, broken = self._ask(places, images, epsilon)
        better = broken | (lead > state.lead[places])
        state.images[places[better]], state.lead[places[better]] = images[better], lead[better]
        state.broken_by[places[broken]] = name
        return int(broken.sum())

    def attack(self, state: State, name: str, attack: Attack, epsilon: float) -> Stage:
        """Run an attack on the images that hold."""
        places = state.active[: self.limits.get(name)]
        found = self._attacked(name, attack, places, epsilon)
        stuck = int(found["saturated"].sum()) if name != CLEAN else 0
        state.reached[places[~found["idle"]]] = True
        broke = self.offer(state, name, places, found["images"], epsilon)
        state.stages.append(Stage(epsilon, name, len(places), broke, stuck))
        return state.stages[-1]

    def _attacked(self, name: str, attack: Attack, places: np.ndarray, epsilon: float) -> dict[str, np.ndarray]:
        arrays = attack_in_batches(
            attack,
            self.target,
            {key: values[places] for key, values in self.clean.items()},
            epsilons=[epsilon],
            ball=self.ball,
            statistics=self.statistics,
            seed=derive_seed(self.seed, name),
            batch=self.batch,
            context=lambda rows: self.context,
            on_batch=self.on_batch,
            measure_loss=False,
            computing=self.computing,
        )
        return {key.rpartition("/")[2]: values for key, values in arrays.items()}

    def _ask(self, places: np.ndarray, images: Images, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
        device = next(self.target.model.parameters()).device

        def ask(part: slice) -> tuple[Tensor, Tensor]:
            shown = torch.from_numpy(images[part]).to(device).contiguous(memory_format=torch.channels_last)
            problem = make_problem(
                self.target,
                shown,
                torch.from_numpy(self.clean["labels"][places[part]]).to(device),
                region=region_of(self.ball, self.statistics, shown, epsilon),
                rows=torch.from_numpy(self.clean["rows"][places[part]]),
                seed=self.seed,
                context={},
            )
            return exact_lead(problem, shown, DRAWS if self.target.random else 1)

        parts = list(in_batches(ask, len(places), self.batch))
        lead, broken = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        return lead, broken


def worst_case(
    cascade: Cascade,
    attacks: Mapping[str, Attack],
    *,
    epsilons: Sequence[float],
    stored: Callable[[float, float], Iterable[tuple[str, Images]]],
    doubled: str,
    sanity: float,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Find the worst images within each budget.

    Args:
        cascade: the defence and the images.
        attacks: by name, in the order in which they are tried.
        epsilons: budgets.
        stored: (above, up to) -> names and images (n, 3, H, W) of attacks that were run before, within budgets of that
            range.
        doubled: name of the attack that is run again at the end, with twice the steps.
        sanity: a budget within which nothing should hold; its images are not kept.

    Returns arrays as of `attack_in_batches`, with `lead` and `broken_by` for the losses (`idle`: an image holds, and
    every attack did nothing to it), and a report: stages, the share of images that holds within each budget before and
    after the doubled attack (and by how much it would move it, tried on all), and within `sanity`.

    Raises:
        ConfigError: `doubled` is not among the attacks, or has no steps.
    """
    again = _doubled(attacks, doubled)
    state, before, shares = cascade.begin(), 0.0, []
    arrays = {"labels": cascade.clean["labels"], "rows": cascade.clean["rows"]}
    cascade.offer(state, CLEAN, state.active, cascade.clean["images"], 0.0)
    n = max(len(arrays["labels"]), 1)
    for epsilon in sorted(epsilons):
        for name, images in stored(before, epsilon):
            if len(places := state.active):
                cascade.offer(state, name, places, images[places], epsilon)
        for name, attack in attacks.items():
            if len(state.active):
                cascade.attack(state, name, attack, epsilon)
        held = len(state.active)
        stage = cascade.attack(state, DOUBLED, again, epsilon) if held else None
        # Tried on some of them, it stands for all.
        moved = stage.broke / stage.tried * held / n if stage else 0.0
        shares.append({"epsilon": epsilon, "settled": held / n, "holds": len(state.active) / n, "moved": moved})
        arrays |= _arrays(cascade, state, epsilon)
        before = epsilon
    kept = len(state.stages)
    if len(state.active):
        cascade.attack(state, doubled, attacks[doubled], sanity)
    report = {
        "images": len(arrays["labels"]),
        "stages": [vars(one) for one in state.stages[:kept]],
        "shares": shares,
        "sanity": {"epsilon": sanity, "share": len(state.active) / n},
    }
    return arrays, report


def _doubled(attacks: Mapping[str, Attack], name: str) -> Attack:
    if name not in attacks or all(one.name != "steps" for one in fields(attacks[name])):
        able = [one for one, attack in attacks.items() if any(part.name == "steps" for part in fields(attack))]
        raise ConfigError(f"doubled attack {name!r} is unknown or has no steps; allowed: {', '.join(able) or 'none'}")
    chosen: Any = attacks[name]
    return replace(chosen, steps=2 * chosen.steps)


def _arrays(cascade: Cascade, state: State, epsilon: float) -> dict[str, np.ndarray]:
    clean, images = torch.from_numpy(cascade.clean["images"]), torch.from_numpy(state.images)
    deltas = distances(clean, images, cascade.statistics)
    found = {
        "images": state.images.copy(),
        "lead": state.lead.copy(),
        "broken_by": state.broken_by.astype(str),
        "idle": (state.broken_by == "") & ~state.reached,
        **{f"delta_{name}": deltas[name].numpy() for name in BALLS},
    }
    return {f"{number_text(epsilon)}/{name}": values for name, values in found.items()}
