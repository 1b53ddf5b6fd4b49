"""What approximate search costs in accuracy and saves in time, a row per index."""

from dataclasses import dataclass

from nndefense.report.grid import INTERVALS, accuracy_text
from nndefense.report.indexes import (
    COLUMNS,
    MARGIN,
    TIMES,
    bytes_text,
    difference_text,
    images_text,
    read_indexes,
    sentences,
)
from nndefense.report.markup import latex, latex_comment, latex_line, markdown, markdown_table, tabular
from nndefense.report.names import Params, thousands
from nndefense.report.piece import TABLE, VOTE, Files, Made, Piece
from nndefense.report.select import Rows, distinct, matching

EXACT_TEXT = "exact"


def caption(rows: Rows, params: Params) -> str:
    """What the table shows, with n."""
    row = rows[0]
    times = ", ".join(name.replace("_", " ") for name in TIMES)
    return (
        f"Search in {row['pool']}-{thousands(row['size'])} ({row['features']}) on {row['dataset']}, n = {row['n']:,} "
        f"images. Recall: share of the {row['neighbors']} nearest that an index finds, mean over images, with a 95 % "
        f"interval. Accuracy of the votes ({row['weighting']}, {row['combination']}); {INTERVALS}. Difference: from "
        "the exact search on the same images, with a 95 % interval (Agresti and Min 2005). It does not matter where "
        f"the interval lies within ±{MARGIN:g}, matters where it lies on one side of 0 and not within, and is "
        "undecided else. Bytes: on disk, of a vector and its share of all else. Build: training and adding. Speed: "
        "median of several searches of all images at once. Times are CPU seconds of one thread; they alone differ "
        f"from run to run and from machine to machine (in the CSV: {times})."
    )


def heads(rows: Rows, params: Params) -> list[str]:
    """Heads of the columns: those of every set of images, then those that all have in common."""
    found = ["Index"]
    for row in matching(rows, index=rows[0]["index"]):
        name = images_text(row, params)
        found += [f"{name}: recall@{row['neighbors']}", "accuracy", "difference", "matters"]
    return [*found, "Bytes", "Build, s", "Queries a s", "Speed-up"]


def lines_of(rows: Rows) -> list[list[str]]:
    """A line per index."""
    found, exact = [], rows[0]
    for name in distinct(rows, "index"):
        own, line = matching(rows, index=name), [name]
        for row in own:
            recall = f"{row['recall']:.3f} [{row['recall_low']:.3f}, {row['recall_high']:.3f}]"
            change = [difference_text(row), row["matters"]] if row["matters"] else ["–", "–"]
            line += [recall if row["matters"] else EXACT_TEXT, accuracy_text(row), *change]
        build = own[0]["train_seconds"] + own[0]["add_seconds"]
        speed = own[0]["queries_per_second"]
        line += [bytes_text(own[0]), f"{build:.2f}", f"{speed:,.0f}", f"{speed / exact['queries_per_second']:.1f}"]
        found.append(line)
    return found


def as_markdown(rows: Rows, params: Params) -> str:
    """The table in Markdown, and what it says of each index."""
    lines = ["# Search indexes", "", markdown(caption(rows, params)), ""]
    lines += markdown_table(heads(rows, params), lines_of(rows))
    lines += ["", *(f"- {markdown(text)}" for text in sentences(rows, params))]
    return "\n".join(lines) + "\n"


def as_latex(rows: Rows, params: Params) -> str:
    """The table in LaTeX (booktabs); what it says of each index as comments."""
    names = heads(rows, params)
    body = [latex_line(map(latex, line)) for line in lines_of(rows)]
    table = tabular("l" + "r" * (len(names) - 1), [latex_line(map(latex, names))], body)
    comments = map(latex_comment, [caption(rows, params), *sentences(rows, params)])
    return "\n".join([*comments, table])


@dataclass(frozen=True, kw_only=True)
class IndexReport(Piece):
    """The table."""

    kind: str = TABLE

    def make(self, files: Files, params: Params) -> Made:
        rows = read_indexes(files["measured"], params)
        return Made(rows, COLUMNS, markdown=as_markdown(rows, params), latex=as_latex(rows, params))


PIECE = IndexReport(
    name="index_report",
    called="Index report",
    category="Tables",
    title="What approximate search costs in accuracy and saves in time",
    varies="index",
    shows="A row per index: recall of the exact neighbours, accuracy of the votes, difference from the exact search on "
    "the same images, size and speed.",
    source="nndefense.report.index_sources:indexes",
    settings=("gray_box",),
    fixed=("epsilon", "features", "neighbors", *VOTE),
    uses=("pool",),
)
