"""Sections `validation` and `dictionaries`, and defences that they choose or serve: every mistake gets one line."""

from pathlib import Path

import pytest
import yaml

from nndefense.config import load_config
from nndefense.flow.models import curves, method_needs, training_targets

from .config_cases import SMALL, changed, message

ROOT = Path(__file__).resolve().parents[2]
NET = {"architecture": "cifar_resnet8"}
CLUSTERED = {"method": "clustered", "images": "train", "initial": "small"}
RAW = {
    **SMALL,
    "images": {
        "train": {"kind": "shapes", "first": 0, "rows": 500},
        "test": {"kind": "shapes", "first": 500, "rows": 500},
        "held": {"kind": "shapes", "first": 1000, "rows": 500},
    },
    "queries": {"images": "test"},
    "models": {
        "small": {**NET, "train": {"images": "train"}},
        "other": {"architecture": "cifar_resnet14", "train": {"images": "train"}},
        "robust": {**NET, "train": CLUSTERED},
        "metric": {**NET, "train": {"method": "metric_learning", "images": "train"}},
    },
    "attacks": {
        "methods": {"pgd": {}},
        "epsilons": [[0.02, 0.06]],
        "adaptive": {"methods": {"soft_retrieval": {}}, "epsilons": [0.06], "defenses": ["none"], "full": []},
    },
    "validation": {"images": "held"},
    "dictionaries": {
        "images": "train",
        "table": ["low_pass", "srd", "srd_oracle", "srd_robust", "robust"],
        "epsilons": [0.06],
        "attacks": {"bpda": {"steps": 5}, "unrolled": {"steps": 5}},
    },
    "defenses": {
        "low_pass": {"tune": {"weight": [0.1, 0.5]}},
        "srd": {"tune": {"sparsity": [0.01, 0.1]}},
        "srd_oracle": {"kind": "srd", "choice": "oracle", "tuned_as": "srd"},
        "srd_robust": {"kind": "srd", "chooser": "robust", "tuned_as": "srd"},
        "robust": {"kind": "cluster_training", "model": "robust"},
        "crop_ensemble": {},
    },
}
OF_SRD = "choice, distance, sparsity, iterations, tolerance, unrolled"
PLACES = "low_pass, srd, srd_oracle, srd_robust, robust, crop_ensemble"
MODELS = "small, other, robust, metric"
NAME = "text of the form [A-Za-z0-9_]{1,64}"


def said(path, value):
    return message(changed(RAW, tuple(path.split(".")), value))


def test_the_examples_hold():
    config = load_config(RAW)
    assert config.validation.loss == 0.05
    assert config.dictionaries.learning.low_pass == 5.0
    assert load_config(SMALL).dictionaries is None
    for name in ("config.yaml", "config/cifar10_srd.yaml"):
        assert load_config(yaml.safe_load((ROOT / name).read_text())).dictionaries.table


def test_a_set_may_be_that_of_the_queries_and_a_model_the_target():
    same = changed(changed(RAW, ("validation", "images"), "test"), ("dictionaries", "model"), "small")
    assert load_config(same).validation.images == load_config(same).queries.images


# -- mistakes


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("validation", {}, "validation: missing key 'images'"),
        ("validation.images", "sea", "validation.images: 'sea' is unknown; allowed: train, test, held"),
        ("validation.count", 0, "validation.count: 0 is not allowed; allowed: an integer >= 1"),
        ("validation.count", None, "validation.count: None is not allowed; allowed: an integer >= 1"),
        ("validation.loss", 1.5, "validation.loss: 1.5 is not allowed; allowed: a number >= 0 and <= 1"),
        ("validation.loss", -0.1, "validation.loss: -0.1 is not allowed; allowed: a number >= 0 and <= 1"),
        ("validation.size", 3, "validation: unknown key 'size'; allowed: images, count, loss"),
        ("validation", ..., "validation: missing, defenses.low_pass is tuned on its images"),
        ("validation", None, "validation: missing, defenses.low_pass is tuned on its images"),
    ],
)
def test_mistakes_in_validation_get_one_line(path, value, expected):
    assert said(path, value) == expected


