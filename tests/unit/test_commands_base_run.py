"""The key `base_run`: what it may be, and when `nndefense run` makes a run's folder of another's files."""

from pathlib import Path

import pytest
import yaml

from nndefense.cli import main
from nndefense.commands import run
from nndefense.commands.fork_records import read_records
from nndefense.commands.line import snakemake_options
from nndefense.config import load_config
from nndefense.core.errors import ConfigError
from tests.unit.config_cases import SMALL
from tests.unit.test_commands_fork import add


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder with a run, `old`, and a configuration of another one that begins with it."""
    add(tmp_path, "results/old/table1.md", "| a |")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**SMALL, "run": "new", "base_run": "old"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    """Command lines that Snakemake was started with, and what there was of the run by then."""
    found = []
    monkeypatch.setattr(run.os, "execv", lambda _, words: found.append((words, Path("results/new").is_dir())) or 0)
    return found


def test_a_run_begins_with_its_base(started, capsys):
    line = ["run", "fig5", "--configfile", "mine.yaml", "--cores", "1"]
    assert main(line) == 0
    assert capsys.readouterr().out == "base_run: results/new: begins with 1 files of results/old, linked\n"
    assert Path("results/new/table1.md").samefile("results/old/table1.md")
    assert set(read_records(Path(".snakemake/metadata"), "new")) == {"results/new/table1.md"}
    # From then on it is a run like any other.
    Path("results/new/table1.md").unlink()
    assert main(line) == 0
    assert capsys.readouterr().out == ""
    assert not Path("results/new/table1.md").exists()
    assert [there for _, there in started] == [True, True]


def test_a_look_makes_nothing(started, capsys):
    for option in ("-n", "--dag", "--unlock", "--summary"):
        assert main(["run", "fig5", "--configfile", "mine.yaml", option]) == 0
    assert capsys.readouterr().out == (
        "base_run: results/new is not there yet; it will begin with the files of results/old\n"
    )
    assert [there for _, there in started] == [False] * 4


def test_options_that_make_nothing_are_snakemakes():
    names = {name for option in snakemake_options() for name in option.names}
    assert set(run.LOOKING) <= names


def test_it_lies_where_snakemake_is_told_to_work(home, started, monkeypatch, tmp_path):
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    assert main(["run", "fig5", "--configfile", "../mine.yaml", "--directory", ".."]) == 0
    assert (home / "results/new/table1.md").is_file()
    assert not Path("results").exists()


def test_a_base_that_is_not_there_is_told_before_anything_runs(started, capsys):
    assert main(["run", "fig5", "--configfile", "mine.yaml", "--config", "base_run=absent"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: results/absent: Snakemake has no records of it")
    assert said.count("\n") == 1
    assert not started


def test_without_it_nothing_is_taken(home, started):
    (home / "none.yaml").write_text("base_run: null")
    assert main(["run", "fig5", "--configfile", "mine.yaml", "none.yaml"]) == 0
    assert [there for _, there in started] == [False]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            {"base_run": "old"},
            "base_run: `run` has no name, and nothing to begin with; allowed: null, or a name for `run`",
        ),
        ({"run": "a", "base_run": "A"}, "base_run: 'A' is this run itself; allowed: another one, or null"),
        (
            {"run": "a", "base_run": "seals"},
            "base_run: 'seals' is a folder of the run without a name; allowed: any other",
        ),
    ],
)
def test_what_it_may_be(keys, told):
    with pytest.raises(ConfigError) as error:
        load_config({**SMALL, **keys})
    assert str(error.value) == told


def test_the_run_without_a_name_is_a_base():
    assert load_config({**SMALL, "run": "a", "base_run": ""}).base_run == ""
    assert load_config({**SMALL, "run": "a"}).base_run is None
