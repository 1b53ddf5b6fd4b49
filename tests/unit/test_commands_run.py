"""The command line of `nndefense run`: what it makes of words, before Snakemake reads them."""

from pathlib import Path

import pytest
import yaml

from nndefense.cli import main
from nndefense.commands import run
from nndefense.commands.line import joined, option_of, snakemake_options, split
from nndefense.commands.run import snakemake_words
from nndefense.flow.shipped import workflow_folder
from tests.unit.config_cases import SMALL

WORKFLOW = workflow_folder()
SNAKEFILE = ["--snakefile", str(WORKFLOW / "Snakefile")]
OPTIONS = snakemake_options()


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """An empty folder, on a machine with two GPUs. No test may become Snakemake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run.os, "execv", lambda program, words: pytest.fail(f"would run {words}"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    return tmp_path


def read(words: str | list[str]):
    """What Snakemake's own parser understands of a line."""
    from snakemake.cli import get_argument_parser

    return get_argument_parser().parse_args(snakemake_words(words.split() if isinstance(words, str) else words))


def refused(capsys, *words: str) -> str:
    assert main(["run", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    "line",
    [
        "results/fig5.pdf --cores 8 --resources gpu=4",
        "--cores 8 --resources gpu=4 results/fig5.pdf",
        "--resources gpu=4 results/fig5.pdf --cores 8",
        "--resources gpu=4 fig5 --cores=8",
        "-c8 fig5 --res gpu=4",
        "-nc 8 --resources gpu=4 -- results/fig5.pdf",
        "--cores 8 --resources gpu=4 --quiet rules fig5 --rerun-triggers mtime",
        "--rerun-triggers mtime code fig5.pdf --resources gpu=4 -c 8",
    ],
)
def test_targets_may_stand_anywhere(line):
    found = read(line)
    assert found.targets == ["results/fig5.pdf"]
    assert found.cores == 8
    assert found.resources == {"gpu": 4}


def test_every_option_of_snakemake_stops_before_a_target():
    """Whatever takes values takes those that it can have, and hands on what follows; options of its plugins too."""
    samples = {"=": "a=1", "FILE": "a.yaml"}
    for option in OPTIONS:
        if option.names[0] in ("--help", "--version") or (option.most is None and option.metavar in ("TARGET", "RULE")):
            continue
        if option.most is None and option.metavar == "FILE" and option.names[0] != "--configfile":
            continue
        sample = next((value for part, value in samples.items() if part in option.metavar), "7")
        values = [sorted(option.choices)[0] if option.choices else sample] * max(option.least, option.most != 0)
        if option.names[0] == "--report":
            values = ["a.html"]
        for name in option.names:
            line = split([name, *values, "fig5"], OPTIONS, lambda word: word == "fig5")
            assert line.targets == ["fig5"], name
            assert line.values(name) == values, name
            assert joined(line) == ["fig5", option.names[0], *values]


def test_options_that_take_targets_take_all_of_them():
    assert sorted(read("fig5 --forcerun table1 plot_fig5 -n").forcerun) == ["plot_fig5", "results/table1.md"]
    assert read("--until plot_fig5 -- fig5").targets == ["results/fig5.pdf"]


def test_all_is_a_number_of_cores_behind_cores():
    assert not read("--cores all").targets
    assert read("all --cores 1").targets == ["all"]
    assert not read("--quiet all").targets


def test_what_is_not_said_is_all_cores_and_the_gpus_that_are_found():
    assert snakemake_words(["fig5"]) == ["results/fig5.pdf", *SNAKEFILE, "--cores", "all", "--resources", "gpu=2"]
    assert read("fig5 --resources mem_mb=9").resources == {"mem_mb": 9, "gpu": 2}
    assert read("fig5 --resources gpu=0 mem_mb=9").resources == {"mem_mb": 9, "gpu": 0}
    assert read("fig5 --resources mem_mb=9 --resources gpu=1").resources == {"mem_mb": 9, "gpu": 1}
    assert "--cores" not in snakemake_words(["fig5", "--jobs", "3"])


@pytest.mark.parametrize("line", ["--profile mine", "--workflow-profile slurm", "--executor local"])
def test_profiles_and_executors_bring_their_own(line):
    assert snakemake_words(["fig5", *line.split()]) == ["results/fig5.pdf", *line.split(), *SNAKEFILE]


def test_a_workflow_around_this_one_is_left_alone():
    words = snakemake_words(["-s", "Mine.smk", "--config", "a=1", "mine.txt", "fig5"])
    assert words[:2] == ["mine.txt", "fig5"]
    assert words.count("--snakefile") == 1
    assert words[words.index("--snakefile") + 1] == "Mine.smk"


# -- targets


@pytest.mark.parametrize(
    ("word", "target"),
    [
        ("fig5", "fig5.pdf"),
        ("fig5.pdf", "fig5.pdf"),
        ("fig5.csv", "fig5.csv"),
        ("table1", "table1.md"),
        ("table1.tex", "table1.tex"),
        ("overview.html", "overview.html"),
        ("knn.json", "knn.json"),
    ],
)
def test_short_names(word, target):
    assert snakemake_words([word])[0] == f"results/{target}"
    assert snakemake_words([word, "--config", "run=mine"])[0] == f"results/mine/{target}"


@pytest.mark.parametrize("word", ["results/other/fig5.pdf", "all", "plot_fig5", "make_table1", "list_images", "a/b"])
def test_files_and_rules_stay_as_they_are(word):
    assert snakemake_words([word])[0] == word


def test_pieces_in_folders_have_short_names():
    words = snakemake_words(["srd/fig", "srd/table.csv", "--config", "config/cifar10_srd.yaml", "data=x"])
    assert words[:2] == ["results/cifar10_srd/srd/fig.pdf", "results/cifar10_srd/srd/table.csv"]


# -- configuration


def test_files_and_keys_behind_config(empty):
    Path("mine.yaml").write_text("run: mine\nseed: 3\n")
    Path("more.yml").write_text("seed: 4\n")
    for line in (
        "fig5 --config mine.yaml seed=5 --configfile more.yml",
        "--configfile mine.yaml fig5 --config more.yml seed=5",
        "--config seed=5 mine.yaml --config more.yml fig5",
    ):
        found = read(line)
        assert found.targets == ["results/mine/fig5.pdf"], line
        assert list(map(str, found.configfile)) == ["mine.yaml", "more.yml"]
        assert found.config == ["seed=5"]


def test_presets_come_with_the_package():
    found = read("fig5 --config config/ablations/transfer_only.yaml")
    assert found.configfile == [WORKFLOW / "config/ablations/transfer_only.yaml"]


def test_config_yaml_of_the_folder_counts(empty):
    Path("config.yaml").write_text("run: own\n")
    assert snakemake_words(["fig5"])[0] == "results/own/fig5.pdf"
    Path("mine.yaml").write_text("seed: 3\n")
    assert list(map(str, read("fig5 --config mine.yaml").configfile)) == ["config.yaml", "mine.yaml"]
    # One that names its data set stands alone.
    Path("mine.yaml").write_text(yaml.safe_dump(SMALL))
    assert list(map(str, read("fig5 --config mine.yaml").configfile)) == ["mine.yaml"]


# -- refusals


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("figg5", "target 'figg5' is unknown; allowed: a file of results, a rule, or all, "),
        ("srd/fig --configfile small.yaml", "target 'srd/fig': this configuration has no axes for it; allowed: "),
        ("fig5 --corse 3", "option '--corse' is unknown; allowed: --cores, "),
        ("fig5 -Z", "option '-Z' is unknown"),
        ("fig5 --set", "option '--set' is short for several; allowed: --set-"),
        ("fig5 --cores", "--cores: a value is missing; allowed: N"),
        ("--resources fig5", "--resources: a value is missing; allowed: NAME=INT"),
        ("fig5 --config nowhere.yaml", "nowhere.yaml: there is no such file; allowed: yours, or config/"),
        ("fig5 --config seeds=3", "unknown key 'seeds'; allowed: run, "),
        ("fig5 --config 1=3", "--config: "),
        ("fig5 --configfile bad.yaml", "seed: "),
    ],
)
def test_refusals_are_one_line(capsys, line, message):
    Path("bad.yaml").write_text("seed: many\n")
    Path("small.yaml").write_text(yaml.safe_dump(SMALL))
    assert message in refused(capsys, *line.split())


