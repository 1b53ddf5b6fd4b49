"""The table of semantic reconstruction dictionaries: its rows, how it is written, and what it is made from."""

import numpy as np
import pytest

from nndefense.axes.cells import System
from nndefense.axes.queries import CLEAN, Pack, QuerySet
from nndefense.config import load_config
from nndefense.core.errors import InputError
from nndefense.core.files import write_json
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.outcomes import write_predictions
from nndefense.report.pieces import load_piece
from nndefense.report.select import matching, only

from .config_cases import SMALL, changed

# -- the table. Images 0 to N - 1 are in another order than those that are attacked through the defences.

N = 40
ROWS = np.random.default_rng(3).permutation(N) + 100
FEWER = np.array([107, 101, 103, 100, 105, 109, 102, 104])
EPSILONS = (0.02, 0.06)
PARAMS = {
    "attack": "pgd", "space": "raw01", "attacks": ["fgsm", "pgd"], "through": ["bpda", "unrolled"], "dataset": "shapes",
    "model": "small", "seed": 1, "resamples": 2000, "reference": "srd", "compared": ["none", "jpeg", "srd"],
    "epsilons": list(EPSILONS), "foreign": [], "tuned": ["jpeg", "srd"], "takers": [["jpeg"], ["whole", "srd"]],
    "attack_labels": {"fgsm": "FGSM", "pgd": "PGD", "bpda": "BPDA", "unrolled": "Unrolled"},
    "defense_labels": {"none": "Bare", "jpeg": "JPEG", "srd": "S & R", "whole": "Whole"},
}  # fmt: skip
ALL, EVEN = set(range(100, 100 + N)), set(range(100, 100 + N, 2))
# Ids of images that are right, clean and at the larger budget; all where nothing stands. At the smaller one half are.
RIGHT = {
    ("none", "gray_box", "pgd"): set(),
    ("none", "adaptive-none", "bpda"): set(),
    ("jpeg", "gray_box", "pgd"): {101, 102, 103, 104, 105, *range(110, 115)},
    ("jpeg", "adaptive-jpeg", "bpda"): {101, 105},
    ("srd", "clean", "none"): ALL - {100, 107, 130, 131},
    ("srd", "gray_box", "fgsm"): set(range(120, 140)),
    ("srd", "gray_box", "pgd"): {101, 103, 105, 107, *range(110, 130)},
    ("srd", "adaptive-srd", "bpda"): {101, 103, 104},
    ("srd", "adaptive-srd", "unrolled"): {103, 104, 109},
}
NAMES = {
    "none": ["clean", "raw01/gray_box/fgsm", "raw01/gray_box/pgd", "raw01/adaptive-none/bpda"],
    "jpeg": ["clean", "raw01/gray_box/fgsm", "raw01/gray_box/pgd", "raw01/adaptive-jpeg/bpda"],
    "srd": ["clean", "raw01/gray_box/fgsm", "raw01/gray_box/pgd", "raw01/adaptive-srd/bpda",
            "raw01/adaptive-srd/unrolled"],
}  # fmt: skip
CHOSEN = {
    "jpeg": ("quality", [90, 50], [0.93, 0.91], 50, True),
    "srd": ("sparsity", [0.1, 0.2], [0.8, 0.7], 0.1, False),
}


def right_ids(defense: str, queries: QuerySet) -> set[int]:
    setting = str(queries.threat) if queries.threat else "clean"
    return EVEN if queries.epsilon == EPSILONS[0] else RIGHT.get((defense, setting, queries.attack), ALL)


@pytest.fixture
def files(tmp_path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"predictions": [], "through": [], "tuned": []}
    for defense, names in NAMES.items():
        for name in names:
            pack = CLEAN if name == "clean" else Pack.parse(f"{name}/eps-0.02,0.06")
            rows = FEWER if "adaptive" in name else ROWS
            answers = {
                (queries, System.plain(defense)): np.where(np.isin(rows, list(right_ids(defense, queries))), 3, 2)
                for queries in pack
            }
            path = tmp_path / defense / f"{pack}.npz"
            write_predictions(path, np.full(len(rows), 3), rows, answers, {one: np.zeros(len(rows)) for one in pack})
            found["through" if "adaptive" in name else "predictions"].append(str(path))
    for defense, (option, values, accuracies, value, within) in CHOSEN.items():
        chosen = {"option": option, "values": values, "accuracies": accuracies, "value": value, "within": within}
        write_json(tmp_path / f"{defense}.json", chosen | {"undefended": 0.95, "n": 200, "loss": 0.05})
        found["tuned"].append(str(tmp_path / f"{defense}.json"))
    return found


