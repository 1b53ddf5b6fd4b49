"""Recipes of retrieval-augmented networks: defaults, and one line for each mistake."""

from pathlib import Path

import pytest
import yaml

from nndefense.config import read_schema, validate_config
from nndefense.errors import ConfigError
from nndefense.workflow import Plan

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = read_schema(ROOT / "schemas/config.schema.yaml")
RECIPE = {
    "images": "train",
    "method": "retrieval_augmented",
    "extractor": "plain",
    "database": {"images": "web", "rows": 100},
}


def config(recipe: dict, **model: object) -> dict:
    """The default experiment with three models: a plain one, a retrieval-augmented one, and one on that."""
    made = yaml.safe_load((ROOT / "config.yaml").read_text())
    shapes = {"kind": "shapes", "first": 0}
    made["images"] |= {"train": shapes | {"rows": 300}, "web": shapes | {"rows": 200, "content": "web"}}
    made["models"]["plain"] = {"architecture": "cifar_resnet8", "train": {"images": "train"}}
    made["models"]["tuned"] = {"architecture": "racnn", "train": recipe, **model}
    return made


def test_defaults_are_those_of_the_fine_tuned_network():
    checked = validate_config(config(dict(RECIPE)), SCHEMA)
    recipe = checked["models"]["tuned"]["train"]
    expected = {"neighbors": 10, "finetune": True, "mixup": 5, "ordinary": 1, "hidden": [], "engine": "exact"}
    assert {key: recipe[key] for key in expected} == expected
    assert recipe["lsh"] == {"hashes": 8, "tables": 24, "width": None}
    assert not set(checked["models"]["plain"]["train"]) & {"extractor", "database", "neighbors", "lsh"}


def test_plan_knows_what_it_is_made_of():
    plan = Plan(validate_config(config(dict(RECIPE)), SCHEMA), ROOT)
    assert "tuned" in plan.trained("retrieval_augmented")
    assert "tuned" not in plan.trained("standard", "ensemble_training", "logit_pairing")
    assert plan.retrieval_set("tuned") == "web"
    assert plan.training.descriptions("tuned", "extractor") == ["<results>/models/plain/model.json"]
    assert plan.training.weights("tuned") == ["<results>/models/plain/weights.safetensors"]
    files = {Path(file).name for file in plan.modules("evaluate_model", *plan.network_modules("tuned"))}
    assert {"racnn.py", "memory.py", "lsh.py", "cifar_resnet.py"} <= files
    assert "racnn_training.py" not in files


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extractor": "nobody"}, "models.tuned.train.extractor: 'nobody' is unknown; allowed: resnet20"),
        ({"extractor": "tuned"}, "models.tuned.train.extractor: 'tuned' is unknown"),
        ({"extractor": None}, "models.tuned.train.extractor: None is not of type 'string'"),
        ({"neighbors": 100}, "models.tuned.train.neighbors: 100 needs a database of more images than 100"),
        ({"database": {"images": "web"}, "neighbors": 200}, "more images than 200"),
        ({"database": {"images": "web", "rows": 201}}, "database.rows: 201 exceeds the 200 images of web"),
        ({"database": {"images": "sea"}}, "models.tuned.train.database.images: 'sea' is unknown"),
        ({"database": {"rows": 5}}, "models.tuned.train.database: missing key 'images'"),
        ({"use_labels": True}, "models.tuned.train.use_labels: local mixup"),
        ({"initial": "plain"}, "models.tuned.train.initial: training starts from the extractor"),
        ({"engine": "tree"}, "'tree' is not allowed; allowed: exact, lsh"),
        ({"lsh": {"width": 0}}, "models.tuned.train.lsh.width: 0 is less than or equal to the minimum of 0"),
        ({"method": "standard"}, "'extractor' belongs to method retrieval_augmented, not to standard"),
    ],
)
def test_mistakes_get_one_line(changes, message):
    with pytest.raises(ConfigError) as caught:
        validate_config(config({**RECIPE, **changes}), SCHEMA)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["extractor", "database"])
def test_missing_keys_are_named(key):
    recipe = {name: value for name, value in RECIPE.items() if name != key}
    with pytest.raises(ConfigError, match=f"models.tuned.train: missing key '{key}'"):
        validate_config(config(recipe), SCHEMA)


def test_architecture_method_and_standardisation_go_together():
    for recipe, model in ((RECIPE, {"architecture": "cifar_resnet8"}), ({"images": "train"}, {})):
        with pytest.raises(ConfigError, match=r"models.tuned: architecture racnn and method retrieval_augmented"):
            validate_config(config(dict(recipe), **model), SCHEMA)
    with pytest.raises(ConfigError, match=r"models.tuned.mean: must be that of plain"):
        validate_config(config(dict(RECIPE), mean=[0.4, 0.4, 0.4]), SCHEMA)
    nested = config(dict(RECIPE))
    nested["models"]["upon"] = {"architecture": "racnn", "train": {**RECIPE, "extractor": "tuned"}}
    with pytest.raises(ConfigError, match=r"models.upon.train.extractor: tuned is a racnn itself"):
        validate_config(nested, SCHEMA)


def test_labels_are_allowed_without_mixup_or_without_fine_tuning():
    for changes in ({"mixup": 0}, {"finetune": False}):
        validate_config(config({**RECIPE, "use_labels": True, **changes}), SCHEMA)
