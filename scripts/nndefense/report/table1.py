"""Table 1: accuracy by database and weighting, on clean images and under gray-box and black-box attacks."""

from collections.abc import Mapping, Sequence
from typing import Any

from nndefense.report.names import SETTING_NAMES, thousands
from nndefense.report.select import Row, defended, distinct, matching, with_clean

NO_DEFENCE = "No defence"


def select_table1(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """The model without a defence, and every pool at its largest size under every weighting."""
    attack = {"attack": base["attack"], "epsilon": base["epsilon"], "space": base["space"]}
    ours = with_clean(defended(rows, base, "features", "neighbors", "combination"), **attack)
    largest = {pool: max(distinct(matching(ours, pool=pool), "size")) for pool in distinct(ours, "pool")}
    chosen = [row for row in ours if row["size"] == largest[row["pool"]]]
    return [*with_clean(matching(rows, defense="none"), **attack), *chosen]


def database_name(row: Row) -> str:
    """Name of a table row, e.g. Targeted-8k (conv_4_1)."""
    return NO_DEFENCE if row["defense"] == "none" else f"{row['pool']}-{thousands(row['size'])} ({row['features']})"


def layout(rows: Sequence[Row]) -> tuple[list[tuple[str, str]], dict[str, dict[tuple[str, str], Row]]]:
    """Columns (setting, weighting), and the cells of every table row by column."""
    weightings = [name for name in distinct(rows, "weighting") if name != "none"]
    columns = [(setting, weighting) for setting in distinct(rows, "setting") for weighting in weightings]
    cells: dict[str, dict[tuple[str, str], Row]] = {}
    for row in rows:
        # Without a defence there is nothing to weigh: the value stands in the first column of its setting.
        weighting = weightings[0] if row["weighting"] == "none" else row["weighting"]
        cells.setdefault(database_name(row), {})[row["setting"], weighting] = row
    return columns, cells


def best_cells(cells: Mapping[str, Mapping[tuple[str, str], Row]], columns: Sequence[tuple[str, str]]) -> set[int]:
    """Ids of the rows that have the highest accuracy within their column."""
    best = set()
    for column in columns:
        found = [row[column] for row in cells.values() if column in row and row[column]["defense"] != "none"]
        top = max((row["accuracy"] for row in found), default=None)
        best |= {id(row) for row in found if row["accuracy"] == top}
    return best


def caption(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """What the table shows, with n and what the intervals are."""
    row = rows[0]
    return (
        f"Accuracy on {row['dataset']} of {row['model']} with nearest-neighbour defences, K = {base['neighbors']}, "
        f"{base['combination']} combination. Attacked images: {base['attack'].upper()}, normalised l2 distance at most "
        f"{base['epsilon']:g} ({base['space']} pixels). n = {row['n']:,} images; in brackets the 95 % Wilson interval. "
        "Bold: the best defence of a column."
    )


def as_markdown(rows: Sequence[Row], base: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown, its caption, and the clean accuracy and origin of the models."""
    columns, cells = layout(rows)
    best = best_cells(cells, columns)
    lines = [
        "# Table 1",
        "",
        caption(rows, base),
        "",
        "| Database | " + " | ".join(f"{SETTING_NAMES[setting]} {weighting}" for setting, weighting in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in cells.items():
        texts = [_cell(row.get(column), best, "**{}**", "{:.3f} [{:.3f}, {:.3f}]") for column in columns]
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    lines += ["", "Models:", ""]
    for model in models:
        lines.append(
            f"- {model['name']} ({model['architecture']}): clean accuracy {model['accuracy']:.3f} "
            f"[{model['ci_low']:.3f}, {model['ci_high']:.3f}], n = {model['n']:,}; {_origin(model['provenance'])}"
        )
    return "\n".join(lines) + "\n"


def as_latex(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """The table in LaTeX (booktabs), in the shape of the paper's Table 1."""
    columns, cells = layout(rows)
    best = best_cells(cells, columns)
    settings = distinct([{"setting": setting} for setting, _ in columns], "setting")
    span = len(columns) // len(settings)
    heads = " & ".join(f"\\multicolumn{{{span}}}{{c}}{{{SETTING_NAMES[setting]}}}" for setting in settings)
    lines = [
        f"% {caption(rows, base)}",
        "\\begin{tabular}{l" + "r" * len(columns) + "}",
        "\\toprule",
        f" & {heads} \\\\",
        "Database & " + " & ".join(weighting for _, weighting in columns) + " \\\\",
        "\\midrule",
    ]
    for name, row in cells.items():
        texts = [_cell(row.get(column), best, "\\textbf{{{}}}", "{:.3f}") for column in columns]
        lines.append(" & ".join([name.replace("_", "\\_"), *texts]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _cell(row: Row | None, best: set[int], emphasis: str, pattern: str) -> str:
    if row is None:
        return ""
    text = pattern.format(row["accuracy"], row["ci_low"], row["ci_high"])
    return emphasis.format(text) if id(row) in best else text


def _origin(provenance: Mapping[str, Any]) -> str:
    if "trained_on" in provenance:
        return f"trained here on {provenance['images']:,} images of {provenance['trained_on']}"
    if "file" in provenance:
        return f"loaded from {provenance['file']} (SHA-256 {provenance['sha256'][:12]})"
    return f"published by {provenance['published_by']} as {provenance['weights']}"
