"""A leaderboard: entries put to the exact defence again, on what a run has stored."""

import html
import re
import shutil

import numpy as np
import pytest

from nndefense.cli import main
from nndefense.commands.leaderboard_scores import RESULTS
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.text import one_line
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.outcomes import read_outcomes
from nndefense.evaluation.rows import read_rows
from tests.unit.deployed_case import LAYERS
from tests.unit.leaderboard_cases import GOOD, Seen, changed, scored, write
from tests.unit.rescore_case import COUNT, WORST, make_run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / RESULTS)


@pytest.fixture
def known(root):
    """Images of the run that are right clean, and in the worst case, as its own table says."""
    rows = read_rows(root / f"accuracy_worst/net/{LAYERS[0]}.csv", None)
    (row,) = [one for one in rows if (one["weighting"], one["combination"], one["epsilon"]) == ("CBW-D", "soft", 0.06)]
    return round(row["clean"] * COUNT), round(row["accuracy"] * COUNT)


def board(folder, root, capsys, **entries):
    """Writes entries, makes the page with a run, and returns what it says of each."""
    paths = [write(folder / "entries", name, entry) for name, entry in entries.items()]
    before = [path.read_bytes() for path in paths]
    words = ["leaderboard", str(folder / "entries"), "--output", str(folder / "page.html")]
    code = main([*words, "--run", str(root)] if root else words)
    out, err = capsys.readouterr()
    assert code == 0, err
    assert [path.read_bytes() for path in paths] == before
    said = {line.split()[0]: re.split("  +", line)[2] for line in out.splitlines()[1 : len(entries) + 1]}
    page = "".join(Seen((folder / "page.html").read_text()).texts).replace("\u00a0", " ")
    assert all(one in page for one in said.values())
    return said


def test_an_entry_is_compared_with_the_exact_defence(root, known, tmp_path, capsys):
    clean, worst = known
    assert 1 < worst < clean < COUNT, "the run shows nothing"
    own = {"run": "", "defense": "knn"}
    said = board(
        tmp_path, root, capsys,
        same=scored(COUNT, clean, worst, **own),
        more=scored(COUNT, clean, worst + 1, system="more", **own),
        less=scored(COUNT, clean + 1, worst - 1, system="less", **own),
        clean=scored(COUNT, clean + 1, worst, system="clean", **own),
        fewer=scored(COUNT + 1, clean, worst, system="fewer", **own),
        budget=scored(COUNT, clean, worst, system="budget", epsilon=0.03, **own),
        other=scored(COUNT, clean, worst, system="other", run="", defense="crop_ensemble"),
        unknown=scored(COUNT, clean, worst, system="unknown", run="", defense="jpeg"),
        absent=scored(COUNT, clean, worst, system="absent", run="absent", defense="knn"),
        nowhere=scored(COUNT, clean, worst, system="nowhere"),
    )  # fmt: skip
    low, high = wilson_interval(worst, COUNT)
    found = f"{worst / COUNT:.3f} [{low:.3f}, {high:.3f}]"
    assert said["same"] == f"{found} agrees"
    assert said["more"] == f"{found} differs: lower than stated"
    assert said["less"] == f"{found} differs: higher than stated, clean {clean / COUNT:.3f}"
    assert said["clean"] == f"{found} differs: clean {clean / COUNT:.3f}"
    without = "not re-scored here: "
    assert said["fewer"] == f"{without}the run's worst case is of {COUNT} images, the entry's of {COUNT + 1}"
    assert said["budget"] == f"{without}no worst case of knn within raw01 0.03 in {root}"
    assert said["other"] == f"{without}no worst case of crop_ensemble within raw01 0.06 in {root}"
    assert said["unknown"] == f"{without}no {root}/systems/jpeg.json"
    assert said["absent"] == f"{without}no results/absent"
    assert said["nowhere"] == f"{without}the entry names no run"
    page = html.unescape((tmp_path / "page.html").read_text())
    assert "Of 10 entries, 4 could be re-scored here" in page
    assert "1 agree, 3 differ" in page


