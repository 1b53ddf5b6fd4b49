"""The paper's figures and tables: what each shows, what varies in it, and what the paper's own shows.

Imported while Snakemake parses the workflow, so it imports nothing heavy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nndefense.report.names import SETTING_NAMES, attack_name

TABLES = ("table1", "table2", "table3", "table4")
BOTH = ("gray_box", "black_box")
ALL = ("clean", *BOTH)
VOTE = ("weighting", "combination")
BANDS = "Bands: 95 % Wilson intervals."
AWARE = "aware"
BARE = "Dotted: without a defence."
ABOUT_K = f"A line per number of neighbours K; solid: the larger database, dashed: the smaller one. {BARE}"
ABOUT_N = "A line per budget Δ and pool of images; hollow, at the left: without a defence."
ABOUT_LAYER = f"A line per layer that neighbours are compared by; the later a layer, the darker. {BARE}"


@dataclass(frozen=True)
class Piece:
    """A figure or a table.

    Attributes:
        name: of its files, e.g. fig5. category: in the report.
        title: what it shows. varies: the axes in it. shows: how to read it.
        paper: what the paper's own figure or table is of (Dubey et al. 2019, captions).
        attack: of its attacked images; None: the base attack, "": there are none, AWARE: also those that know of the
            defence.
        settings: threat models in it. fixed: axes held at their base values.
    """

    name: str
    category: str
    title: str
    varies: str
    shows: str
    paper: str
    attack: str | None = None
    settings: tuple[str, ...] = BOTH
    fixed: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """fig5 -> Figure 5; claims -> Claims."""
        kind = self.name.rstrip("0123456789")
        number = self.name[len(kind) :]
        return f"{'Figure' if kind == 'fig' else kind.capitalize()} {number}".strip()


def _by_k(name: str, category: str, attack: str | None, paper: str) -> Piece:
    title = "Accuracy by number of neighbours K and database size, against the budget"
    paper = f"{paper}, black box, conv_5_1, CBW-D; IG-1B-Targeted (solid lines), IG-100M-Targeted (dashed lines)"
    return Piece(name, category, title, "K, N, budget Δ", f"{ABOUT_K} {BANDS}", paper, attack, ("black_box",),
                 ("features", *VOTE))  # fmt: skip


def _by_layer(name: str, category: str, attack: str | None, paper: str) -> Piece:
    title = "Accuracy by feature layer, against the budget"
    paper = f"{paper}, four layers of a ResNet-50, CBW-D; IG-1B-Targeted"
    return Piece(name, category, title, "layer, budget Δ", f"{ABOUT_LAYER} {BANDS}", paper, attack, BOTH,
                 ("neighbors", *VOTE))  # fmt: skip


def _by_size(name: str, category: str, attack: str | None, paper: str) -> Piece:
    title = "Accuracy against the number of database images N"
    paper = f"{paper}, CBW-D; IG-N-Targeted (solid lines) and IG-N-All (dashed lines)"
    return Piece(name, category, title, "N, pool, budget Δ", f"{ABOUT_N} {BANDS}", paper, attack, BOTH,
                 ("features", "neighbors", *VOTE))  # fmt: skip


_PIECES = (
    Piece(
        "fig2", "Figures", "A test image, clean and attacked, and its nearest database images", "budget Δ",
        "Left the query, beside it its nearest database images, each below the class that the model gives it (bold: "
        "the true class) and above its confidence weight w and its distance d. One image, the first whose class the "
        "largest budget changes, if there is one: an illustration, no evidence.",
        "five neighbours in YFCC-100M by conv_5_1 features, clean and under PGD with Δ = 0.04 and 0.08",
        fixed=("features", "weighting"),
    ),
    _by_k("fig3", "Figures", None, "PGD"),
    _by_layer("fig4", "Figures", None, "PGD"),
    _by_size("fig5", "Figures", None, "PGD"),
    Piece(
        "fig6", "Figures", "Attacks that know of the defence", "attack, attacker's database, budget Δ",
        f"(a) the attacker has the defence's own database; (b) its first images only; (c) as many images, a share of "
        f"them in common. {BARE} {BANDS}",
        "(a) PGD, PGD-PR and PGD-FS with IG-1B-Targeted; (b), (c) PGD-FS with databases of up to 500 million images "
        "against IG-500M-Targeted",
        attack=AWARE, settings=("white_box",), fixed=("features", "neighbors", *VOTE),
    ),
    _by_k("fig7", "Appendix", "fgsm", "FGSM"),
    _by_k("fig8", "Appendix", "cw", "CW-L2"),
    _by_size("fig9", "Appendix", "fgsm", "FGSM"),
    _by_size("fig10", "Appendix", "cw", "CW-L2"),
    _by_layer("fig11", "Appendix", "fgsm", "FGSM"),
    _by_layer("fig12", "Appendix", "cw", "CW-L2"),
    Piece(
        "table1", "Tables", "Accuracy by database and weighting of the neighbours", "database, weighting",
        "A row per database at its largest size, a column per threat model and weighting.",
        "PGD with Δ = 0.06, K = 50; IG-50B-All (conv_5_1-RMAC), IG-1B-Targeted and IN-1.3M, whose values stand below "
        "ours",
        settings=ALL, fixed=("epsilon", "neighbors", "combination"),
    ),
    Piece(
        "table2", "Tables", "Accuracy of the defences side by side", "defence",
        "A row per defence, a column per threat model, the paper's counterpart beside it.",
        "PGD with Δ = 0.06; eleven rows, whose values stand beside ours (RA-CNN there is of a ResNet-18)",
        settings=ALL, fixed=("epsilon", "neighbors", *VOTE),
    ),
    Piece(
        "table3", "Tables", "Sizes of the features before and after pooling and PCA", "layer",
        "Sizes of one image's features, measured in a forward pass.",
        "four layers of a ResNet-50 at 224 pixels, PCA to 256 dimensions",
        attack="", settings=(),
    ),
    Piece(
        "table4", "Tables", "Soft against hard votes", "database, combination, weighting",
        "A row per database at its largest size; soft: neighbours' probabilities are averaged, hard: their classes "
        "vote.",
        "PGD with Δ = 0.06, K = 50; the databases of its Table 1, whose values stand below ours",
        settings=ALL, fixed=("epsilon", "neighbors"),
    ),
    Piece(
        "claims", "Claims", "Every claim of the paper that this run can test", "claim",
        "Claims by table and figure; effects with their 95 % intervals by paired bootstrap over the test images.",
        "the text of §5.2, §5.3, §6.2 and appendices C and D",
    ),
)  # fmt: skip
PIECES: dict[str, Piece] = {piece.name: piece for piece in _PIECES}


def attack_text(piece: Piece, base_attack: str, settings: Sequence[str]) -> str:
    """Attack and configured threat models of a piece, e.g. PGD, gray and black box; empty without any attack."""
    if piece.attack == "":
        return ""
    if piece.name == "claims":
        return "all"
    attacked = [one for one in piece.settings if one in settings or one == "white_box"]
    names = [SETTING_NAMES[one].lower() for one in (attacked[:1] if piece.name == "fig2" else attacked)]
    joined = " and ".join(names).replace(" box and ", " and ")
    name = attack_name(piece.attack or base_attack)
    if piece.attack == AWARE:
        name = f"{attack_name(base_attack)} and attacks that know of the defence"
    return ", ".join(text for text in (name, joined) if text)


def labels(piece: Piece, kind: str, base_attack: str, settings: Sequence[str]) -> dict[str, str]:
    """What the report lists a file by; kind: its suffix.

    Snakemake's page turns a label with two values, each of half of a category's files, into a switch if it is the only
    such label; the switch breaks the page in browsers of before 2025, and in all where a piece lacks a file for one of
    its values. `shown` and `file` go together, so they are two such labels or none, and there is never a switch.
    """
    # A figure space sorts before digits: Figure 7 stands before Figure 10.
    kind_name, _, number = piece.heading.rpartition(" ")
    heading = f"{kind_name} {number:\u2007>2}" if number.isdigit() else piece.heading
    return {
        "what": heading,
        "varies": piece.varies,
        "attack and setting": attack_text(piece, base_attack, settings) or "none",
        "shown": {"csv": "rows", "html": "page"}.get(kind, "figure"),
        "file": kind.upper(),
    }


def held_fixed(piece: Piece, base: Mapping[str, Any]) -> str:
    """The base values that a piece holds fixed, e.g. conv_4_1, K = 50, CBW-D, soft combination."""
    words = {
        "epsilon": f"Δ = {base['epsilon']:g} on {base['space']} pixels",
        "features": f"{base['features']} features",
        "neighbors": f"K = {base['neighbors']}",
        "weighting": base["weighting"],
        "combination": f"{base['combination']} combination",
    }
    return ", ".join(words[axis] for axis in piece.fixed)
