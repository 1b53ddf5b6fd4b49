"""Rows of an evaluation kind as a table: what a kind gets by being registered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.core.registry import load
from nndefense.evaluation.rows import AXES, collect_rows
from nndefense.report.grid import row_name
from nndefense.report.markup import latex, latex_comment, latex_line, markdown_table, tabular
from nndefense.report.names import Params, attack_name, setting_name
from nndefense.report.piece import TABLE, VOTE, Files, Made, Piece
from nndefense.report.select import Row, Rows, defended, largest, matching

BASE = ("features", "neighbors", *VOTE)


def select_kind(rows: Rows, params: Params) -> list[Row]:
    """Rows without a defence, and those of the base defence with every pool's largest database."""
    return [
        *matching(rows, defense=NO_DEFENSE),
        *largest(defended(rows, params, *BASE)),
        *(row for row in rows if row["defense"] not in (NO_DEFENSE, NEIGHBORS)),
    ]


def table_lines(rows: Rows, columns: list[str], params: Params) -> tuple[list[str], list[list[str]]]:
    """Heads, and a line per row: its defence, its images, what was measured."""
    measured = columns[len(AXES) :]
    lines = [
        [row_name(row, params), queries_text(row, params), *(_text(row[name]) for name in measured)] for row in rows
    ]
    return ["Defence", "Images", *(name.replace("_", " ") for name in measured)], lines


def queries_text(row: Mapping[str, Any], params: Params) -> str:
    """Clean, or PGD, gray box, 0.06 (raw01)."""
    if row["setting"] == "clean":
        return "Clean"
    attack, setting = attack_name(row["attack"], params), setting_name(row["setting"])
    return f"{attack}, {setting.lower()}, {row['epsilon']:g} ({row['space']})"


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class KindTable(Piece):
    """A table of the rows of an evaluation kind; its measured columns are those that the rows have."""

    kind: str = TABLE

    def make(self, files: Files, params: Params) -> Made:
        rows = select_kind(collect_rows(files["rows"], load(params["measured"]), params["facts"]), params)
        columns = list(rows[0]) if rows else list(AXES)
        heads, lines = table_lines(rows, columns, params)
        markdown = [f"# {self.title}", "", self.shows, "", *markdown_table(heads, lines)]
        body = [latex_line(map(latex, line)) for line in lines]
        table = tabular("ll" + "r" * (len(heads) - 2), [latex_line(map(latex, heads))], body)
        text = f"{latex_comment(f'{self.title}. {self.shows}')}\n{table}"
        return Made(rows, columns, markdown="\n".join(markdown) + "\n", latex=text)


def kind_piece(name: str, label: str) -> KindTable:
    """The table of an evaluation kind: its name and what it is called."""
    return KindTable(
        name=f"rows_{name}",
        called=label,
        category="Tables",
        title=label,
        varies="defence, images",
        shows="A row per defence and set of images; nearest neighbours with every pool's largest database.",
        source="nndefense.report.sources:evaluation",
        fixed=BASE,
    )
