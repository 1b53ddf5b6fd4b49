"""Table 1 of Zhao, Li & Cho 2018: networks under FGSM and iterative FGSM by budget, white box and transfer."""

from collections.abc import Mapping, Sequence
from typing import Any

from nndefense.report.accuracy_grid import INTERVALS, accuracy_text, markdown_table
from nndefense.report.claims_racnn import CLAIMS
from nndefense.report.linf import CLEAN, PAPER, SETTINGS, Column, block, paper_block, paper_value
from nndefense.report.names import attack_name
from nndefense.report.select import Row, distinct
from nndefense.report.verdicts import READING, headlines, verdict_lines

# Of an accuracy row, those that vary or are measured here; the distance is the largest change of a pixel.
KEPT = ("dataset", "seed", "model", "neighbors", "attack", "setting", "space", "epsilon", "delta_mean", "delta_max")
COLUMNS = (*KEPT, "accuracy", "ci_low", "ci_high", "n", "paper")

Base = Mapping[str, Any]


def table_rows(rows: Sequence[Row], base: Base) -> list[dict[str, Any]]:
    """Rows of COLUMNS: ours with the paper's value of the network of the same kind beside it, empty without one."""
    found = []
    for row in rows:
        value = paper_value(row, base)
        found.append({name: row[name] for name in COLUMNS[:-1]} | {"paper": "" if value is None else value})
    return found


def caption(rows: Sequence[Row], base: Base) -> str:
    """What the table shows, how the images were attacked, and what the paper leaves open."""
    row = rows[0]
    step = "one step" if base["steps"] == 1 else f"{base['steps']} steps of ε/{base['steps']}"
    return (
        f"Accuracy on {row['dataset']} under attacks that change no pixel by more than ε, pixels in [0, 1]: "
        f"FGSM, one step of ε, and I-FGSM, {step}, both clipped to [0, 1]. White box: gradients of the network itself, "
        "with the images that it retrieves held constant in the gradient. Transfer: images attacked through the "
        f"baseline {base['baseline']}, so that row is the same in both. n = {row['n']:,} images; {INTERVALS}. Bold: "
        "the best of a column. Rows below the line that names the paper are Table 1 of Zhao, Li & Cho (SysML 2018), "
        "on SVHN with its own networks; it has one value per cell, calls the setting white box, and does not say "
        "whose gradients it used nor how many steps I-FGSM took, so its values stand in both parts."
    )


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """Clean, then every attack's budgets, ascending."""
    attacks = [attack for attack in distinct(rows, "attack") if attack != "none"]
    budgets = sorted({row["epsilon"] for row in rows} - {0.0})
    return [CLEAN, *((attack, epsilon) for attack in attacks for epsilon in budgets)]


def best_of(cells: Mapping[str, Mapping[Column, Row]], columns: Sequence[Column]) -> dict[Column, float]:
    """The highest accuracy of every column."""
    return {column: max(row[column]["accuracy"] for row in cells.values() if column in row) for column in columns}


def as_markdown(rows: Sequence[Row], judged: Sequence[Mapping[str, Any]], base: Base) -> str:
    """The table in Markdown, a part per setting and attack, and the verdicts on the paper's claims below it."""
    columns = columns_of(rows)
    lines = ["# Table 1 of the RA-CNN abstract", "", caption(rows, base)]
    for setting, title in SETTINGS.items():
        cells = block(rows, setting, base)
        for attack in dict.fromkeys(attack for attack, _ in columns[1:]):
            shown = [CLEAN, *(column for column in columns if column[0] == attack)]
            lines += ["", f"## {title}, {attack_name(attack)}", "", *_part(cells, shown)]
    entries = headlines(judged)
    about = f"{READING} {base['resamples']:,} resamples of the images; claims_racnn.csv has every comparison."
    lines += ["", "## Claims of the paper", "", about, "", *verdict_lines(entries, CLAIMS)]
    return "\n".join(lines) + "\n"


def as_latex(rows: Sequence[Row], base: Base) -> str:
    """The table in LaTeX (booktabs): a row per network, a block per setting, the paper's rows last."""
    columns = columns_of(rows)
    lines = [f"% {caption(rows, base)}", "\\begin{tabular}{l" + "r" * len(columns) + "}", "\\toprule"]
    attacks = list(dict.fromkeys(attack for attack, _ in columns[1:]))
    spans = [(name, sum(attack == name for attack, _ in columns)) for name in attacks]
    heads = " & ".join(f"\\multicolumn{{{span}}}{{c}}{{{attack_name(name)}}}" for name, span in spans)
    lines += [f" & & {heads} \\\\", f"Network & Clean & {' & '.join(f'{e:g}' for _, e in columns[1:])} \\\\"]
    for setting, title in SETTINGS.items():
        cells = block(rows, setting, base)
        best = best_of(cells, columns)
        lines += ["\\midrule", f"\\multicolumn{{{1 + len(columns)}}}{{l}}{{\\emph{{{title}}}}} \\\\"]
        for name, row in cells.items():
            shown = [f"{row[column]['accuracy']:.3f}" if column in row else "" for column in columns]
            marked = [column in row and row[column]["accuracy"] == best[column] for column in columns]
            texts = [f"\\textbf{{{text}}}" if mark else text for text, mark in zip(shown, marked, strict=True)]
            lines.append(" & ".join([_escaped(name), *texts]) + " \\\\")
    lines += ["\\midrule", f"\\multicolumn{{{1 + len(columns)}}}{{l}}{{\\emph{{{PAPER}}}}} \\\\"]
    for name, values in paper_block().items():
        texts = [f"{values[column]:.4f}" if column in values else "" for column in columns]
        lines.append(" & ".join([name, *texts]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _part(cells: Mapping[str, Mapping[Column, Row]], columns: Sequence[Column]) -> list[str]:
    best = best_of(cells, columns)
    heads = ["Network", "Clean", *(f"ε = {epsilon:g}" for _, epsilon in columns[1:])]
    lines = []
    for name, row in cells.items():
        texts = [accuracy_text(row[column]) if column in row else "" for column in columns]
        marked = [column in row and row[column]["accuracy"] == best[column] for column in columns]
        lines.append([name, *(f"**{text}**" if mark else text for text, mark in zip(texts, marked, strict=True))])
    lines.append([f"*{PAPER}:*", *[""] * len(columns)])
    for name, values in paper_block().items():
        texts = [f"*{values[column]:.4f}*" if column in values else "" for column in columns]
        lines.append([f"*{name}*", *texts])
    return markdown_table(heads, lines)


def _escaped(text: str) -> str:
    return text.replace("_", "\\_")
