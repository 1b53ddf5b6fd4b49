"""The command around a plan: which files it reads, what it knows of images and networks, what it prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from nndefense.cli import main
from nndefense.commands.plan import COLUMNS, prefixed
from nndefense.commands.plan_facts import known_networks, known_sets, read_configuration
from nndefense.config import load_config
from nndefense.core.errors import ConfigError
from nndefense.core.files import write_json
from nndefense.features.extract import FeatureExtractor
from nndefense.models.build import build_model
from tests.unit.config_cases import SMALL, changed

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS = ["conv_2_1", ["conv_4_1", "conv_4_1-RMAC"]]
WEB = {"kind": "shapes", "first": 1000, "rows": 900, "content": "web"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a small experiment as its config.yaml, and another that changes one key."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump(SMALL))
    Path("half.yaml").write_text("index: {codes: float16}\n")
    return tmp_path


def planned(capsys, *arguments):
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


def stages_of(capsys, *arguments):
    found = json.loads(planned(capsys, "--json", *arguments))
    return found, {one["script"]: one for one in found["stages"]}


def test_the_table_adds_up(place, capsys):
    found, stages = stages_of(capsys)
    known = [name for name in stages["vote"] if name not in ("script", "megabytes", "unknown", "counted")]
    for name in known:
        assert found["total"][name] == pytest.approx(sum(one[name] for one in stages.values())), name
    assert found["total"]["megabytes"] == max(one["megabytes"] or 0 for one in stages.values())
    assert stages["evaluate_defense"]["unknown"]
    assert not stages["search_span"]["unknown"]
    lines = planned(capsys).splitlines()
    assert lines[0].split("  ")[0] == "stage"
    table = {one.split()[0]: one for one in lines}
    assert set(stages) - set(table) == {name for name, one in stages.items() if one["counted"]}
    assert "evaluate_defense 2" in table["others:"]
    assert f"{found['total']['jobs']:,}" in table["total"]
    assert any(one.startswith("exact searches of a span are bound by computing above ") for one in lines)
    assert any(one.startswith("rates: ") for one in lines)


def test_markdown_is_a_table(place, capsys):
    head, rule, *rest = planned(capsys, "--markdown").splitlines()
    assert head == f"| {' | '.join(COLUMNS)} |"
    assert rule.startswith("| --- | ---: |")
    lines = rest[: rest.index("")]
    assert len(lines) > 10
    assert {one.count("|") for one in (head, rule, *lines)} == {len(COLUMNS) + 1}


def test_a_file_without_data_set_changes_the_keys_that_it_names(place, capsys):
    _, before = stages_of(capsys)
    _, after = stages_of(capsys, "--configfile", "half.yaml")
    saved = before["encode_features"]["written"] - after["encode_features"]["written"]
    # 500 images of 256 dimensions, two bytes less each.
    assert saved == 500 * 256 * 2
    assert before["vote"] == after["vote"]
    Path("alone.yaml").write_text(yaml.safe_dump(changed(SMALL, ("sizes",), [50, 200])))
    # The last one counts, and the one that stands alone takes nothing of config.yaml.
    assert read_configuration(["half.yaml", "alone.yaml"])["sizes"] == [50, 200]
    Path("config.yaml").unlink()
    _, alone = stages_of(capsys, "--configfile", "alone.yaml")
    assert alone["extract_features"]["rows"] == 200


def test_cores_and_gpus_take_time_off(place, capsys):
    _, one = stages_of(capsys, "--cores", "1")
    _, two = stages_of(capsys, "--cores", "2")
    _, gpu = stages_of(capsys, "--cores", "2", "--gpus", "1")
    for name in ("make_attack_set", "vote"):
        assert two[name]["wall_hours"] < one[name]["wall_hours"]
        assert two[name]["cpu_hours"] == one[name]["cpu_hours"]
    assert gpu["make_attack_set"]["gpu_hours"] > 0
    assert gpu["make_attack_set"]["cpu_hours"] < two["make_attack_set"]["cpu_hours"]
    assert gpu["vote"] == two["vote"]
    assert "of GPUs assumed" in planned(capsys, "--gpus", "1")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--cores", "0"], "error: --cores is 0; allowed: an integer >= 1"),
        (["--gpus", "-1"], "error: --gpus is -1; allowed: an integer >= 0"),
        (["--configfile", "none.yaml"], "error: --configfile none.yaml: cannot be read (No such file or directory)"),
        (["--configfile", "broken.yaml"], "error: --configfile broken.yaml: cannot be read (while parsing"),
        (["--configfile", "list.yaml"], "error: --configfile list.yaml: holds no mapping"),
        (["--configfile", "wrong.yaml"], "error: index: unknown key 'kind'"),
        (["--configfile", "layer.yaml"], "error: features.layers: cifar_resnet8 has no conv_5_1; allowed: conv_2_1"),
        (["--rates", "half.yaml"], "error: rates half.yaml: cannot be read ("),
    ],
)
def test_mistakes_are_one_line(place, capsys, arguments, text):
    Path("broken.yaml").write_text("a: {b")
    Path("list.yaml").write_text("[1, 2]")
    Path("wrong.yaml").write_text("index: {kind: Flat}")
    Path("layer.yaml").write_text("features: {layers: [conv_5_1]}\nbase: {features: conv_5_1}")
    assert main(["plan", *arguments]) == 1
    told = capsys.readouterr().err
    assert told.startswith(text)
    assert told.count("\n") == 1


def test_other_rates_give_other_hours(place, capsys):
    shipped = json.loads((REPOSITORY / "scripts/nndefense/commands/rates.json").read_text())
    rate = shipped["networks"]["cifar_resnet8/32"]
    shipped["networks"]["cifar_resnet8/32"] = rate | {"images_per_s": rate["images_per_s"] / 10}
    Path("slow.json").write_text(json.dumps(shipped))
    _, fast = stages_of(capsys)
    _, slow = stages_of(capsys, "--rates", "slow.json")
    # Without the start of its jobs, which take as long.
    passes = 2 * (12 + 10 * rate["backward"]) * 500 / rate["images_per_s"] * 9 / 3600
    assert slow["make_attack_set"]["cpu_hours"] - fast["make_attack_set"]["cpu_hours"] == pytest.approx(passes)


# -- image sets


def test_images_are_known_from_options_and_from_what_was_listed(tmp_path):
    images = {
        "train": SMALL["images"]["train"],
        "cifar": {"kind": "torchvision", "name": "CIFAR10", "root": "x", "split": "train", "first": 40000},
        "some": {"kind": "torchvision", "name": "ImageNet", "root": "x", "split": "val", "rows": 70, "size": 224},
        "part": {"kind": "classes_of", "of": {"kind": "folder", "root": "x", "size": 64}, "classes": ["a", "b"]},
        "flickr": {"kind": "folder", "root": "y"},
        "listed": {"kind": "folder", "root": "z"},
        "changed": {"kind": "folder", "root": "z", "size": 16},
    }
    config = load_config(changed(SMALL, ("images",), images))
    for name, options in (("listed", config.images["listed"]), ("changed", config.images["listed"])):
        write_json(tmp_path / f"images/{name}/set.json", {"options": options.model_dump(), "rows": 7, "size": 48})
    rows, sides = known_sets(config, tmp_path)
    assert rows == {"train": 500, "cifar": 10000, "some": 70, "listed": 7}
    assert sides == {"train": 32, "cifar": 32, "some": 224, "part": 64, "listed": 48, "changed": 16}


def test_a_folder_without_size_is_planned_as_far_as_it_is_known(place, capsys):
    plain = changed(SMALL, ("images",), {"train": {"kind": "folder", "root": "x"}, "web": WEB})
    plain = changed(plain, ("pools",), {"All": {"images": ["web"]}})
    Path("folder.yaml").write_text(yaml.safe_dump(plain))
    _, stages = stages_of(capsys, "--configfile", "folder.yaml")
    assert "written" in stages["make_attack_set"]["unknown"]
    assert stages["extract_features"]["unknown"] == []
    table = planned(capsys, "--configfile", "folder.yaml")
    assert "?" in next(line for line in table.splitlines() if line.startswith("make_attack_set"))


# -- networks


@pytest.mark.parametrize(("architecture", "side"), [("cifar_resnet8", 32), ("resnet18", 64)])
def test_features_and_operations_are_those_of_the_network(architecture, side):
    raw = changed(SMALL, ("models", "small", "architecture"), architecture)
    raw = changed(raw, ("features",), {"layers": LAYERS, "pooled": {"conv_2_1": 5}})
    config = load_config(raw)
    found = known_networks(config, [("small", side)], "small")["small", side]
    model = build_model(architecture, 10, [0.5] * 3, [0.25] * 3)
    extractor = FeatureExtractor(model, ["conv_2_1", "conv_4_1", "conv_4_1-RMAC"], {"conv_2_1": 5})
    assert dict(found.dimensions) == extractor.dimensions(side, side)
    # A multiplication and an addition for each weight at each place of a convolution's map.
    flop = 0

    def count(module, given, output):
        nonlocal flop
        flop += 2 * output.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.rand(1, 3, side, side))
    assert found.flop == found.passes[0] == flop
    # The second pass stops behind conv_4_1.
    assert 0 < found.passes[1] < flop
    assert found.weights == 4 * sum(one.numel() for one in model.net.state_dict().values())


def test_networks_without_a_side_or_that_retrieve_are_not_known():
    recipe = {"method": "retrieval_augmented", "images": "train", "extractor": "small", "database": {"images": "train"}}
    raw = changed(SMALL, ("models", "other"), {"architecture": "racnn", "train": recipe})
    assert known_networks(load_config(raw), [("small", None), ("other", 32)], "small") == {}


# -- words


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999.4, "999 B"), (999.6, "1 kB"), (1234, "1.23 kB"), (5.12e11, "512 GB"), (1.02e24, "1.02e+03 ZB")],
)
def test_numbers_have_prefixes(value, text):
    assert prefixed(value, "B") == text


def test_a_plan_imports_what_builds_networks_only_when_it_is_made():
    code = "import sys, nndefense.commands.plan\nassert not {'torch', 'faiss', 'scipy'} & set(sys.modules), sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "scripts")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


def test_a_missing_yaml_library_is_told(monkeypatch, place):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"config.yaml: PyYAML is missing; pip install PyYAML"):
        read_configuration([])