@pytest.fixture
def made(files, tmp_path):
    return load_piece("srd/table").make(files, PARAMS | {"root": str(tmp_path)})


def test_shares_are_counts_of_right_images(made):
    wanted = {
        ("srd", "clean", "none", 0.0): (36, N),
        ("srd", "gray_box", "fgsm", 0.06): (20, N),
        ("srd", "gray_box", "pgd", 0.06): (24, N),
        ("srd", "gray_box", "pgd", 0.02): (20, N),
        ("srd", "adaptive-srd", "bpda", 0.06): (3, 8),
        ("srd", "adaptive-srd", "unrolled", 0.06): (3, 8),
        # Right under both: 103 and 104 alone.
        ("srd", "adaptive-srd", "worst", 0.06): (2, 8),
        ("jpeg", "adaptive-jpeg", "worst", 0.06): (2, 8),
        ("none", "gray_box", "pgd", 0.06): (0, N),
    }
    for (defense, setting, attack, epsilon), (count, n) in wanted.items():
        row = only(made.rows, defense=defense, setting=setting, attack=attack, epsilon=epsilon)
        assert row["n"] == n
        assert (row["accuracy"], row["ci_low"], row["ci_high"]) == pytest.approx(
            (count / n, *wilson_interval(count, n)), abs=1e-9
        )
    assert made.columns == tuple(made.rows[0])
    assert len(matching(made.rows, setting="clean")) == 3
    assert not matching(made.rows, defense="jpeg", attack="unrolled")
    told = [(row["defense"], row["setting"], row["attack"], row["epsilon"]) for row in made.rows]
    assert len(set(told)) == len(told)


def test_masking_is_what_is_lost_on_the_images_that_were_attacked_through_the_defence(made):
    # Of the eight, 101, 103, 105 and 107 are right in the gray box; 103 and 104 under both attacks.
    row = only(made.rows, defense="srd", setting="masking", epsilon=0.06)
    assert (row["accuracy"], row["n"]) == (0.25, 8)
    draws = np.random.default_rng(0).multinomial(8, [3 / 8, 1 / 8, 4 / 8], size=20000)
    expected = np.quantile((draws[:, 0] - draws[:, 1]) / 8, [0.025, 0.975])
    # A difference moves in steps of 1/n; quantiles of two runs may be a step apart.
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(list(expected), abs=1 / 8 + 1e-9)
    # 101 to 105 are right in the gray box, 101 and 105 under the attack.
    assert only(made.rows, defense="jpeg", setting="masking", epsilon=0.06)["accuracy"] == pytest.approx(3 / 8)
    # Where the same images are right in both, an interval of paired differences has no width.
    row = only(made.rows, defense="srd", setting="masking", epsilon=0.02)
    assert (row["accuracy"], row["ci_low"], row["ci_high"]) == (0, 0, 0)


def test_the_reference_leads_on_all_images(made):
    rows = matching(made.rows, setting="reference_lead", epsilon=0.06)
    assert {row["defense"]: (row["accuracy"], row["n"]) for row in rows} == {"none": (0.6, N), "jpeg": (0.35, N)}
    row = only(rows, defense="jpeg")
    # Right with the reference alone: 107 and 115 to 129; with JPEG alone: 102 and 104.
    draws = np.random.default_rng(0).multinomial(N, [16 / N, 2 / N, 22 / N], size=20000)
    expected = np.quantile((draws[:, 0] - draws[:, 1]) / N, [0.025, 0.975])
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(list(expected), abs=1 / N + 1e-9)