def test_without_snakemake_it_says_what_to_install(capsys, monkeypatch):
    def missing():
        raise ImportError("No module named 'snakemake'")

    monkeypatch.setattr(run, "snakemake_options", missing)
    assert "pip install snakemake" in refused(capsys, "fig5")


def test_help_is_this_commands_own(capsys):
    for words in (["run", "--help"], ["run", "fig5", "-h"]):
        assert main(words) == 0
        assert "nndefense run fig5" in capsys.readouterr().out


def test_the_process_becomes_snakemake(monkeypatch):
    seen = []
    monkeypatch.setattr(run.os, "execv", lambda program, words: seen.append([program, *words]) or 0)
    assert main(["run", "-n", "fig5"]) == 0
    program, own, *words = seen[0]
    assert program == own
    assert words[:5] == ["-P", "-m", "snakemake", "results/fig5.pdf", "--dry-run"]


def test_values_of_enumerations_are_their_names():
    from snakemake.cli import get_argument_parser

    actions = {one.option_strings[0]: one for one in get_argument_parser()._actions if one.option_strings}
    assert option_of(actions["--conda-cleanup-pkgs"]).choices == {"tarballs", "cache"}
    assert option_of(actions["--deploy-sources"]).least == 2


def test_config_yaml_of_the_workflow_is_none_of_the_folders_own(monkeypatch):
    monkeypatch.chdir(WORKFLOW)
    assert "--configfile" not in snakemake_words(["fig5"])
