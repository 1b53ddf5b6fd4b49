"""What a machine has against what a configuration needs: each thing that can be missing, and the exit code."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from nndefense.cli import main
from nndefense.commands import doctor_facts
from nndefense.commands.doctor import MISSING, NOTE, OK, findings
from nndefense.commands.doctor_facts import (
    Machine,
    Needs,
    least_version,
    look_around,
    missing_files,
    needs_of,
    required_packages,
    version_of,
)
from nndefense.config import load_config
from tests.unit.config_cases import SMALL, changed

MACHINE = Machine(
    python=(3, 12, 1),
    packages={"snakemake": "9.27.1", "torch": "2.9.0+cu130", "faiss-cpu": "1.12", "pyyaml": "6.0.2", "numpy": "2.4.6"},
    torch="2.9.0",
    torch_fault="",
    faiss="1.12",
    faiss_fault="",
    cuda=("H100",),
    gpus=1,
    cores=4,
    megabytes=16_000,
    free=50e9,
)
NEEDS = Needs(
    packages={"snakemake": (9, 19), "PyYAML": (), "numpy": (2, 1), "torch": (2, 6)},
    gpu=True,
    threads=2,
    megabytes=2_000,
    written=40e9,
    jobs=400,
    hours=1.5,
)


def states(machine=MACHINE, needs=NEEDS):
    return {one.what: one.state for one in findings(machine, needs)}


def test_nothing_is_missing_where_all_is_there():
    assert set(states().values()) == {OK}
    lines = {one.what: one for one in findings(MACHINE, NEEDS)}
    assert lines["GPUs"].found == "H100"
    assert lines["jobs"].needed == "400, 1.5 hours of one core"
    assert lines["snakemake"][1:3] == ("9.27.1", ">= 9.19")


@pytest.mark.parametrize(
    ("machine", "needs", "what", "state"),
    [
        ({"python": (3, 10, 9)}, {}, "Python", MISSING),
        ({"torch": "", "torch_fault": "OSError: libcudart"}, {}, "torch", MISSING),
        ({"faiss": "", "faiss_fault": "ImportError: no"}, {}, "FAISS", MISSING),
        ({"packages": {**MACHINE.packages, "faiss-gpu": "1.12"}}, {}, "FAISS", MISSING),
        ({"packages": {**MACHINE.packages, "snakemake": "9.18.2"}}, {}, "snakemake", MISSING),
        ({"packages": {**MACHINE.packages, "torch": "2.5.1"}}, {}, "torch", MISSING),
        ({"packages": {"snakemake": "10.0", "torch": "2.9", "numpy": "2.4"}}, {}, "PyYAML", MISSING),
        ({}, {"packages": {**NEEDS.packages, "timm": (1,)}}, "timm", MISSING),
        ({"cuda": ()}, {}, "GPUs", MISSING),
        ({"cuda": (), "gpus": 0}, {}, "GPUs", NOTE),
        ({"cuda": ()}, {"gpu": False}, "GPUs", OK),
        ({"cores": 1}, {}, "cores", NOTE),
        ({"megabytes": 1_999}, {}, "memory", MISSING),
        ({}, {"megabytes": float("nan")}, "memory", NOTE),
        ({"free": 39e9}, {}, "disk", MISSING),
        ({"free": 39e9}, {"there": 2e9}, "disk", OK),
        ({"writable": False}, {}, "disk", MISSING),
        ({}, {"files": {"images.mine.root": "/mine"}}, "images.mine.root", MISSING),
        ({}, {"jobs": 0}, "jobs", NOTE),
    ],
)
def test_each_thing_that_can_be_missing(machine, needs, what, state):
    found = findings(replace(MACHINE, **machine), replace(NEEDS, **needs))
    assert {one.state for one in found if one.what == what} | {OK} == {state, OK}
    others = states(replace(MACHINE, **machine), replace(NEEDS, **needs))
    others.pop(what)
    assert MISSING not in others.values()


def test_what_is_not_known_in_full_is_at_least_that():
    lines = {one.what: one.needed for one in findings(MACHINE, replace(NEEDS, partial=True, there=1e9))}
    assert lines["disk"] == "≥ 40,000 MB, 1,000 are there"
    assert lines["memory"] == "≥ 2,000 MB of the largest job"


def test_versions():
    assert least_version("torch>=2.6,<3") == (2, 6)
    assert least_version('timm==1.0.31; extra == "efficientnet"') == (1, 0, 31)
    assert least_version("pillow") == ()
    assert version_of("2.15.0+cu132") == (2, 15, 0)
    assert version_of("9.10") > version_of("9.9")


def test_packages_follow_the_configuration(monkeypatch):
    declared = [
        "numpy>=2.1",
        "faiss-cpu>=1.10",
        'timm>=1; extra == "efficientnet"',
        'webdataset>=1; extra == "webdataset"',
    ]
    monkeypatch.setattr(doctor_facts.metadata, "requires", lambda name: declared)
    assert required_packages(load_config(SMALL)) == {"snakemake": (9, 19), "PyYAML": (), "numpy": (2, 1)}
    lite = changed(SMALL, ("models", "lite"), {"architecture": "efficientnet_lite0", "weights": "lite.pth"})
    tars = {"kind": "webdataset", "pattern": "tars/{00..09}.tar", "size": 32}
    found = required_packages(load_config(changed(lite, ("images", "tars"), tars)))
    assert {"timm", "webdataset"} < set(found)


def test_files_that_a_configuration_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = {"kind": "folder", "root": "mine", "size": 32}
    raw = changed(SMALL, ("images", "mine"), folder)
    raw = changed(raw, ("images", "part"), {"kind": "classes_of", "of": folder, "classes": ["a"]})
    raw = changed(raw, ("images", "tars"), {"kind": "webdataset", "pattern": "tars/{00..09}.tar", "size": 32})
    raw = changed(raw, ("images", "cifar"), {"kind": "torchvision", "name": "CIFAR10", "root": "x", "split": "train",
                                             "download": True})  # fmt: skip
    raw = changed(raw, ("models", "read"), {"architecture": "cifar_resnet8", "weights": "read.pth"})
    config = load_config(raw)
    assert dict(missing_files(config)) == {
        "models.read.weights": "data/read.pth",
        "images.mine.root": "data/mine",
        "images.part.of.root": "data/mine",
        "images.tars.pattern": "data/tars/{00..09}.tar",
    }
    for place in ("mine", "tars"):
        Path("data", place).mkdir(parents=True)
    Path("data/read.pth").touch()
    assert not dict(missing_files(config))


def test_needs_are_those_of_the_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("results/logs").mkdir(parents=True)
    Path("results/logs/one.txt").write_text("x" * 1000)
    config = load_config(SMALL)
    needs = needs_of(config, Path("results"), reckon=True)
    assert needs.jobs > 20
    assert needs.written > 1e6
    assert needs.megabytes > 100
    assert (needs.there, needs.threads, needs.gpu) == (1000, 2, True)
    assert needs_of(config, Path("results"), reckon=False).jobs == 0


def test_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_facts, "LIMIT", tmp_path / "memory.max")
    machine = look_around(tmp_path / "results/mine")
    assert machine.torch
    assert machine.faiss
    assert machine.cores >= 1
    assert machine.writable
    (tmp_path / "memory.max").write_text("512000000\n")
    assert look_around(tmp_path).megabytes == 512 < machine.megabytes
    (tmp_path / "memory.max").write_text("max\n")
    assert look_around(tmp_path).megabytes == machine.megabytes


# -- the command


def test_the_exit_code_tells_whether_something_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(yaml.safe_dump(SMALL))
    monkeypatch.setattr("nndefense.commands.doctor.look_around", lambda results: MACHINE)
    monkeypatch.setattr(doctor_facts.metadata, "requires", lambda name: [])
    assert main(["doctor", "--configfile", "mine.yaml"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["here", "needed"]
    assert out[-1] == "nothing is missing"
    lost = {"architecture": "cifar_resnet8", "weights": "lost.pth"}
    Path("mine.yaml").write_text(yaml.safe_dump(changed(SMALL, ("models", "small"), lost)))
    assert main(["doctor", "--configfile", "mine.yaml"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "missing: models.small.weights"
    assert main(["doctor", "--configfile", "none.yaml"]) == 1
    assert capsys.readouterr().err.startswith("error: --configfile none.yaml: cannot be read (No such file")
