"""A leaderboard: entries that are refused, their order, what pages show."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from nndefense.cli import main
from nndefense.commands.leaderboard_entries import read_entries, read_entry, tables
from nndefense.commands.leaderboard_text import docs_text, page_text
from nndefense.core.errors import ConfigError
from tests.unit.leaderboard_cases import GOOD, HOSTILE, Seen, changed, scored, write

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "leaderboard"


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
