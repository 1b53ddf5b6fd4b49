"""A leaderboard: entries that are refused, their order, what pages show, what is re-scored."""

import html
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml

from nndefense.axes.ball import BALLS
from nndefense.cli import main
from nndefense.commands.leaderboard_entries import ATTACKERS, Entry, read_entries, read_entry, tables
from nndefense.commands.leaderboard_scores import RESULTS
from nndefense.commands.leaderboard_text import docs_text, page_text
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import ConfigError
from nndefense.core.text import one_line
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.outcomes import read_outcomes
from nndefense.evaluation.rows import read_rows
from tests.unit.deployed_case import LAYERS
from tests.unit.rescore_case import COUNT, WORST, make_run

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "leaderboard"
GOOD = {
    "system": "Nearest neighbours",
    "network": "ResNet-8",
    "data": "Drawn images",
    "attacker": "adaptive",
    "ball": "raw01",
    "epsilon": 0.06,
    "n": 200,
    "clean": {"right": 137, "accuracy": 0.685},
    "worst_case": {"right": 22, "accuracy": 0.11, "interval": [0.074, 0.161]},
    "commit": "c81b70f",
    "stated": "docs/results.md",
    "measured": {"by": "somebody", "date": "2026-11-28"},
    "rescored": None,
    "reproduce": "snakemake results/worst_case.md",
}
# Every letter of it can be printed, or a file with it would be refused.
HOSTILE = "<script>alert(1)</script> | **b** `c` [l](javascript:x) \\ &lt; '\" <img src=x> {{ 7*7 }} # _u_"


def changed(**changes):
    """A good entry with other values; a name with a dot is a key of a mapping, `...` takes a key away."""
    entry = yaml.safe_load(yaml.safe_dump(GOOD))
    for name, value in changes.items():
        *outer, key = name.split("__")
        place = entry[outer[0]] if outer else entry
        place[key] = value
        if value is ...:
            del place[key]
    return entry


def scored(n, clean, worst, **changes):
    """A good entry of these counts."""
    interval = [round(one, 3) for one in wilson_interval(worst, n)]
    counts = {"clean": {"right": clean, "accuracy": round(clean / n, 3)},
              "worst_case": {"right": worst, "accuracy": round(worst / n, 3), "interval": interval}}  # fmt: skip
    return changed(n=n, **counts, **changes)


