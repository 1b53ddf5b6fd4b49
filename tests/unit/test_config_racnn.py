"""Recipes of retrieval-augmented networks: defaults, and one line for each mistake."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from nndefense.config import Config, load_config
from nndefense.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
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


def loaded(recipe: dict, **model: object) -> Config:
    return load_config(config(recipe, **model))


def test_defaults_are_those_of_the_fine_tuned_network():
    models = loaded(RECIPE).models
    recipe = models["tuned"].train
    assert (recipe.neighbors, recipe.finetune, recipe.mixup, recipe.ordinary) == (10, True, 5, 1)
    assert (recipe.hidden, recipe.engine, recipe.projection, recipe.use_labels) == ([], "exact", None, None)
    assert recipe.lsh.model_dump() == {"hashes": 8, "tables": 24, "width": None}
    assert not set(models["plain"].train.model_dump()) & {"extractor", "database", "neighbors", "lsh"}


def test_options_are_those_of_the_class_that_uses_them():
    from nndefense.models.racnn_training import RetrievalTraining

    recipe = loaded({**RECIPE, "hidden": [8], "lsh": {"tables": 3}}).models["tuned"].train
    options = RetrievalTraining.of(recipe.model_dump())
    assert asdict(options) == recipe.options
    network = options.network("cifar_resnet8", rows=100, seed=5)
    assert (network["base"], network["rows"], network["seed"], network["tables"]) == ("cifar_resnet8", 100, 5, 3)
    assert not network["use_labels"]
    frozen = RetrievalTraining.of({**recipe.model_dump(), "finetune": False})
    assert frozen.network("cifar_resnet8", rows=100, seed=5)["use_labels"]
    with pytest.raises(ConfigError, match="training option neighbors is 0; allowed: an integer >= 1"):
        RetrievalTraining.of({**recipe.model_dump(), "neighbors": 0})
    with pytest.raises(ConfigError, match="lsh option width is 0; allowed: a number > 0 or null"):
        RetrievalTraining.of({**recipe.model_dump(), "lsh": {"width": 0}})


def test_what_a_model_is_trained_from():
    models = loaded(RECIPE).models
    assert models["tuned"].trained_from == ["plain"]
    assert models["plain"].trained_from == []
    assert models["resnet20_ensemble"].trained_from == ["resnet20", "resnet8"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extractor": "nobody"}, "models.tuned.train.extractor: 'nobody' is unknown; allowed: resnet20"),
        ({"extractor": "tuned"}, "models.tuned.train.extractor: 'tuned' is unknown"),
        ({"extractor": None}, "models.tuned.train.extractor: None is not allowed; allowed: text"),
        ({"neighbors": 100}, "models.tuned.train.neighbors: 100 needs a database of more images than 100"),
        ({"database": {"images": "web"}, "neighbors": 200}, "more images than 200"),
        ({"database": {"images": "web", "rows": 201}}, "database.rows: 201 exceeds the 200 images of web"),
        ({"database": {"images": "sea"}}, "models.tuned.train.database.images: 'sea' is unknown"),
        ({"database": {"rows": 5}}, "models.tuned.train.database: missing key 'images'"),
        ({"use_labels": True}, "models.tuned.train.use_labels: local mixup"),
        ({"initial": "plain"}, "models.tuned.train.initial: training starts from the extractor"),
        ({"engine": "tree"}, "'tree' is not allowed; allowed: exact, lsh"),
        ({"lsh": {"width": 0}}, "models.tuned.train.lsh.width: 0 is not allowed; allowed: a number > 0 or null"),
        ({"database": {"images": "web", "rows": 1}}, "database.rows: 1 is not allowed; allowed: an integer >= 2"),
        ({"database": {"images": "web", "row": 9}}, "tuned.train.database: unknown key 'row'; allowed: images, rows"),
        ({"lsh": {"hash": 1}}, "models.tuned.train.lsh: unknown key 'hash'; allowed: hashes, tables, width"),
        ({"method": "standard"}, "'extractor' belongs to method retrieval_augmented, not to standard"),
    ],
)
def test_mistakes_get_one_line(changes, message):
    with pytest.raises(ConfigError) as caught:
        loaded({**RECIPE, **changes})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["extractor", "database"])
def test_missing_keys_are_named(key):
    recipe = {name: value for name, value in RECIPE.items() if name != key}
    with pytest.raises(ConfigError, match=f"models.tuned.train: missing key '{key}'"):
        loaded(recipe)


def test_architecture_method_and_standardisation_go_together():
    for recipe, model in ((RECIPE, {"architecture": "cifar_resnet8"}), ({"images": "train"}, {})):
        with pytest.raises(ConfigError, match=r"models.tuned: architecture racnn and method retrieval_augmented"):
            loaded(recipe, **model)
    with pytest.raises(ConfigError, match=r"models.tuned.mean: must be that of plain"):
        loaded(RECIPE, mean=[0.4, 0.4, 0.4])
    nested = config(RECIPE)
    nested["models"]["upon"] = {"architecture": "racnn", "train": {**RECIPE, "extractor": "tuned"}}
    with pytest.raises(ConfigError, match=r"models.upon.train.extractor: tuned is a racnn itself"):
        load_config(nested)


def test_labels_are_allowed_without_mixup_or_without_fine_tuning():
    for changes in ({"mixup": 0}, {"finetune": False}):
        loaded({**RECIPE, "use_labels": True, **changes})