def test_a_choice_of_another_defence_needs_validation_images_too():
    raw = changed(RAW, ("defenses",), {"srd": {}, "srd_whole": {"kind": "srd", "choice": "whole", "tuned_as": "srd"}})
    raw = changed(changed(raw, ("validation",), ...), ("dictionaries", "table"), ["srd"])
    assert message(raw) == "validation: missing, defenses.srd_whole is tuned on its images"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("images", ..., ": missing key 'images'"),
        ("images", "sea", ".images: 'sea' is unknown; allowed: train, test, held"),
        ("model", "vgg", f".model: 'vgg' is unknown; allowed: {MODELS}"),
        ("model", "metric", ".model: metric has no latents of classes; allowed: a plain classifier"),
        ("table", ..., ": missing key 'table'"),
        ("table", [], f".table: [] is empty; allowed: a list, each {NAME}"),
        ("table", ["srd", "srd"], ".table: 'srd' stands there twice; allowed: each once"),
        ("table", ["srd", "blur"], f".table: 'blur' is unknown; allowed: {PLACES}"),
        ("table", ["none", "srd"], f".table: 'none' is unknown; allowed: {PLACES}"),
        ("shown", "low_pass", ".shown: 'low_pass' is unknown; allowed: srd, srd_oracle, srd_robust"),
        ("epsilons", ..., ": missing key 'epsilons'"),
        ("epsilons", [0.02, 0.03], ".epsilons: 0.03 is unknown; allowed: 0.02, 0.06"),
        ("epsilons", [0.02, [0.02]], ".epsilons: 0.02 stands there twice; allowed: each once"),
        ("attacks", ..., ": missing key 'attacks'"),
        ("attacks", {}, ".attacks: empty; allowed: one or more of noise, transfer"),
        ("attacks", {"pgd_fs": {}}, ".attacks: 'pgd_fs' is unknown; allowed: noise, transfer"),
        ("attacks", {"bpda": {"steps": 0}}, ".attacks.bpda.steps: 0 is not allowed; allowed: an integer >= 1"),
        ("attacks", {"bpda": {"refresh": 0}}, ".attacks.bpda.refresh: 0 is not allowed; allowed: an integer >= 1"),
        ("attacks", {"unrolled": {"iterations": 5}}, ".attacks.unrolled: unknown key 'iterations'; allowed: restarts"),
        ("clusters.most", 0, ".clusters.most: 0 is not allowed; allowed: an integer >= 1"),
        ("clusters.smallest", 1, ".clusters.smallest: 1 is not allowed; allowed: an integer >= 2"),
        ("clusters.components", 0, ".clusters.components: 0 is not allowed; allowed: an integer >= 1"),
        ("clusters.criterion", "aic", ".clusters.criterion: 'aic' is not allowed; allowed: silhouette, bic"),
        ("clusters.least_silhouette", 1.5, ".clusters.least_silhouette: 1.5 is not allowed; allowed: a number >= -1 "
         "and <= 1"),
        ("clusters.k", 2, ".clusters: unknown key 'k'; allowed: most, smallest, components"),
        ("learning.filters", 0, ".learning.filters: 0 is not allowed; allowed: an integer >= 1"),
        ("learning.size", 0, ".learning.size: 0 is not allowed; allowed: an integer >= 1"),
        # With nothing in the high band there would be nothing to learn.
        ("learning.low_pass", 0.0, ".learning.low_pass: 0.0 is not allowed; allowed: a number > 0"),
        ("learning.sparsity", 0.0, ".learning.sparsity: 0.0 is not allowed; allowed: a number > 0"),
        ("learning.steps", 0, ".learning.steps: 0 is not allowed; allowed: an integer >= 1"),
        ("learning.batch", 0, ".learning.batch: 0 is not allowed; allowed: an integer >= 1"),
        ("learning.crop", 0, ".learning.crop: 0 is not allowed; allowed: an integer >= 1"),
        ("learning.jobs", 0, ".learning.jobs: 0 is not allowed; allowed: an integer >= 1"),
        ("learning.rho", 5.0, ".learning: unknown key 'rho'; allowed: filters, size, low_pass"),
        ("colour", 1, ": unknown key 'colour'; allowed: images, model, clusters, learning, table, shown"),
    ],
)  # fmt: skip
def test_mistakes_in_dictionaries_get_one_line(path, value, expected):
    raw = changed(changed(RAW, ("dictionaries", "clusters"), {}), ("dictionaries", "learning"), {})
    assert message(changed(raw, ("dictionaries", *path.split(".")), value)).startswith(f"dictionaries{expected}")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("attacks.settings", ["black_box"], "attacks.settings: gray_box is missing, section dictionaries compares"),
        ("dictionaries", ..., "dictionaries: missing, models.robust.train needs the clusters of its images"),
        ("defenses.srd", ..., "defenses.srd_oracle.tuned_as: 'srd' is unknown; allowed: none"),
    ],
)
def test_what_dictionaries_need_of_other_sections_is_missed(path, value, expected):
    raw = changed(RAW, ("surrogate",), "other")
    assert message(changed(raw, tuple(path.split(".")), value)).startswith(expected)