def write(folder, name, entry):
    """The file of an entry."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(entry if isinstance(entry, str) else yaml.safe_dump(entry), encoding="utf-8")
    return path


# -- entries


def test_an_entry_is_read(tmp_path):
    entry = read_entry(write(tmp_path, "one", yaml.safe_dump(GOOD).replace("'2026-11-28'", "2026-11-28")))
    assert (entry.worst_case.right, entry.measured.date, entry.void, entry.run) == (22, "2026-11-28", None, None)
    assert read_entry(write(tmp_path, "two", changed(run="", defense="knn"))).run == ""


REFUSED = {
    "key": (changed(colour="red"), "unknown key 'colour'; allowed: system, network,"),
    "missing": (changed(network=...), "missing key 'network'"),
    "inner": (changed(clean__right=...), "clean: missing key 'right'"),
    "nobody": (changed(rescored=...), "missing key 'rescored'"),
    "text": (changed(n="200"), "n: '200' is not allowed; allowed: an integer >= 1"),
    "zero": (changed(epsilon=0), "epsilon: 0 is not allowed; allowed: a number > 0"),
    "empty": (changed(system=""), "system: '' is empty; allowed: text"),
    "control": (changed(system="a\x1b[31m"), "system: .*; allowed: one line that can be printed"),
    "ball": (changed(ball="l2"), "ball: 'l2' is not allowed; allowed: raw01, standardized, linf"),
    "attacker": (changed(attacker="all"), "attacker: 'all' is not allowed; allowed: adaptive, adaptive-database,"),
    "commit": (changed(commit=1234567), "commit: 1234567 is not allowed; allowed: text of the form .*, in quotes"),
    "short": (changed(commit="c81b"), "commit: 'c81b' is not allowed; allowed: text of the form"),
    "date": (changed(measured__date="28.11.2026"), "measured.date: '28.11.2026' is not allowed; allowed: text of"),
    "no day": (changed(measured__date="2026-02-30"), "measured.date: 2026-02-30 is no day; allowed: one of the"),
    "clean": (changed(clean__accuracy=0.69), "clean.accuracy: 0.69 is not allowed; allowed: 0.685, 137 of 200"),
    "worst": (changed(worst_case__accuracy=0.1), "worst_case.accuracy: 0.1 is not allowed; allowed: 0.110, 22 of 200"),
    "low": (
        changed(worst_case__interval=[0.073, 0.161]),
        r"worst_case.interval: \[0.073, 0.161\] is not allowed; allowed: \[0.074, 0.161\], the Wilson interval of 22",
    ),
    "high": (changed(worst_case__interval=[0.074, 0.16]), r"worst_case.interval: \[0.074, 0.16\] is not allowed"),
    "one": (changed(worst_case__interval=[0.074]), "worst_case.interval: .* is not allowed; allowed: a list of 2"),
    "above clean": (
        scored(200, 21, 22),
        "worst_case.right: 22 is not allowed; allowed: at most 21, which is clean.right",
    ),
    "above n": (changed(clean__right=201), "clean.right: 201 is not allowed; allowed: at most 200, which is n"),
    "again": (
        changed(rescored={"by": "x", "date": "2026-11-28", "right": 201}),
        "rescored.right: 201 is not allowed; allowed: at most 200",
    ),
    "run alone": (changed(run="cifar10"), "defense: is missing; allowed: run and defense together"),
    "defense alone": (changed(defense="knn"), "run: is missing; allowed: run and defense together"),
    "path": (changed(run="../other", defense="knn"), "run: '../other' is not allowed; allowed: text of the form"),
    "folder": (changed(run="a", defense="../knn"), "defense: '../knn' is not allowed; allowed: text of the form"),
    "transfer": (
        changed(run="a", defense="knn", attacker="gray_box"),
        "run: 'a' is not allowed with attacker gray_box; allowed: adaptive",
    ),
    "twice": (yaml.safe_dump(GOOD) + "n: 200\n", "line .*: n stands there twice; allowed: each key once"),
    "no yaml": ("a: [", "cannot be read as YAML .*; allowed: a mapping of keys"),
    "no text": (b"\xff".decode("latin-1").join(["a: ", "\x00"]), "cannot be read as YAML .*; allowed: a mapping"),
    "list": ("- a\n", "is no mapping; allowed: the keys system, network,"),
    "on": (yaml.safe_dump(GOOD) + "on: 1\n", "the name True is no text; allowed: text, in quotes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_entry_that_is_wrong_is_refused_in_one_line(name, tmp_path, capsys):
    entry, message = REFUSED[name]
    path = write(tmp_path, "bad", entry)
    assert main(["leaderboard", str(tmp_path), "--output", str(tmp_path / "page.html")]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(f"^error: {re.escape(str(path))}.*{message}", err), err
    assert not (tmp_path / "page.html").exists()


def test_a_system_stands_there_once_and_a_folder_has_an_entry(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no entry; allowed: a folder with a file NAME\.yaml for each"):
        read_entries(tmp_path)
    write(tmp_path, "one", GOOD)
    write(tmp_path, "two", changed(epsilon=0.02))
    write(tmp_path, "three", scored(200, 137, 20))
    with pytest.raises(ConfigError, match=r"three\.yaml: system: .* stands there twice .*, also in .*one\.yaml"):
        read_entries(tmp_path)


def test_attackers_and_balls_are_those_that_have_words():
    fields = Entry.model_fields
    assert get_args(fields["attacker"].annotation) == tuple(ATTACKERS)
    assert get_args(fields["ball"].annotation) == tuple(BALLS)


# -- their order


def test_tables_hold_what_may_be_compared_the_best_first_and_void_ones_last(tmp_path):
    entries = {
        "b": scored(200, 150, 20, system="b"),
        "a": scored(200, 150, 30, system="a"),
        "c": scored(200, 160, 20, system="c"),
        "void": scored(200, 150, 90, system="void", void="twice the steps break more"),
        "n": scored(100, 90, 80, system="n"),
        "budget": scored(200, 150, 90, system="budget", epsilon=0.02),
        "ball": scored(200, 150, 90, system="ball", ball="linf"),
        "attacker": scored(200, 150, 90, system="attacker", attacker="gray_box"),
        "data": scored(200, 150, 10, system="data", data="CIFAR-10"),
    }
    for name, entry in entries.items():
        write(tmp_path, name, entry)
    found = [list(table) for table in tables(read_entries(tmp_path))]
    assert found == [["data"], ["ball"], ["budget"], ["n"], ["a", "c", "b", "void"], ["attacker"]]
    text = docs_text(read_entries(tmp_path))
    heads = re.findall(r"^## (.*Δ.*)$", text, re.MULTILINE)
    assert len(set(heads)) == len(found)
    assert heads[3:] == [
        "Drawn images within Δ = 0.06 (raw01), n = 100",
        "Drawn images within Δ = 0.06 (raw01), n = 200",
        r"Drawn images within Δ = 0.06 (raw01), n = 200, gray_box",
    ]
    assert "| 0.450 [0.383, 0.519], void |" in text
    assert "void: twice the steps break more |" in text


# -- pages


class Seen(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.texts.append(data)


def test_whatever_an_entry_says_is_text(tmp_path, monkeypatch, capsys):
    markdown = pytest.importorskip("markdown", reason="mkdocs is not installed; pip install 'nndefense[docs]'").markdown
    monkeypatch.chdir(tmp_path)
    texts = ("system", "network", "data", "void", "stated", "configuration", "note")
    entry = changed(**{name: f"{HOSTILE} {name}" for name in texts})
    # It is shown as code, which a table holds without these.
    entry["reproduce"] = typed = HOSTILE.translate({ord("`"): None, ord("|"): None})
    again = {"by": f"{HOSTILE} again", "date": "2026-11-29", "right": 21}
    entry |= {"measured": {"by": f"{HOSTILE} measured", "date": "2026-11-28"}, "rescored": again}
    write(Path("entries"), "<b>`|x", entry)
    assert main(["leaderboard", "entries", "--output", "page.html", "--markdown", "page.md"]) == 0
    page = Seen(Path("page.html").read_text(encoding="utf-8"))
    assert not {"script", "img"} & page.tags
    assert not {"onerror", "onclick"} & page.attributes
    shown = "".join(page.texts).replace("\u00a0", " ")
    assert typed in shown
    for name in (*texts, "again", "measured"):
        assert f"{HOSTILE} {name}" in shown
    assert f"{HOSTILE} again, 2026-11-29: 0.105 [0.070, 0.155]" in shown
    assert "<b>`|x" in shown
    assert "<b>`|x" in capsys.readouterr().out
    # As the site reads it.
    site = Seen(markdown(Path("page.md").read_text(encoding="utf-8"), extensions=["tables"]))
    assert not {"script", "img"} & site.tags
    shown = "".join(site.texts)
    assert typed in shown
    for name in (*texts, "again", "measured"):
        assert f"{HOSTILE} {name}" in shown
    assert "<b>`|x" in shown


def test_a_page_says_what_bounds_are_and_how_to_lower_them(tmp_path):
    write(tmp_path, "one", GOOD)
    entries = read_entries(tmp_path)
    for text in (docs_text(entries), page_text(entries, {"one": "the entry names no run"})):
        assert "is an upper bound" in text
        assert "a stronger attack is welcome" in text
        assert "`nndefense rescore mine.npz --run RUN --defense DEFENSE --epsilon EPSILON`" in text
        assert "| Nearest neighbours | ResNet-8 | 0.685 [0.618, 0.745] | 0.110 [0.074, 0.161] |" in text
    assert "not re-scored here: the entry names no run" in text
    assert "Of 1 entries, 0 could be re-scored here" in text


# -- what is shipped


def test_the_page_of_the_documentation_is_what_the_entries_give():
    assert (ROOT / "docs/leaderboard.md").read_text(encoding="utf-8") == docs_text(read_entries(SHIPPED))
    assert "docs/leaderboard.md" in (ROOT / "mkdocs.yml").read_text()


def test_shipped_numbers_are_stated_in_the_results():
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    stated = re.findall(r"(0\.\d{3}) \[(0\.\d{3}), (0\.\d{3})\](, void)?", text)
    for name, entry in read_entries(SHIPPED).items():
        worst = entry.worst_case
        same = [
            one
            for one in stated
            if one[0] == f"{worst.accuracy:.3f}" and np.allclose([*map(float, one[1:3])], worst.interval, 0, 0.00051)
        ]
        assert same, name
        assert any(bool(one[3]) == (entry.void is not None) for one in same), name
        assert entry.stated.startswith("docs/results.md, "), name
        assert f" {entry.stated.removeprefix('docs/results.md, ')}\n" in text, name


def test_shipped_entries_name_what_their_configurations_have():
    for name, entry in read_entries(SHIPPED).items():
        config = yaml.safe_load((ROOT / entry.configuration).read_text())
        adaptive = config["attacks"]["adaptive"]
        assert entry.configuration in entry.reproduce, name
        assert (entry.epsilon in adaptive["epsilons"][0], adaptive["count"]) == (True, entry.n), name
        if entry.run is not None:
            assert config["run"] == entry.run, name
            assert entry.defense in {"none", "knn", *config["defenses"]}, name


# -- re-scoring


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
