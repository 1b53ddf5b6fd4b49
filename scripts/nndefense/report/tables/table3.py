"""Table 3: sizes of the feature maps, before and after pooling, and after PCA, beside the paper's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.report.markup import Marked, latex, latex_line, markdown, markdown_table, tabular
from nndefense.report.names import Params
from nndefense.report.paper import paper_rows
from nndefense.report.piece import TABLE, Files, Made, Piece

SIZES = ("channels", "height", "width", "pooled_channels", "pooled_height", "pooled_width", "pca_dim")
COLUMNS = ("source", "layer", *SIZES)
HEADS = ("Network", "Layer", "Uncompressed size", "Pooled size", "After PCA")
PAPER_SOURCE = "the paper (ResNet-50, 224 px)"


def paper_sizes() -> list[dict[str, Any]]:
    """The paper's Table 3, as rows of COLUMNS."""
    layers: dict[str, dict[str, Any]] = {}
    for row in paper_rows(3):
        name = row["setting"].removeprefix("uncompressed_")
        layers.setdefault(row["features"], {"source": PAPER_SOURCE, "layer": row["features"]})[name] = int(row["value"])
    return list(layers.values())


def table3_rows(measured: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Measured sizes, then the paper's: rows of COLUMNS.

    measured: mappings with the keys of COLUMNS; `source` names network and image size; `pca_dim` None: not reduced.
    Raises InputError for missing sizes.
    """
    rows = []
    for row in measured:
        if missing := [name for name in COLUMNS if name not in row]:
            raise InputError(f"table 3: a measured layer lacks {', '.join(missing)}")
        rows.append({name: "" if row[name] is None else row[name] for name in COLUMNS})
    return [*rows, *paper_sizes()]


def differences(rows: Sequence[Mapping[str, Any]], source: str) -> list[str]:
    """Sentences on sizes in which the network `source` differs from the paper's for a layer of the same name."""
    paper = {row["layer"]: row for row in paper_sizes()}
    return [
        f"{row['layer']}: {name} is {row[name]}, the paper has {paper[row['layer']][name]}"
        for row in rows
        if row["source"] == source and row["layer"] in paper
        for name in SIZES
        if row[name] != "" and row[name] != paper[row["layer"]][name]
    ]


def as_markdown(rows: Sequence[Mapping[str, Any]], reference: str | None) -> str:
    """The table in Markdown; `reference`: the source that should have the paper's sizes, if it was measured."""
    lines = ["# Table 3", "", "Sizes of one image's features (channels × height × width), measured in a forward pass."]
    if reference is not None:
        wrong = differences(rows, reference)
        lines[-1] += f" {markdown(reference)}: " + ("; ".join(wrong) if wrong else "every size is the paper's") + "."
    lines += ["", *markdown_table(HEADS, [_texts(row, "×", "*{}*") for row in rows])]
    return "\n".join(lines) + "\n"


def as_latex(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table in LaTeX (booktabs), in the shape of the paper's Table 3."""
    lines = []
    for row in rows:
        texts = [latex(text).replace("×", "$\\times$") for text in _texts(row, "×", "{}")]
        lines.append(latex_line(f"\\emph{{{text}}}" if _papers(row) else text for text in texts))
    return tabular("lllll", [latex_line(HEADS)], lines)


def _texts(row: Mapping[str, Any], times: str, papers: str) -> list[str]:
    full = f" {times} ".join(str(row[name]) for name in SIZES[:3])
    pooled = f" {times} ".join(str(row[name]) for name in SIZES[3:6])
    texts = [row["source"], row["layer"], full, pooled, str(row["pca_dim"])]
    return [Marked(papers.format(text)) for text in texts] if _papers(row) else texts


def _papers(row: Mapping[str, Any]) -> bool:
    return row["source"] == PAPER_SOURCE


@dataclass(frozen=True, kw_only=True)
class SizesTable(Piece):
    """A table of measured sizes."""

    kind: str = TABLE

    def make(self, files: Files, params: Params) -> Made:
        measured = read_json(files["sizes"][0])
        rows = table3_rows(measured["layers"])
        return Made(rows, COLUMNS, markdown=as_markdown(rows, measured["reference"]), latex=as_latex(rows))


PIECE = SizesTable(
    name="table3",
    category="Tables",
    title="Sizes of the features before and after pooling and PCA",
    varies="layer",
    shows="Sizes of one image's features, measured in a forward pass.",
    paper="four layers of a ResNet-50 at 224 pixels, PCA to 256 dimensions",
    source="nndefense.report.sources:layer_sizes",
    attack="",
    settings=(),
)
