"""What the configuration may say of training, and which files and modules follow from it."""

import copy
from pathlib import Path

import pytest
import yaml

from nndefense.config import read_schema, trained_from, validate_config
from nndefense.defenses import TRAINING
from nndefense.errors import ConfigError
from nndefense.sources import module_file
from nndefense.training_plan import TrainingPlan
from nndefense.workflow import Plan

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = read_schema(ROOT / "schemas/config.schema.yaml")
ENSEMBLE = {"method": "ensemble_training", "sources": ["resnet14"], "initial": "resnet20"}
PAIRING = {"method": "logit_pairing"}


def configured(**recipes):
    """The default experiment with these models besides its own, of ResNet-20's architecture."""
    config = copy.deepcopy(yaml.safe_load((ROOT / "config.yaml").read_text()))
    config["models"] = {name: config["models"][name] for name in ("resnet20", "resnet14")}
    config["defenses"], config["linf"] = {}, None
    for name, recipe in recipes.items():
        config["models"][name] = {"architecture": "cifar_resnet20", "train": {"images": "shapes_train", **recipe}}
    return validate_config(config, SCHEMA)


def test_methods_have_their_own_keys_and_defaults():
    models = configured(ensemble=ENSEMBLE, pairing=PAIRING)["models"]
    common = {"images", "epochs", "batch", "learning_rate", "weight_decay", "flip", "threads", "initial", "method"}
    assert set(models["resnet20"]["train"]) == common
    assert models["resnet20"]["train"]["method"] == "standard"
    assert {key: models["ensemble"]["train"][key] for key in set(models["ensemble"]["train"]) - common} == {
        "epsilon": 0.03,
        "sources": ["resnet14"],
        "attack": "fgsm",
    }
    assert {key: models["pairing"]["train"][key] for key in set(models["pairing"]["train"]) - common} == {
        "epsilon": 0.03,
        "attack_steps": 3,
        "pairing_weight": 0.05,
    }


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"method": "magic"}, "models.mine.train.method: 'magic' is not allowed; allowed: standard, ensemble_training"),
        (
            {"epsilon": 0.1},
            "models.mine.train: 'epsilon' belongs to method ensemble_training and logit_pairing",
        ),
        ({**PAIRING, "sources": []}, "'sources' belongs to method ensemble_training, not to logit_pairing"),
        ({**ENSEMBLE, "epsilon": 1.5}, "models.mine.train.epsilon: 1.5 is greater than the maximum of 1"),
        ({**ENSEMBLE, "sources": ["vgg"]}, "models.mine.train.sources: 'vgg' is unknown; allowed: resnet20, resnet14"),
        ({**ENSEMBLE, "sources": ["mine"]}, "models.mine.train: a model cannot be trained from itself (mine -> mine)"),
        ({**ENSEMBLE, "sources": ["other"]}, "a model cannot be trained from itself (mine -> other -> mine)"),
        ({"initial": "vgg"}, "models.mine.train.initial: 'vgg' is unknown"),
        ({"initial": "resnet14"}, "models.mine.train.initial: cifar_resnet14 cannot start a cifar_resnet20"),
    ],
)
def test_errors_name_the_key_in_one_line(recipe, message):
    with pytest.raises(ConfigError) as caught:
        configured(mine=recipe, other={"initial": "mine"})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_and_modules_of_a_training():
    plan = Plan(configured(ensemble=ENSEMBLE, pairing=PAIRING, further={"initial": "ensemble"}), ROOT)
    training = plan.training
    assert training.descriptions("ensemble", "sources") == ["<results>/models/resnet14/model.json"]
    assert training.descriptions("ensemble", "initial") == ["<results>/models/resnet20/model.json"]
    assert training.weights("ensemble") == [
        "<results>/models/resnet20/weights.safetensors",
        "<results>/models/resnet14/weights.safetensors",
    ]
    assert training.weights("pairing") == []
    assert training.trained(["further"]) == ["resnet20", "resnet14", "ensemble", "further"]
    assert plan.trained("logit_pairing") == ["pairing"]
    assert plan.trained() == ["resnet20", "resnet14", "ensemble", "pairing", "further"]


def test_only_the_modules_of_its_method_are_inputs_of_a_training():
    plan = Plan(configured(ensemble=ENSEMBLE, pairing=PAIRING), ROOT)

    def files(model):
        return {Path(file).name for file in plan.modules("train_model", *plan.training.modules(model))}

    assert {"train.py", "objective.py", "shapes.py", "cifar_resnet.py"} <= files("resnet20")
    assert not files("resnet20") & {"ensemble_training.py", "logit_pairing.py", "mixed.py", "linf.py", "folder.py"}
    assert files("ensemble") - files("resnet20") >= {"ensemble_training.py", "mixed.py", "linf.py"}
    assert "logit_pairing.py" not in files("ensemble")
    assert "ensemble_training.py" not in files("pairing")


def test_curves_are_of_the_networks_in_use():
    config = configured(ensemble=ENSEMBLE, pairing=PAIRING)
    assert Plan(config, ROOT).curves() == [
        "<results>/models/resnet20/training.csv",
        "<results>/models/resnet14/training.csv",
    ]
    config["defenses"]["ensemble_training"] = {"model": "ensemble"}
    assert Plan(config, ROOT).curves()[-1] == "<results>/models/ensemble/training.csv"
    assert "<results>/training.pdf" in Plan(config, ROOT).report.targets()
    for model in config["models"].values():
        model.pop("train")
    config["defenses"] = {}
    assert "<results>/training.pdf" not in Plan(config, ROOT).report.targets()


def test_what_a_model_is_trained_from():
    models = configured(ensemble=ENSEMBLE, pairing=PAIRING)["models"]
    assert trained_from(models["ensemble"]) == ["resnet20", "resnet14"]
    assert trained_from(models["pairing"]) == trained_from({"weights": "x.pth"}) == []


def test_every_method_of_the_schema_is_registered():
    methods = SCHEMA["$defs"]["model"]["properties"]["train"]["properties"]["method"]["enum"]
    assert set(TrainingPlan.methods) == set(methods) - {"retrieval_augmented"}
    assert all(module_file(entry.partition(":")[0]) for entry in TRAINING.values())