def test_a_defence_by_dictionaries_needs_them():
    raw = {**SMALL, "defenses": {"crop_ensemble": {}, "mine": {"kind": "srd"}}}
    assert message(raw) == "dictionaries: missing, defenses.mine purifies by them"
    assert message(changed(RAW, ("dictionaries", "shown"), "mine")).startswith("dictionaries.shown: 'mine' is unknown")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("srd.tune", 7, "srd.tune: 7 is not allowed; allowed: a mapping or null"),
        ("srd.tune", {}, f"srd.tune: 0 options; allowed: one of {OF_SRD}"),
        ("srd.tune", {"sparsity": [0.1], "iterations": [5]}, f"srd.tune: 2 options; allowed: one of {OF_SRD}"),
        ("srd.tune", {"rho": [1]}, f"srd.tune: 'rho' is unknown; allowed: {OF_SRD}"),
        # Which network chooses, and what others call it, are none of the options of its class.
        ("srd.tune", {"chooser": ["small"]}, f"srd.tune: 'chooser' is unknown; allowed: {OF_SRD}"),
        ("srd.tune", {"label": ["SRD"]}, f"srd.tune: 'label' is unknown; allowed: {OF_SRD}"),
        ("srd.tune", {"a b": [1]}, f"srd.tune: 'a b' is not allowed as a name; allowed: {NAME}"),
        ("srd.tune.sparsity", 0.1, "srd.tune.sparsity: 0.1 is not allowed; allowed: a list"),
        ("srd.tune.sparsity", [], "srd.tune.sparsity: [] is empty; allowed: a list"),
        ("srd.tune.sparsity", [0.1, 0.1], "srd.tune.sparsity: 0.1 stands there twice; allowed: each once"),
        ("srd.tune.sparsity", [0.1, -1.0], "srd.tune.sparsity: -1.0 is not allowed; allowed: a number > 0"),
        ("srd.tune.sparsity", ["x"], "srd.tune.sparsity: 'x' is not allowed; allowed: a number > 0"),
        ("srd.tune", {"iterations": [9, 2.5]}, "srd.tune.iterations: 2.5 is not allowed; allowed: an integer >= 1"),
        ("srd.tune", {"choice": ["best"]}, "srd.tune.choice: 'best' is not allowed; allowed: nearest, oracle, random"),
        ("crop_ensemble.tune", {"crops": [5, 0]}, "crop_ensemble.tune.crops: 0 is not allowed; allowed: an integer"),
        ("robust.tune", {"x": [1]}, "robust.tune: 'x' is unknown; allowed: none"),
        ("robust.tune", {}, "robust.tune: 0 options; allowed: one of none"),
        ("srd.tuned_as", "srd_robust", "srd: tune and tuned_as; allowed: one of them"),
        ("srd_oracle.tuned_as", "vgg", "srd_oracle.tuned_as: 'vgg' is unknown; allowed: srd"),
        ("srd_oracle.tuned_as", "low_pass", "srd_oracle.tuned_as: 'low_pass' is unknown; allowed: srd"),
        ("srd_oracle.tuned_as", "srd_robust", "srd_oracle.tuned_as: 'srd_robust' is unknown; allowed: srd"),
        ("srd_oracle.tuned_as", "srd_oracle", "srd_oracle.tuned_as: 'srd_oracle' is unknown; allowed: srd"),
        ("crop_ensemble.tuned_as", "low_pass", "crop_ensemble.tuned_as: 'low_pass' is unknown; allowed: none"),
        ("srd_oracle", {"kind": "srd", "choice": "oracle", "tune": {"sparsity": [0.1]}}, "srd_oracle.tune: an oracle "
         "knows nothing of validation images; allowed: tuned_as"),
        ("srd_robust.chooser", "vgg", f"srd_robust.chooser: 'vgg' is unknown; allowed: {MODELS}"),
        ("srd_robust.chooser", "metric",
         "srd_robust.chooser: metric has no latents of classes; allowed: a plain classifier"),
        ("low_pass.chooser", "small", "low_pass: 'chooser' belongs to kind srd, not to low_pass"),
        ("srd.choice", "best", "srd.choice: 'best' is not allowed; allowed: nearest, oracle, random, whole"),
        ("srd.distance", "cosine", "srd.distance: 'cosine' is not allowed; allowed: mse, mahalanobis"),
        ("srd.sparsity", 0.0, "srd.sparsity: 0.0 is not allowed; allowed: a number > 0"),
        ("srd.tolerance", -0.1, "srd.tolerance: -0.1 is not allowed; allowed: a number >= 0"),
        ("srd.unrolled", 0, "srd.unrolled: 0 is not allowed; allowed: an integer >= 1"),
        ("srd.low_pass", 5.0, "srd: unknown key 'low_pass'; allowed: kind, label, model, tune, tuned_as"),
        ("robust", {"kind": "cluster_training"}, "robust: missing key 'model'"),
        ("net", {"kind": "network"}, "net: missing key 'model'"),
        ("robust.model", "vgg", f"robust.model: 'vgg' is unknown; allowed: {MODELS}"),
    ],
)  # fmt: skip
def test_mistakes_in_defences_get_one_line(path, value, expected):
    assert said(f"defenses.{path}", value).startswith(f"defenses.{expected}")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("train.images", "held", "train.images: 'held' has no clusters; allowed: train"),
        ("train.initial", "other", "train.initial: cifar_resnet14 cannot start a cifar_resnet8"),
        ("train.weight", -1.0, "train.weight: -1.0 is not allowed; allowed: a number >= 0"),
        ("train.epsilon", 2.0, "train.epsilon: 2.0 is not allowed; allowed: a number >= 0 and <= 1"),
        ("train.attack_steps", 0, "train.attack_steps: 0 is not allowed; allowed: an integer >= 1"),
        ("train.sources", ["small"], "train: 'sources' belongs to method ensemble_training, not to clustered"),
        ("train.clusters", "x", "train: unknown key 'clusters'; allowed: method, images, epochs"),
    ],
)
def test_mistakes_in_training_with_clusters_get_one_line(path, value, expected):
    assert said(f"models.robust.{path}", value).startswith(f"models.robust.{expected}")


