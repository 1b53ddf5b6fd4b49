"""Purifiers side by side: clean, under attacks that do not know of them, and under attacks through each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nndefense.axes.ball import Ball
from nndefense.axes.cells import NO_DEFENSE, Cell, System
from nndefense.axes.queries import CLEAN, WORST, QuerySet
from nndefense.axes.threat import ADAPTIVE, GRAY, Threat
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.core.seeds import derive_seed
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.outcomes import read_outcomes
from nndefense.report.claims.adaptive import outcomes_on
from nndefense.report.claims.dictionaries import with_hardest
from nndefense.report.claims.judge import resampled_accuracies
from nndefense.report.claims.outcomes import Outcomes, outcomes_of
from nndefense.report.grid import INTERVALS, accuracy_text
from nndefense.report.markup import latex, latex_comment, latex_line, latex_span, markdown, markdown_table, tabular
from nndefense.report.names import Params, attack_name, defense_name
from nndefense.report.piece import TABLE, Files, Made, Piece
from nndefense.report.select import Row, Rows, matching

COLUMNS = (
    "dataset",
    "model",
    "defense",
    "attack",
    "setting",
    "space",
    "epsilon",
    "accuracy",
    "ci_low",
    "ci_high",
    "n",
)
# Rows whose accuracy is a difference of two: the gray box minus all attacks through the defence, and the reference in
# the gray box minus the defence there.
MASKING, LEAD = "masking", "reference_lead"
NOTHING = "–"
CHOSEN_HEADS = ("Defence", "Option", "Tried", "Chosen", "Clean accuracy", "Without it", "n")


# -- rows


def compare(outcomes: Outcomes, fewer: Outcomes, params: Params) -> list[Row]:
    """Rows of COLUMNS: every defence clean, then at every budget under every attack, alone and together.

    Args:
        outcomes: of all test images, clean and attacked in the gray box.
        fewer: the same on the images of attacks through the defences, and under these attacks.
        params: as of the piece.

    Raises:
        InputError: answers of a defence are missing.
    """
    together = with_hardest(fewer)
    found = [_share(_clean(name), outcomes, params) for name in params["compared"]]
    for epsilon in params["epsilons"]:
        for name in params["compared"]:
            gray = [_cell(name, GRAY, attack, epsilon, params) for attack in params["attacks"]]
            own = [_cell(name, Threat(ADAPTIVE, name), one, epsilon, params) for one in (*params["through"], WORST)]
            found += [_share(cell, outcomes, params) for cell in gray]
            found += [_share(cell, together, params) for cell in own if cell in together]
        found += _differences(MASKING, _masked(together, epsilon, params), together, params)
        found += _differences(LEAD, _led(epsilon, params), outcomes, params)
    return found


def _clean(defense: str) -> Cell:
    (queries,) = CLEAN
    return Cell.of(System.plain(defense), queries)


def _cell(defense: str, threat: Threat, attack: str, epsilon: float, params: Params) -> Cell:
    return Cell.of(System.plain(defense), QuerySet(Ball.parse(params["space"]), threat, attack, epsilon))


def _masked(together: Outcomes, epsilon: float, params: Params) -> list[tuple[Cell, Cell]]:
    """The gray box and all attacks through the defence, of every defence of the network that both are made with."""
    pairs = [
        (
            _cell(name, GRAY, params["attack"], epsilon, params),
            _cell(name, Threat(ADAPTIVE, name), WORST, epsilon, params),
        )
        for name in params["compared"]
        if name not in params["foreign"]
    ]
    return [pair for pair in pairs if pair[1] in together]


def _led(epsilon: float, params: Params) -> list[tuple[Cell, Cell]]:
    """The reference and every other defence in the gray box; nothing where the reference is not compared."""
    reference = params["reference"]
    others = [name for name in params["compared"] if name != reference] if reference in params["compared"] else []
    cells = {name: _cell(name, GRAY, params["attack"], epsilon, params) for name in (reference, *others)}
    return [(cells[reference], cells[name]) for name in others]


def _share(cell: Cell, outcomes: Outcomes, params: Params) -> Row:
    right = _outcome(cell, outcomes)
    low, high = wilson_interval(int(right.sum()), len(right))
    return _row(cell, (int(right.sum()) / len(right), low, high), len(right), params)


def _differences(setting: str, pairs: Sequence[tuple[Cell, Cell]], outcomes: Outcomes, params: Params) -> list[Row]:
    """Accuracy in the first cell of every pair minus in the second: paired bootstrap, 95 % percentile interval."""
    if not pairs:
        return []
    correct = np.stack([_outcome(cell, outcomes) for pair in pairs for cell in pair], axis=1)
    seed = derive_seed(params["seed"], "srd", setting)
    means = np.concatenate([resampled_accuracies(correct, seed, params["resamples"]), [correct.mean(0)]])
    effects = means[:, 0::2] - means[:, 1::2]
    low, high = np.quantile(effects[:-1], [0.025, 0.975], axis=0)
    values = np.stack([effects[-1], low, high], axis=1)
    return [
        _row(second._replace(setting=setting, attack=params["attack"]), tuple(map(float, one)), len(correct), params)
        for (_, second), one in zip(pairs, values, strict=True)
    ]


def _outcome(cell: Cell, outcomes: Outcomes) -> np.ndarray:
    if cell not in outcomes:
        where = "clean images" if cell.setting == "clean" else f"{cell.setting}/{cell.attack} at {cell.epsilon:g}"
        raise InputError(f"srd/table: there are no answers of {cell.defense} to {where}")
    return outcomes[cell]


def _row(cell: Cell, values: tuple[float, ...], n: int, params: Params) -> Row:
    # Without this, rounding of 1e-17 around an exact tie would be a difference.
    accuracy, low, high = (round(value, 9) for value in values)
    facts = {"dataset": params["dataset"], "model": params["model"], **cell._asdict()}
    measured = {"accuracy": accuracy, "ci_low": low, "ci_high": high, "n": n}
    return {name: (facts | measured)[name] for name in COLUMNS}


# -- in words


def named(defense: str, params: Params) -> str:
    """The defence's label."""
    return "No defence" if defense == NO_DEFENSE else defense_name(defense, params)


