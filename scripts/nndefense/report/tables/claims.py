"""The papers' claims, judged on this run's answers by paired bootstrap over the test images."""

from dataclasses import dataclass

from nndefense.core.seeds import derive_seed
from nndefense.evaluation.outcomes import read_outcomes
from nndefense.report.claims.adaptive import outcomes_on
from nndefense.report.claims.catalog import CLAIMS, PLAIN_CLAIMS, THROUGH_CLAIMS
from nndefense.report.claims.dictionaries import with_hardest
from nndefense.report.claims.judge import COLUMNS, judge
from nndefense.report.claims.outcomes import outcomes_of
from nndefense.report.claims.retrieval import judge_invariance, judge_trade_off
from nndefense.report.claims.verdicts import claims_latex, claims_markdown
from nndefense.report.names import Params
from nndefense.report.piece import TABLE, VOTE, Files, Made, Piece

AXES = ("attack", "space", "epsilon", "features", "pool", "neighbors", *VOTE)


@dataclass(frozen=True, kw_only=True)
class Claims(Piece):
    """The table of claims; its rows are the comparisons."""

    kind: str = TABLE

    def make(self, files: Files, params: Params) -> Made:
        answers = read_outcomes(files["predictions"], params["root"])
        outcomes = outcomes_of(answers, params)
        seed = derive_seed(params["seed"], "claims")
        judged = judge(PLAIN_CLAIMS, outcomes, params, seed=seed, resamples=params["resamples"])
        through = read_outcomes(files.get("through", []), params["root"])
        fewer = with_hardest(outcomes_on(answers, through, params))
        judged += judge(THROUGH_CLAIMS, fewer, params, seed=seed, resamples=params["resamples"])
        if "families" in params:
            judged += judge_invariance(dict(zip(params["checked"], files.get("checked", []), strict=True)))
            judged += judge_trade_off(_families(files, params), seed, params["resamples"])
        about = about_run(params, len(next(iter(outcomes.values()), ())))
        return Made(
            judged,
            COLUMNS,
            markdown=claims_markdown(judged, CLAIMS, about),
            latex=claims_latex(judged, CLAIMS, about),
        )


def _families(files: Files, params: Params) -> dict[str, dict[float, tuple[str, str]]]:
    """Answers and certificates of every retrieval by sigma."""
    found: dict[str, dict[float, tuple[str, str]]] = {}
    for (name, sigma), *own in zip(params["families"], files["answers"], files["certificates"], strict=True):
        found.setdefault(name, {})[sigma] = (own[0], own[1])
    return found


def about_run(params: Params, n: int) -> str:
    """A sentence on dataset, model, number of images and resamples, and the base values."""
    held = ", ".join(f"{axis} {params[axis]}" for axis in AXES)
    return (
        f"Dataset {params['dataset']}, model {params['model']}, n = {n:,} test images, {params['resamples']:,} "
        f"resamples of them. Held fixed where not varied: {held}."
    )


PIECE = Claims(
    name="claims",
    called="Claims",
    category="Claims",
    title="Every claim of the papers that this run can test",
    varies="claim",
    shows="Claims by table and figure; effects with their 95 % intervals by paired bootstrap over the test images.",
    paper="the text of §5.2, §5.3, §6.2 and appendices C and D, and of §1 and §4 of Zhao, Li & Cho 2018",
    source="nndefense.report.sources:judged",
    under="all",
    settings=(),
    uses=tuple(axis for axis in AXES if axis not in ("attack", "space")),
)
