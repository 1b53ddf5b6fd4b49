"""The configuration: presets are valid, defaults are filled in, the page that documents it is up to date."""

import copy
from pathlib import Path

import pytest
import yaml

from nndefense.config import read_schema, validate_config
from nndefense.document import document
from nndefense.errors import ConfigError
from nndefense.settings import Settings
from nndefense.workflow import Plan

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = read_schema(ROOT / "schemas/config.schema.yaml")
PRESETS = sorted([ROOT / "config.yaml", *(ROOT / "config").glob("*.yaml")])


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.name)
def test_presets_are_valid_and_stand_alone(path):
    config = validate_config(load(path), SCHEMA)
    plan = Plan(config, ROOT)
    assert plan.queries[0] == "clean"
    assert len(plan.queries) == len(set(plan.queries))
    assert config["base"]["weighting"] == "CBW-D"


@pytest.mark.parametrize("path", sorted((ROOT / "config/ablations").glob("*.yaml")), ids=lambda path: path.name)
def test_ablations_extend_the_default(path):
    config = load(ROOT / "config.yaml")
    changes = load(path)
    assert "dataset" not in changes
    for key, value in changes.items():
        config[key] = {**config[key], **value}
    validate_config(config, SCHEMA)


def test_every_level_refuses_unknown_keys():
    def objects(part):
        if isinstance(part, dict):
            if part.get("type") == "object" and "properties" in part:
                yield part
            for value in part.values():
                yield from objects(value)
        elif isinstance(part, list):
            for value in part:
                yield from objects(value)

    # An image set's own keys are closed by the schema of its kind, names of attacks and defences by their registries.
    registered = {"$ref": "#/$defs/registered"}
    loose = [part for part in objects(SCHEMA) if part.get("additionalProperties") not in (False, registered)]
    assert [list(part["properties"]) for part in loose] == [["kind"]]


@pytest.mark.parametrize(("section", "names"), [(("attacks", "methods"), "cw, fgsm"), (("defenses",), "crop_ensemble")])
def test_names_that_no_registry_has_are_refused(section, names):
    config = load(ROOT / "config.yaml")
    part = config
    for key in section:
        part = part[key]
    part["magic"] = {}
    with pytest.raises(ConfigError, match=f"{'.'.join(section)}: 'magic' is unknown; allowed: {names}"):
        validate_config(config, SCHEMA)


def test_every_key_has_a_description():
    missing = [line for line in document(SCHEMA).splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert missing == []


def test_documentation_is_up_to_date():
    assert (ROOT / "config/README.md").read_text() == document(SCHEMA), "run `make docs`"


def test_defaults_are_not_shared_between_configurations():
    first, second = (validate_config(load(ROOT / "config.yaml"), SCHEMA) for _ in range(2))
    first["features"]["pooled"]["conv_4_1"] = 1
    assert second["features"]["pooled"] == {}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("images", "shapes_web", "kind"), "movies", "kind: 'movies' is not allowed; allowed: shapes, folder"),
        (("images", "shapes_web", "rows"), None, "rows: None is not of type 'integer'"),
        (("base", "epsilon"), 0.5, "base.epsilon: 0.5 is unknown; allowed: 0.02"),
        (("base", "features"), "conv_2_1", "base.features: 'conv_2_1' is unknown; allowed: conv_2_3"),
        (("pools", "All", "images"), ["nothing"], "pools.All.images: 'nothing' is unknown"),
        (("queries", "count"), 0, "queries.count: 0 is less than the minimum of 1"),
        (("patches",), None, "patches: missing, image_quilting puts images together from them"),
        (("surrogate",), "vgg", "surrogate: 'vgg' is unknown; allowed: resnet20, resnet14"),
    ],
)
def test_errors_name_the_key_in_one_line(path, value, message):
    config = copy.deepcopy(load(ROOT / "config.yaml"))
    part = config
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(ConfigError) as caught:
        validate_config(config, SCHEMA)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_see_swapped_values_and_ignore_the_order_of_keys():
    assert repr(Settings(a=1, b=2)) != repr(Settings(a=2, b=1))
    assert repr(Settings(a=True, b=False)) != repr(Settings(a=False, b=True))
    assert repr(Settings(b=2, a=1)) == repr(Settings(a=1, b=2))


def test_settings_are_command_line_options():
    settings = Settings(
        sizes=[5, 10], name="a b", skip_limit=0.01, none=None, off=False, on=True, empty=[], table={"b": 1, "a": None}
    )
    expected = "--name 'a b' --on --sizes 5 10 --skip-limit 0.01 --table '{\"a\": null, \"b\": 1}'"
    assert str(settings) == f"{settings}" == expected


def test_plan_of_the_default():
    plan = Plan(validate_config(load(ROOT / "config.yaml"), SCHEMA), ROOT)
    assert plan.shards("All") == ["0-500", "500-1000", "1000-2000", "2000-4000", "4000-8000"]
    assert plan.shards("All", 1500) == ["0-500", "500-1000", "1000-2000"]
    assert plan.shards("Train") == ["0-5000"]
    assert plan.attacker("gray_box") == "resnet20"
    assert plan.attacker("black_box") == "resnet14"
    assert plan.results == "results"


def test_relative_paths_start_from_the_data_folder(monkeypatch):
    monkeypatch.setenv("SOMEWHERE", "/somewhere")
    config = load(ROOT / "config/cifar10.yaml") | {"data": "$SOMEWHERE/data"}
    config["images"]["cifar10_test"]["root"] = "/elsewhere/test"
    validate_config(config, SCHEMA)
    assert config["images"]["cifar10_train"]["root"] == "/somewhere/data/cifar10/train"
    assert config["images"]["cifar10_test"]["root"] == "/elsewhere/test"
    assert config["models"]["resnet20"]["weights"] == "/somewhere/data/weights/cifar10-resnet20.safetensors"


def test_an_unknown_architecture_is_named_with_those_that_exist():
    config = load(ROOT / "config.yaml")
    config["models"]["resnet20"]["architecture"] = "magicnet"
    with pytest.raises(ConfigError, match=r"models\.resnet20: architecture .magicnet.: unknown; allowed: cifar_resnet"):
        validate_config(config, SCHEMA)
