"""The l-infinity comparison of networks: which rows it consists of, the names of its networks, the paper's values.

Zhao, Li & Cho 2018 ("Retrieval as a defense mechanism against adversarial examples in convolutional neural networks",
SysML), Table 1: a baseline network and retrieval-augmented ones (RA-CNN) with N = 5 and 10 retrieved images on SVHN.
The baseline is the network without a defence; `params["linf"]` holds its name, the defences compared with it, how many
images each retrieves, the attacks and their steps.
"""

from nndefense.axes.ball import LINF
from nndefense.axes.cells import NO_DEFENSE
from nndefense.core.errors import InputError
from nndefense.report.names import Params, defense_name
from nndefense.report.paper import paper_rows
from nndefense.report.select import Row, Rows, distinct, matching

SOURCE = "zhao_li_cho2018"
PAPER = "Paper (SVHN, its own networks)"
WHITE_BOX, TRANSFER = "white_box", "transfer"
PARTS = {WHITE_BOX: "White box", TRANSFER: "Transfer"}
CLEAN = ("none", 0.0)
BASELINE = "Baseline"
_PAPER_ATTACKS = {"clean": "none", "FGSM_linf": "fgsm", "iFGSM_linf": "ifgsm"}

Column = tuple[str, float]


def select_linf(rows: Rows, params: Params) -> list[Row]:
    """Rows of the compared networks, clean or within an l-infinity ball, those of the baseline first.

    `neighbors` becomes the number of images that the network retrieves itself. Raises InputError without the baseline.
    """
    linf = params["linf"]
    found: list[Row] = []
    for defense in (NO_DEFENSE, *linf["defenses"]):
        ours = [row for row in matching(rows, defense=defense) if row["space"] in ("none", str(LINF))]
        found += [{**row, "neighbors": linf["retrieved"].get(defense, 0)} for row in ours]
    if not matching(found, defense=NO_DEFENSE):
        raise InputError("accuracy rows: none is of the network without a defence within an l-infinity ball")
    return found


def in_part(rows: Rows, part: str) -> list[Row]:
    """Attacked rows of a part: by the gradients of the network itself, or of the baseline, which is in both."""

    def wanted(row: Row) -> str:
        own = part == WHITE_BOX and row["defense"] != NO_DEFENSE
        return f"gray_box-{row['defense']}" if own else "gray_box"

    return [row for row in rows if row["setting"] == wanted(row)]


def network_name(row: Row, params: Params, retrieved: str = "N") -> str:
    """Baseline (resnet20), RA-CNN, N = 5 (racnn_5), or the label of another network.

    retrieved: letter of the number of retrieved images; the paper's is N.
    """
    if row["defense"] == NO_DEFENSE:
        return f"{BASELINE} ({params['linf']['baseline']})"
    if row["neighbors"]:
        return f"{_retrieval_name(row['neighbors'], retrieved)} ({row['defense']})"
    return defense_name(row["defense"], params)


def column_of(row: Row) -> Column:
    """Attack and budget; ("none", 0.0) for the clean images."""
    return row["attack"], row["epsilon"]


def block(rows: Rows, part: str, params: Params) -> dict[str, dict[Column, Row]]:
    """Cells of one part and of the clean images: name of the network -> column -> row."""
    shown = [*matching(rows, setting="clean"), *in_part(rows, part)]
    return {
        network_name(matching(shown, defense=name)[0], params): {
            column_of(row): row for row in matching(shown, defense=name)
        }
        for name in distinct(shown, "defense")
    }


def paper_block() -> dict[str, dict[Column, float]]:
    """The paper's accuracies: name of the network -> column -> value."""
    cells: dict[str, dict[Column, float]] = {}
    for row in paper_rows(1, SOURCE):
        _, _, neighbors = row["defense"].partition("retrieval_N")
        name = _retrieval_name(int(neighbors)) if neighbors else BASELINE
        cells.setdefault(name, {})[_PAPER_ATTACKS[row["setting"]], row["epsilon"]] = row["value"]
    return cells


def paper_value(row: Row) -> float | None:
    """The paper's accuracy of the network of the same kind under the same attack; None where it has none."""
    name = BASELINE if row["defense"] == NO_DEFENSE else _retrieval_name(row["neighbors"])
    return paper_block().get(name, {}).get(column_of(row))


def _retrieval_name(neighbors: int, letter: str = "N") -> str:
    return f"RA-CNN, {letter} = {neighbors}"
