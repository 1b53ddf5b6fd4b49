"""The configuration: presets are valid, defaults are filled in, the pages made from it are up to date."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from nndefense.attacks import ATTACKS
from nndefense.config import load_config
from nndefense.config.attacks import ATTACK_OPTIONS
from nndefense.config.defenses import DEFENSE_KINDS
from nndefense.config.document import document, schema
from nndefense.config.images import IMAGE_KINDS
from nndefense.config.models import METHODS
from nndefense.core.registry import load
from tests.unit.config_cases import SMALL, changed

ROOT = Path(__file__).resolve().parents[2]
PRESETS = sorted([ROOT / "config.yaml", *(ROOT / "config").glob("*.yaml")])
ABLATIONS = sorted((ROOT / "config/ablations").glob("*.yaml"))


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


# -- what is in the repository


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.name)
def test_presets_are_valid_and_stand_alone(path):
    raw = read(path)
    before = copy.deepcopy(raw)
    config = load_config(raw)
    assert raw == before
    assert config.base.weighting == "CBW-D"
    assert config.base.pool == list(config.pools)[-1]
    jsonschema.validate(raw, json.loads(schema()))


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.name)
def test_ablations_extend_the_default(path):
    default, changes = read(ROOT / "config.yaml"), read(path)
    assert "dataset" not in changes
    merged = {key: {**default[key], **changes[key]} if key in changes else value for key, value in default.items()}
    assert load_config(merged) != load_config(default)


def test_files_that_the_default_and_the_ablations_name_exist():
    for path in [*PRESETS, *ABLATIONS]:
        for word in path.read_text().split():
            if word.startswith("config/") and word.endswith(".yaml"):
                assert (ROOT / word).is_file(), f"{path.name}: {word}"


def test_a_layer_added_by_the_ablation_leaves_the_others_alone():
    default = load_config(read(ROOT / "config.yaml")).features
    layers = read(ROOT / "config/ablations/layers.yaml")["features"]["layers"]
    assert layers[: len(default.passes)] == default.passes
    assert len(layers) > len(default.passes)


def test_both_pages_are_up_to_date():
    assert (ROOT / "config/README.md").read_text(encoding="utf-8") == document(), "run `make docs`"
    assert (ROOT / "schemas/config.schema.json").read_text(encoding="utf-8") == schema(), "run `make docs`"


def test_the_page_is_printed_and_both_are_written(tmp_path):
    command = [sys.executable, "-m", "nndefense.config"]
    printed = subprocess.run(command, capture_output=True, check=True, timeout=60, encoding="utf-8")
    assert printed.stdout == document()
    (tmp_path / "config").mkdir()
    subprocess.run([*command, "--write"], check=True, timeout=60, cwd=tmp_path)
    assert (tmp_path / "config/README.md").read_text(encoding="utf-8") == document()
    assert (tmp_path / "schemas/config.schema.json").read_text(encoding="utf-8") == schema()


def test_every_key_has_a_description():
    assert [line for line in document().splitlines() if line.startswith("| `") and line.endswith("|  |")] == []


def test_every_attack_kind_and_method_has_its_section():
    page = document()
    names = [f"Attack `{name}`" for name in ATTACK_OPTIONS]
    names += [f"Training by method `{name}`" for name in METHODS]
    names += [f"Image sets of kind `{name}`" for name in IMAGE_KINDS]
    names += [f"Defence of kind `{name}`" for name in DEFENSE_KINDS]
    assert [name for name in names if f"## {name}\n" not in page] == []


def test_nothing_heavy_is_imported():
    code = (
        "import sys, nndefense.config, nndefense.config.document\n"
        "print([one for one in ('torch', 'faiss', 'scipy', 'pandas', 'matplotlib', 'PIL') if one in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert printed.stdout.strip() == b"[]"


# -- shape


def test_every_level_refuses_unknown_keys():
    def objects(part):
        if isinstance(part, dict):
            if "properties" in part and part.get("type") == "object":
                yield part
            for value in part.values():
                yield from objects(value)

    found = list(objects(json.loads(schema())))
    assert len(found) > 20
    assert [part for part in found if part.get("additionalProperties") is not False] == []


def test_defaults_are_not_shared_between_configurations():
    first, second = load_config(SMALL), load_config(SMALL)
    first.features.pooled["conv_4_1"] = 1
    first.votes.neighbors.append(7)
    first.models["small"].mean[0] = 7.0
    first.defenses["more"] = None
    assert second == load_config(SMALL)
    assert second.votes.neighbors == [50]


def test_a_configuration_cannot_be_changed():
    with pytest.raises(Exception, match="frozen"):
        load_config(SMALL).seed = 2


def test_it_dumps_without_warnings(recwarn):
    for path in PRESETS:
        dumped = load_config(read(path)).model_dump(mode="json")
        assert isinstance(json.dumps(dumped), str)
    assert not recwarn.list


def test_passes_and_packs():
    raw = changed(SMALL, ("features", "layers"), [["conv_2_1", "conv_4_1"], "conv_3_1", ["conv_4_1-RMAC"]])
    raw = changed(raw, ("attacks", "epsilons"), [0.02, [0.04, 0.06], 1])
    config = load_config(raw)
    assert config.features.passes == [["conv_2_1", "conv_4_1"], ["conv_3_1"], ["conv_4_1-RMAC"]]
    assert config.features.names == ["conv_2_1", "conv_4_1", "conv_3_1", "conv_4_1-RMAC"]
    assert config.attacks.packs == [(0.02,), (0.04, 0.06), (1.0,)]
    assert config.attacks.values == [0.02, 0.04, 0.06, 1.0]
    linf = load_config(changed(SMALL, ("attacks", "linf"), {"methods": {"fgsm": {}}})).attacks.linf
    assert linf.packs == [(0.01, 0.02, 0.04, 0.06, 0.08)]
    assert linf.values == [0.01, 0.02, 0.04, 0.06, 0.08]


def test_flat_lists_stay_valid():
    raw = changed(SMALL, ("features", "layers"), ["conv_2_1", "conv_4_1"])
    config = load_config(changed(raw, ("attacks", "epsilons"), [0.02, 0.06]))
    assert config.features.passes == [["conv_2_1"], ["conv_4_1"]]
    assert config.attacks.packs == [(0.02,), (0.06,)]


def test_attacks_stay_in_the_order_of_the_configuration():
    methods = {"pgd": {}, "fgsm": {}, "cw": {}}
    config = load_config(changed(SMALL, ("attacks", "methods"), methods))
    assert list(config.attacks.methods) == list(methods)
    assert config.attacks.methods["pgd"].model_dump()["steps"] == 10


def test_options_of_a_component_fit_its_class():
    config = load_config(read(ROOT / "config.yaml"))
    for name, options in config.attacks.methods.items():
        assert load(ATTACKS[name].target)(**options.model_dump()).steps if name == "pgd" else True
    assert config.defenses["image_quilting"].options["neighbors"] == 1
    assert not {"kind", "label", "model"} & set(config.defenses["image_quilting"].options)
    assert config.defenses["racnn_5"].options == {"temperature": 1.0, "candidates": 10}
    recipe = config.models["resnet20_ensemble"].train
    assert recipe.sources == ["resnet8"]
    assert set(recipe.options) == {"epsilon", "attack"}
    assert config.models["resnet20"].train.options == {}


@pytest.mark.parametrize(
    ("pools", "main"),
    [
        ({"All": [50, 51, 52, 53], "Targeted": [50, 51, 52]}, "Targeted"),
        ({"All": [50, 51, 52], "Targeted": [50]}, "All"),
        ({"All": [50], "Targeted": [50]}, "Targeted"),
        ({"All": [51, 50]}, "All"),
    ],
)
def test_the_main_pool(pools, main):
    raw = {**SMALL, "pools": {name: {"images": ["train"], "sizes": sizes} for name, sizes in pools.items()}}
    config = load_config(raw)
    assert config.base.pool == main
    assert {name: pool.values for name, pool in config.pools.items()} == {k: sorted(v) for k, v in pools.items()}
    first = next(iter(pools))
    assert load_config(changed(raw, ("base", "pool"), first)).base.pool == first


def test_pools_have_the_general_sizes_in_ascending_order():
    assert load_config(SMALL).pools["All"].values == [100, 500]
    # How they are grouped says what is searched in one pass, not which databases there are.
    assert load_config({**SMALL, "sizes": [[500, 50], 100]}).pools["All"].values == [50, 100, 500]


def test_relative_paths_start_from_the_data_folder(monkeypatch):
    monkeypatch.setenv("SOMEWHERE", "/somewhere")
    raw = read(ROOT / "config/cifar10.yaml") | {"data": "$SOMEWHERE/data"}
    raw["images"]["cifar10_test"]["root"] = "/elsewhere/test"
    config = load_config(raw)
    assert config.images["cifar10_train"].root == "/somewhere/data/cifar10/train"
    assert config.images["cifar10_test"].root == "/elsewhere/test"
    assert config.models["resnet20"].weights == "/somewhere/data/weights/cifar10-resnet20.safetensors"
    assert raw["images"]["cifar10_train"]["root"] == "cifar10/train"