def test_clusters_are_those_of_a_network_with_the_same_latents_that_does_not_need_them():
    """Not of itself, of another that is trained by them, or of one that starts from such a network."""
    free = changed(RAW, ("models", "robust", "train", "initial"), None)
    assert message(changed(free, ("dictionaries", "model"), "other")) == (
        "models.robust.architecture: cifar_resnet8 has other latents than other; allowed: cifar_resnet14"
    )
    further = changed(RAW, ("models", "further"), {**NET, "train": {"images": "train", "initial": "robust"}})
    for source in ("robust", "further"):
        assert message(changed(further, ("dictionaries", "model"), source)) == (
            f"models.robust.train: its clusters are of {source}, which is trained from clusters itself"
        )
    # So is the target's, whose latents are divided by default.
    assert message(changed(RAW, ("target",), "robust")) == (
        "models.robust.train: its clusters are of robust, which is trained from clusters itself"
    )


def test_training_with_clusters_asks_for_them_and_depends_on_its_method():
    config = load_config(RAW)
    assert method_needs(config, "robust") == ("clusters",)
    assert method_needs(config, "small") == method_needs(config, "metric") == ()
    assert "nndefense.defenses.cluster_training:ClusterTraining" in training_targets(config, "robust")


def test_a_network_that_only_chooses_is_trained_for_this_run():
    raw = changed(changed(RAW, ("defenses", "robust"), ...), ("dictionaries", "table"), ["srd"])
    assert curves(load_config(raw)) == ["small", "robust"]


def test_what_the_workflow_hands_over_is_no_option_of_the_class():
    options = load_config(RAW).defenses["srd_robust"].options
    assert list(options) == OF_SRD.split(", ")
    assert load_config(RAW).defenses["low_pass"].options == {"weight": 0.5}