def difference_text(row: Row) -> str:
    """A difference of accuracies and its interval, with signs."""
    # "z": a small negative number is no negative zero.
    return f"{row['accuracy']:+z.3f} [{row['ci_low']:+z.3f}, {row['ci_high']:+z.3f}]"


def caption(rows: Rows, params: Params) -> str:
    """What the table shows, with n of all images and of those attacked through the defences."""
    row, base = rows[0], attack_name(params["attack"], params)
    foreign = [named(name, params) for name in params["foreign"]]
    transfer = (
        f"Answers of {', '.join(foreign)} are another network's: images of the gray box are transferred to it, which "
        "tells nothing of masking. "
    )
    return (
        f"Accuracy on {row['dataset']} of {row['model']}, n = {row['n']:,} images; {INTERVALS}. Gray box: images "
        f"attacked through the network without a defence, within Δ (normalised l2 distance, {params['space']} pixels). "
        f"{_through_text(matching(rows, attack=WORST), base)}{transfer if foreign else ''}{lead_head(params)}: under "
        f"{base} in the gray box. Differences have 95 % intervals by paired bootstrap over the images. {NOTHING}: "
        "there is none."
    )


def _through_text(hardest: Rows, base: str) -> str:
    if not hardest:
        return ""
    return (
        f"Through the defence: attacked through the row's own defence, n = {hardest[0]['n']:,} of the images; "
        f"adaptive: right under every one of these attacks. Masking: under {base} in the gray box minus adaptive, on "
        "the same images, what an attacker gains by knowing the defence. "
    )


def lead_head(params: Params) -> str:
    """Head of the column of differences from the reference."""
    return f"{named(params['reference'], params)} minus this"


def heads(params: Params) -> list[str]:
    """Heads of the columns, below those that `groups` gives."""
    names = [attack_name(name, params) for name in (*params["attacks"], *params["through"])]
    return ["Defence", "Clean", *names, "Adaptive", "Masking", lead_head(params)]


def groups(params: Params) -> list[tuple[str, int]]:
    """What columns have in common, and how many there are of each."""
    known = len(params["through"]) + 1
    return [("", 2), ("Gray box", len(params["attacks"])), ("Through the defence", known), ("", 2)]


def lines_of(rows: Rows, epsilon: float, params: Params) -> list[list[str]]:
    """Lines of a budget, a defence each."""
    return [_line(matching(rows, defense=name), name, epsilon, params) for name in params["compared"]]


def _line(rows: Rows, name: str, epsilon: float, params: Params) -> list[str]:
    within, own = matching(rows, epsilon=epsilon), f"{ADAPTIVE}-{name}"
    shares = [matching(rows, setting="clean")]
    shares += [matching(within, setting=str(GRAY), attack=attack) for attack in params["attacks"]]
    shares += [matching(within, setting=own, attack=attack) for attack in (*params["through"], WORST)]
    differences = [matching(within, setting=setting) for setting in (MASKING, LEAD)]
    texts = [accuracy_text(found[0]) if found else NOTHING for found in shares]
    return [named(name, params), *texts, *(difference_text(one[0]) if one else NOTHING for one in differences)]


