"""The paper's own numbers (Dubey et al. 2019, Tables 1 to 4), which stand beside ours, marked as the paper's.

They are of ImageNet, a ResNet-50 and databases of up to 50 billion images: not to be compared value by value.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nndefense.axes.cells import NEIGHBORS
from nndefense.core.errors import FileFault
from nndefense.features.names import is_rmac

FILE = Path(__file__).with_name("paper_tables.csv")
SOURCE = "dubey2019"
PAPER = "Paper (ImageNet, ResNet-50)"
# The paper's defences: what tables call them, and our kind of the same where it has another name.
NAMES = {
    "no_defense": "No defence",
    "crop_ensemble": "Crop ensemble",
    "tv_minimization": "TV minimisation",
    "image_quilting": "Image quilting",
    "ensemble_adv_training": "Ensemble adversarial training",
    "alp": "ALP",
    "ra_cnn_resnet18": "RA-CNN (ResNet-18)",
}
KINDS = {
    "no_defense": "none",
    "ensemble_adv_training": "ensemble_training",
    "alp": "logit_pairing",
    "ra_cnn_resnet18": "racnn",
}

# The paper's database of the same kind, by our pool and whether R-MAC features are used.
COUNTERPARTS = {
    ("Targeted", False): "IG-1B-Targeted",
    ("All", False): "YFCC-100M",
    ("All", True): "IG-50B-All",
    ("Train", False): "IN-1.3M",
}


def paper_rows(table: int, source: str = SOURCE) -> list[dict[str, Any]]:
    """Rows of one of the paper's tables; `epsilon` (None in Table 3) and `value` are numbers.

    Columns: source, table, database, features, setting, combination, weighting, defense, epsilon, value.
    Raises FileFault if the package's data file is absent or damaged.
    """
    try:
        with open(FILE, encoding="utf-8", newline="") as handle:
            found = [row for row in csv.DictReader(handle) if (row["source"], row["table"]) == (source, str(table))]
        return [
            row | {"epsilon": float(row["epsilon"]) if row["epsilon"] else None, "value": float(row["value"])}
            for row in found
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileFault(f"{FILE}: cannot be read ({error}); install nndefense again") from error


def paper_name(row: Mapping[str, Any]) -> str:
    """Name of a row of the paper: its database and features, or its defence."""
    if row["database"]:
        return f"{row['database']} ({row['features']})"
    return NAMES.get(row["defense"], row["defense"])


def paper_cells(table: int, axes: Sequence[str]) -> dict[str, dict[tuple[str, ...], float]]:
    """Accuracies of a table: name of the row -> values of `axes` -> accuracy."""
    cells: dict[str, dict[tuple[str, ...], float]] = {}
    for row in paper_rows(table):
        cells.setdefault(paper_name(row), {})[tuple(row[axis] for axis in axes)] = row["value"]
    return cells


def counterpart(row: Mapping[str, Any], kind: str) -> str | None:
    """Name of the paper's Table 2 row of the same kind as an accuracy row; None where it has none.

    kind: of the row's defence, a key of `nndefense.defenses.DEFENSES`.
    """
    names = {paper_name(other): KINDS.get(other["defense"], other["defense"]) for other in paper_rows(2)}
    if kind == NEIGHBORS:
        database = COUNTERPARTS.get((row["pool"], is_rmac(row["features"])))
        return next((name for name in names if database and name.startswith(f"{database} (")), None)
    return next((name for name, other in names.items() if other == kind), None)
