"""Section `attacks`: methods, budgets and threat models."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field, WrapValidator, create_model
from typing_extensions import TypedDict  # typing's own serves pydantic from Python 3.12 on

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import LINF, RAW, STANDARDIZED
from nndefense.axes.cells import NEIGHBORS
from nndefense.axes.threat import KNOWLEDGE
from nndefense.config.base import Distinct, Name, Section, Several, flat
from nndefense.core.options import STRICT, Count, Share, read_options, read_summary

ATTACK_OPTIONS: dict[str, type[Section]] = {
    name: create_model(f"Attack_{name}", __base__=Section, __doc__=read_summary(one.target), **read_options(one.target))
    for name, one in ATTACKS.items()
}
AWARE = tuple(name for name, entry in ATTACKS.items() if "knowledge" in entry.needs)


def _methods(name: str, allowed: list[str]) -> Any:
    """A mapping of some attacks to their options, in the order in which they stand in the configuration."""
    made: Any = TypedDict
    named = made(name, {one: ATTACK_OPTIONS[one] for one in allowed}, total=False)
    named.__pydantic_config__ = STRICT

    def ordered(value: Any, check: Any) -> dict[str, BaseModel]:
        checked = check(value)
        if not checked:
            raise ValueError(f"empty; allowed: one or more of {', '.join(allowed)}")
        return {one: checked[one] for one in value}

    return Annotated[named, WrapValidator(ordered)]


if TYPE_CHECKING:
    Methods: TypeAlias = dict[str, Any]
    ThroughMethods: TypeAlias = Methods
    LinfMethods: TypeAlias = Methods
else:
    Methods = _methods("Methods", list(ATTACKS))
    ThroughMethods = _methods("ThroughMethods", [name for name in ATTACKS if name not in AWARE])
    LinfMethods = _methods("LinfMethods", [name for name, entry in ATTACKS.items() if str(LINF) in entry.balls])
Budget = Annotated[float, Field(gt=0, le=1)]
Budgets = Annotated[list[Budget | Annotated[list[Budget], Field(min_length=1)]], *Several]
TOGETHER = "those in a list of their own are made, searched and evaluated by the same jobs, as one file"


class Packed(Section):
    """A section with budgets."""

    if TYPE_CHECKING:
        epsilons: list[Any]

    @property
    def packs(self) -> list[tuple[float, ...]]:
        """The budgets, those together that share a file."""
        return [tuple(flat([one])) for one in self.epsilons]

    @property
    def values(self) -> list[float]:
        """The budgets, one by one."""
        return flat(self.epsilons)


class WhiteBox(Section):
    """Attacks that know of the defence, from databases of the attacker's own."""

    pool: str = Field(description="The defended pool. With overlaps it needs up to twice its largest size in images.")
    sizes: Annotated[list[Count], Distinct] = Field(
        [],
        description="Sizes of attacker's databases that are the first images of the defence's; some of the pool's "
        "`sizes`.",
    )
    overlaps: Annotated[list[Share], Distinct] = Field(
        [],
        description="Shares of images in common (0 to 1) of attacker's databases as large as the defence's. At shares "
        "where the pool is cut anyway (a size over the largest size) no shard is added to it.",
    )
    neighbors: Count = Field(50, description="Neighbours the attacker takes per image.")
    ablated: Literal[AWARE] = Field(
        "pgd_fs",
        description="The attack of `attacks.methods` that is run with every database, at `base.epsilon`; all others "
        "only with the whole one.",
    )