def test_every_stored_query_set_within_the_budget_counts(root, known, tmp_path, capsys):
    clean, worst = known
    run = tmp_path / "small"
    shutil.copytree(root, run)
    found = read_arrays(run / f"attacks/{WORST}.npz")
    stored = read_arrays(run / "attacks/clean.npz")
    places = {row: place for place, row in enumerate(stored["rows"].tolist())}
    idle = stored["clean/images"][[places[row] for row in found["rows"].tolist()]]
    write_arrays(run / f"attacks/{WORST}.npz", **found | {"0.02/images": idle, "0.06/images": idle})
    entry = scored(COUNT, clean, worst, run="small", defense="knn")
    said = board(tmp_path, run, capsys, one=entry)["one"]
    assert said.startswith(f"{clean / COUNT:.3f} [")
    assert said.endswith("differs: higher than stated")

    def store(budget):
        """The attacked images as those of another attack, half of them, which the run's answers are of."""
        name, half = f"raw01/gray_box/pgd/eps-{budget}", slice(0, COUNT // 2)
        pack = {key.replace("0.06", budget): values for key, values in found.items() if key.startswith("0.06/")}
        pack = {key: values[half] for key, values in (pack | {"rows": found["rows"]}).items()}
        for place in ("attacks", f"predictions/net/{LAYERS[0]}"):
            write_arrays(run / place / f"{name}.npz", **pack)

    store("0.09")
    assert board(tmp_path, run, capsys, one=entry)["one"] == said
    store("0.06")
    answered = read_arrays(run / f"attacks/{WORST}.npz", "rows", "0.06/broken_by")
    broken = np.isin(answered["0.06/broken_by"][: COUNT // 2], ["", "clean"], invert=True).sum()
    assert broken > 0
    assert board(tmp_path, run, capsys, one=entry)["one"].startswith(f"{(clean - broken) / COUNT:.3f} [")


def test_a_defence_that_draws_is_asked_with_the_runs_own_draws(root, tmp_path, capsys):
    run = tmp_path / "small"
    shutil.copytree(root, run)
    name = "raw01/adaptive-crop_ensemble/worst/eps-0.02,0.06"
    found = read_arrays(run / f"attacks/{WORST}.npz")
    write_arrays(run / f"attacks/{name}.npz", **found)
    answers = run / "predictions/net"
    files = [answers / f"crop_ensemble/{one}.npz" for one in ("clean", WORST)]
    wrong = [set(one.rows[~one.correct].tolist()) for path in files for one in read_outcomes([path], answers)]
    clean = set(found["rows"].tolist()) - wrong[0]
    worst = clean - set.union(*wrong)
    assert len(worst) < len(clean)
    entry = scored(COUNT, len(clean), len(worst), run="small", defense="crop_ensemble")
    assert board(tmp_path, run, capsys, one=entry)["one"].endswith("] agrees")


def test_runs_that_are_no_entrys_or_damaged_are_refused(root, tmp_path, capsys):
    def refused(message, *runs):
        assert main(["leaderboard", str(tmp_path / "entries"), "--run", *map(str, runs)]) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert message in err

    write(tmp_path / "entries", "one", GOOD)
    refused("no entry names a run 'results'; allowed: no run, as no entry names one", root)
    write(tmp_path / "entries", "one", changed(run="small", defense="knn"))
    refused("no entry names a run 'results'; allowed: small", root)
    refused("holds no attacks/clean.npz", tmp_path / "entries")
    run = tmp_path / "small"
    shutil.copytree(root, run)
    refused("another run of that name is given; allowed: each once", run, run)
    path = run / f"attacks/{WORST}.npz"
    path.write_bytes(path.read_bytes()[:-100])
    refused(one_line(str(path)), run)