def chosen_lines(chosen: Sequence[Mapping[str, Any]], params: Params) -> list[list[str]]:
    """Lines of CHOSEN_HEADS: what was chosen on validation images for each tuned defence, and those that take it."""
    lines = []
    for found, takers in zip(chosen, params["takers"], strict=True):
        tried, value = found["values"], found["value"]
        accuracy = found["accuracies"][tried.index(value)]
        text = f"{value}" if found["within"] else f"{value}: even this may cost more than {found['loss']:g}"
        names, values = "; ".join(named(name, params) for name in takers), ", ".join(map(str, tried))
        cells = [names, found["option"], values, text, f"{accuracy:.3f}", f"{found['undefended']:.3f}"]
        lines.append([*cells, f"{found['n']:,}"])
    return lines


def chosen_text(chosen: Sequence[Mapping[str, Any]]) -> str:
    """What the lines of `chosen_lines` are."""
    losses = ", ".join(dict.fromkeys(f"{found['loss']:g}" for found in chosen))
    return (
        "Chosen on validation images: of the values tried (weakest first) the last that costs at most "
        f"{losses} of the clean accuracy, by the upper end of the one-sided 95 % interval of what it costs."
    )


def as_markdown(rows: Rows, chosen: Sequence[Mapping[str, Any]], params: Params) -> str:
    """The table in Markdown, a part per budget, and what was chosen for the tuned defences."""
    over = [text for text, count in groups(params) for _ in range(count)]
    names = [f"{group}: {head}" if group else head for group, head in zip(over, heads(params), strict=True)]
    lines = ["# Semantic reconstruction dictionaries", "", markdown(caption(rows, params))]
    for epsilon in params["epsilons"]:
        lines += ["", f"## Δ = {epsilon:g}", "", *markdown_table(names, lines_of(rows, epsilon, params))]
    if chosen:
        lines += ["", "## Chosen options", "", chosen_text(chosen), ""]
        lines += markdown_table(CHOSEN_HEADS, chosen_lines(chosen, params))
    return "\n".join(lines) + "\n"


def as_latex(rows: Rows, chosen: Sequence[Mapping[str, Any]], params: Params) -> str:
    """The table in LaTeX (booktabs), the budgets one below the other, and one of what was chosen."""
    names, lines = heads(params), []
    for place, epsilon in enumerate(params["epsilons"]):
        lines += ["\\midrule"] * (place > 0)
        lines.append(latex_line([latex_span(len(names), f"\\emph{{$\\Delta = {epsilon:g}$}}", "l")]))
        lines += [latex_line(map(latex, line)) for line in lines_of(rows, epsilon, params)]
    over = latex_line(latex_span(count, latex(text)) for text, count in groups(params))
    table = tabular("l" + "r" * (len(names) - 1), [over, latex_line(map(latex, names))], lines)
    text = f"{latex_comment(caption(rows, params))}\n{table}"
    if chosen:
        below = [latex_line(map(latex, line)) for line in chosen_lines(chosen, params)]
        text += f"\n{latex_comment(chosen_text(chosen))}\n{tabular('llllrrr', [latex_line(CHOSEN_HEADS)], below)}"
    return text


@dataclass(frozen=True, kw_only=True)
class DictionaryTable(Piece):
    """The table."""

    kind: str = TABLE

    def make(self, files: Files, params: Params) -> Made:
        answers = read_outcomes(files["predictions"], params["root"])
        through = read_outcomes(files.get("through", []), params["root"])
        rows = compare(outcomes_of(answers, params), outcomes_on(answers, through, params), params)
        chosen = [read_json(path) for path in files.get("tuned", [])]
        markdown, tex = as_markdown(rows, chosen, params), as_latex(rows, chosen, params)
        return Made(rows, COLUMNS, markdown=markdown, latex=tex)


PIECE = DictionaryTable(
    name="srd/table",
    called="SRD",
    category="Semantic dictionaries",
    title="Accuracy behind semantic reconstruction dictionaries and other purifiers",
    varies="defence, attack",
    shows="A part per budget, a row per defence; attacks that do not know of it beside those that go through it.",
    source="nndefense.report.dictionary_sources:table",
    under="attacks on the network and through each defence",
    settings=(),
)