class Adaptive(Packed):
    """Attacks that go through a defence, and the worst case over all attacks."""

    methods: ThroughMethods = Field(
        description="The attacks by name, each with its own options, in the order in which they are tried: each on the "
        "images that have held against all before it."
    )
    epsilons: Budgets = Field(
        description=f"Budgets, some of `attacks.epsilons`, `base.epsilon` among them; {TOGETHER}."
    )
    count: Count | None = Field(200, description="Test images that are attacked, drawn at random (null = all).")
    defenses: Annotated[list[Name], Distinct] | None = Field(
        None,
        description="Whose worst case is found: some of `defenses`, `knn` and `none` (null = all that are evaluated).",
    )
    full: Annotated[list[Name], Distinct] = Field(
        [NEIGHBORS],
        description="Defences for which every attack is also run alone, on all images at every budget; for the others "
        "an attack's own accuracy is known on the images that were left to it.",
    )
    limits: dict[Name, Count] = Field(
        {},
        description="Images that an attack of `methods` is tried on at most, of those that hold, when the worst case "
        "is looked for: for attacks that ask a slow defence thousands of times. Likewise `doubled`.",
    )
    surrogates: Annotated[list[Name], Distinct] = Field(
        [],
        description="Networks that attack `transfer` takes gradients of, some of `models`, beside the target and "
        "`surrogate`.",
    )
    databases: bool = Field(
        True,
        description="Run `doubled` with every database of `attacks.white_box` as well: an attacker who knows the "
        "network, but has another database than the nearest-neighbour defence.",
    )
    knowledge: Annotated[list[Literal[KNOWLEDGE]], Distinct] = Field(
        [],
        description="Run `doubled` for attackers of the nearest neighbours who do not have all of the target's "
        "weights, with the defence's database and with the first other one that is as large: `features`, the features "
        "alone, softmax rows are the surrogate's; `nothing`, features and rows are the surrogate's (which must have "
        "layer `base.features`).",
    )
    doubled: str = Field(
        "soft_retrieval",
        description="The attack that is run once more at the end, with twice the steps; where that moves a worst case "
        "by a point or more, it is void.",
    )
    sanity: Budget = Field(
        0.3, description="A budget so large that nothing should hold: where more than chance is left, a row is void."
    )


class Linf(Packed):
    """Attacks within an l-infinity ball, on pixels in [0, 1] (Zhao, Li & Cho 2018, Table 1)."""

    methods: LinfMethods = Field(description="The attacks by name, each with its own options.")
    epsilons: Budgets = Field(
        [[0.01, 0.02, 0.04, 0.06, 0.08]],
        description=f"Budgets, largest change of a pixel (0 to 1, exclusive of 0); {TOGETHER}.",
    )
    defenses: Annotated[list[Name], Distinct] = Field(
        [],
        description="Some of `defenses`. The target without defence is the baseline; its adversarial images are tried "
        "on them (transfer), and they are attacked themselves.",
    )


class Attacks(Packed):
    """Attacks, budgets and threat models; every combination is a query set."""

    methods: Methods = Field(description="The attacks by name, each with its own options.")
    epsilons: Budgets = Field(
        description="Budgets, largest normalised l2 distance `|x - x'| / |x|` of an attacked image (0 to 1, exclusive "
        f"of 0); {TOGETHER}."
    )
    together: Annotated[list[Annotated[list[Literal[tuple(ATTACKS)]], Field(min_length=1)]], Distinct] = Field(
        [],
        description="Lists of attacks, of this section and its parts, whose images are put through network, search and "
        "defences by the same jobs; one that is named nowhere has jobs of its own, so that an attack that is added "
        "leaves all others alone.",
    )
    settings: Annotated[list[Literal["gray_box", "black_box"]], *Several] = Field(
        ["gray_box", "black_box"],
        description="`gray_box`: gradients of the target model; `black_box`: gradients of the surrogate.",
    )
    spaces: Annotated[list[Literal[str(RAW), str(STANDARDIZED)]], *Several] = Field(
        [str(RAW)],
        description="Pixel space the budget is measured in. `raw01` is the paper's formula on [0, 1] pixels; "
        "`standardized` is after subtraction of the mean and division by the standard deviation.",
    )
    white_box: WhiteBox | None = Field(
        None,
        description=f"Attacks that know of the defence ({', '.join(f'`{name}`' for name in AWARE)}), from databases of "
        "the attacker's own. null for none.",
    )
    adaptive: Adaptive | None = Field(
        None,
        description="Attacks that go through a defence, and the worst case over all attacks; makes `worst_case`, "
        "`fig_adaptive` and `card`. null for none.",
    )
    linf: Linf | None = Field(
        None,
        description="Attacks within an l-infinity ball on pixels in [0, 1] (Zhao, Li & Cho 2018, Table 1), on the "
        "target and on defences; makes `table1_racnn` and `fig_racnn`. null for none.",
    )
    budget: Literal["per_image", "dataset_mean"] = Field(
        "per_image",
        description="`per_image`: the distance of every image is at most epsilon (Dubey et al. §3.1); `dataset_mean`: "
        "all images have one radius, and epsilon is their mean distance (Guo et al. 2018).",
    )
    batch: Count = Field(125, description="Images attacked at once.")
    precision: Literal["exact", "tf32", "bf16"] | None = Field(
        None, description="Of the gradients that attacks follow (null = `precision`, which says what is where)."
    )