def cells(text: str, name: str, epsilon: float) -> list[str]:
    part = text.partition(f"## Δ = {epsilon:g}\n")[2].partition("\n## ")[0]
    (line,) = [line for line in part.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_table_has_a_part_per_budget_and_a_row_per_defence(made):
    text = made.markdown
    assert "n = 40 images" in text
    assert "n = 8 of the images" in text
    heads = ["Clean", "Gray box: FGSM", "Gray box: PGD", "Through the defence: BPDA", "Through the defence: Unrolled",
             "Through the defence: Adaptive", "Masking", "S & R minus this"]  # fmt: skip
    assert cells(text, "Defence", 0.02) == cells(text, "Defence", 0.06) == heads
    assert cells(text, "S & R", 0.06) == [
        "0.900 [0.769, 0.960]", "0.500 [0.352, 0.648]", "0.600 [0.446, 0.737]", "0.375 [0.137, 0.694]",
        "0.375 [0.137, 0.694]", "0.250 [0.071, 0.591]", "+0.250 [-0.250, +0.750]", "–",
    ]  # fmt: skip
    assert cells(text, "JPEG", 0.06)[4] == "–"
    assert cells(text, "JPEG", 0.06)[-1].startswith("+0.350 [+0.")
    assert cells(text, "S & R", 0.02)[6] == "+0.000 [+0.000, +0.000]"
    assert "another network" not in text


def test_what_was_chosen_stands_below(made):
    lines = made.markdown.partition("## Chosen options\n")[2].splitlines()
    assert "| JPEG | quality | 90, 50 | 50 | 0.910 | 0.950 | 200 |" in lines
    assert (
        "| Whole; S & R | sparsity | 0.1, 0.2 | 0.1: even this may cost more than 0.05 | 0.800 | 0.950 | 200 |"
    ) in lines
    assert "at most 0.05 of the clean accuracy" in made.markdown


def test_the_latex_table_is_regular(made):
    first, second = made.latex.split("\\begin{tabular}")[1:]
    spans = [line for line in first.splitlines() if "multicolumn" in line]
    assert spans[0] == (
        "\\multicolumn{2}{c}{} & \\multicolumn{2}{c}{Gray box} & \\multicolumn{3}{c}{Through the defence} & "
        "\\multicolumn{2}{c}{} \\\\"
    )
    assert first.startswith("{lrrrrrrrr}")
    lines = [line for line in first.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
    assert {line.replace("\\&", "").count("&") for line in lines} == {8}
    assert sum(line.startswith("S \\& R & ") for line in lines) == 2
    assert "Whole; S \\& R & sparsity & 0.1, 0.2 & " in second


def test_a_row_of_another_network_is_called_transferred(files, tmp_path):
    params = PARAMS | {"root": str(tmp_path), "foreign": ["jpeg"]}
    made = load_piece("srd/table").make(files, params)
    assert "Answers of JPEG are another network's: images of the gray box are transferred to it" in made.markdown
    assert {row["defense"] for row in matching(made.rows, setting="masking")} == {"none", "srd"}
    assert cells(made.markdown, "JPEG", 0.06)[5:7] == ["0.250 [0.071, 0.591]", "–"]


def test_without_attacks_through_defences_or_a_compared_reference_their_columns_are_empty(files, tmp_path):
    given = {"predictions": files["predictions"]}
    params = PARAMS | {"root": str(tmp_path), "reference": "whole", "tuned": [], "takers": []}
    made = load_piece("srd/table").make(given, params)
    assert cells(made.markdown, "S & R", 0.06)[3:] == ["–"] * 5
    assert "Masking:" not in made.markdown
    assert "Chosen" not in made.markdown + made.latex
    assert {row["setting"] for row in made.rows} == {"clean", "gray_box"}


def test_missing_answers_are_named(files, tmp_path):
    kept = [path for path in files["predictions"] if "jpeg/raw01/gray_box/fgsm" not in path]
    with pytest.raises(InputError, match=r"srd/table: .* of jpeg to gray_box/fgsm at 0\.02$"):
        load_piece("srd/table").make({**files, "predictions": kept}, PARAMS | {"root": str(tmp_path)})


# -- what a configuration gives

ADAPTIVE = {"methods": {"bpda": {}}, "epsilons": [0.06], "count": 8, "doubled": "bpda", "defenses": [], "full": []}
SRD = SMALL | {
    "models": dict.fromkeys(("small", "other", "robust"), SMALL["models"]["small"]),
    "attacks": {"methods": {"fgsm": {}, "pgd": {}}, "epsilons": [[0.02, 0.06]], "adaptive": ADAPTIVE},
    "validation": {"images": "train", "count": 20},
    "defenses": {
        "jpeg": {"tune": {"quality": [90, 50]}},
        "crop_ensemble": {},
        "elsewhere": {"kind": "crop_ensemble", "model": "other"},
        "same": {"kind": "logit_pairing", "model": "small"},
        "retrained": {"kind": "logit_pairing", "model": "other"},
        "srd": {"tune": {"sparsity": [0.1, 0.2]}},
        "whole": {"kind": "srd", "choice": "whole", "tuned_as": "srd"},
        "untuned": {"kind": "srd", "choice": "whole"},
        "random": {"kind": "srd", "choice": "random", "tuned_as": "srd"},
        "few": {"kind": "srd", "choice": "random", "tuned_as": "srd", "iterations": 7},
        "oracle": {"kind": "srd", "choice": "oracle", "tuned_as": "srd"},
        "chosen": {"kind": "srd", "chooser": "robust", "tuned_as": "srd"},
        "behind": {"kind": "srd", "model": "other", "tuned_as": "srd"},
        "lonely": {"kind": "srd", "model": "robust", "tuned_as": "srd"},
    },
    "dictionaries": {
        "images": "train", "table": ["jpeg", "retrained", "whole", "srd"], "epsilons": [[0.02, 0.06]],
        "attacks": {"bpda": {}, "unrolled": {}},
    },
}  # fmt: skip


def test_the_table_is_of_the_compared_defences():
    config = load_config(SRD)
    piece = load_piece("srd/table")
    files, params = piece.files(config), piece.params(config)
    assert params["compared"] == ["none", "jpeg", "retrained", "whole", "srd"]
    assert (params["attacks"], params["through"]) == (["fgsm", "pgd"], ["bpda", "unrolled"])
    assert (params["epsilons"], params["reference"], params["foreign"]) == ([0.02, 0.06], "srd", ["retrained"])
    assert (params["tuned"], params["takers"]) == (["jpeg", "srd"], [["jpeg"], ["whole", "srd"]])
    assert (params["root"], params["attack"], params["space"]) == ("results/predictions/small", "pgd", "raw01")
    assert files["tuned"] == ["<results>/tuned/jpeg.json", "<results>/tuned/srd.json"]
    root = "<results>/predictions/small"
    assert files["predictions"][:3] == [
        f"{root}/none/clean.npz", f"{root}/none/raw01/gray_box/fgsm/eps-0.02,0.06.npz",
        f"{root}/none/raw01/gray_box/pgd/eps-0.02,0.06.npz",
    ]  # fmt: skip
    # Of every defence clean images and both attacks; of listed ones the base attack's base budget is a file of its own.
    own = len([name for name in ("jpeg", "retrained", "whole", "srd") if not config.defenses[name].ablation])
    assert len(files["predictions"]) == 5 * 3 + own
    assert f"{root}/jpeg/raw01/adaptive-jpeg/bpda/eps-0.02,0.06.npz" in files["through"]
    assert len(files["through"]) == 5 + 2
    assert load_piece("srd/table").exists(load_config(SMALL)) is False


def test_claims_compare_defences_that_differ_in_one_thing():
    config = load_config(SRD)
    files, params = load_piece("claims").files(config), load_piece("claims").params(config)
    assert params["dictionaries"] == {
        "behind": [["behind", "retrained"]],
        "choices": {"oracle": ["oracle"], "random": ["random"], "whole": ["whole"]},
        "purifiers": ["jpeg", "crop_ensemble"],
        "reference": "srd",
        "robust": [["chosen", "srd"]],
    }
    assert [path.split("/")[3:6] for path in files["through"]] == [["srd", "raw01", "adaptive-srd"]] * 2
    assert "dictionaries" not in load_piece("claims").params(load_config(SMALL))
    other = load_config(changed(SRD, ("dictionaries", "shown"), "whole"))
    assert load_piece("claims").params(other)["dictionaries"]["choices"] == {"oracle": [], "random": [], "whole": []}
