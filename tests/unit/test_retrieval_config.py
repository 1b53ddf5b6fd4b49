"""Section `retrieval`: every mistake gets one line; where files of a retrieval are, and which there are."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from nndefense.certificates import CERTIFICATES
from nndefense.config import load_config
from nndefense.flow.models import training_targets
from nndefense.flow.retrieval import (
    Guard,
    certificate_files,
    checked_files,
    fitted_on,
    guard_sigmas,
    guards,
    row_files,
    task_file,
    transform_file,
)

from .config_cases import SMALL, changed, message

ROOT = Path(__file__).resolve().parents[2]
BELOW = "<results>/retrievalguard"
NET = {"architecture": "cifar_resnet8"}
METRIC = {"method": "metric_learning", "images": "train"}
RAW = {
    **SMALL,
    "images": {
        "train": {"kind": "shapes", "first": 0, "rows": 500},
        "test": {"kind": "shapes", "first": 500, "rows": 500},
        "others": {"kind": "shapes", "first": 1000, "rows": 500, "content": "others"},
    },
    "models": {
        "small": {**NET, "train": {"images": "train"}},
        "noise": {**NET, "train": {"images": "test", "method": "gaussian_noise", "initial": "small"}},
        "metric": {**NET, "train": {**METRIC, "initial": "noise"}},
        "further": {**NET, "train": {**METRIC, "initial": "metric"}},
        "read": {**NET, "weights": "x.safetensors"},
    },
    "retrieval": {
        "tasks": {
            "known": {"gallery": "train", "queries": "test"},
            "unseen": {"gallery": "others", "gallery_count": 50, "queries": "others", "queries_count": 40},
        },
        "embeddings": {
            "lda": {"model": "noise", "sigmas": [0.25, 1.0]},
            "metric": {"model": "metric", "output": "output", "transform": "center", "sigmas": [0.25],
                       "tasks": ["unseen"]},
        },
    },
}  # fmt: skip
EMBEDDINGS = ("retrieval", "embeddings")
NO_CLASSES = "is trained by metric_learning and tells no classes; allowed: a classifier"


def test_the_examples_hold():
    assert load_config(RAW).retrieval.draws == 1000
    assert load_config(SMALL).retrieval is None
    for name in ("config.yaml", "config/cifar10.yaml"):
        assert guards(load_config(yaml.safe_load((ROOT / name).read_text())))


# -- mistakes


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("tasks.known.gallery", "sea", "tasks.known.gallery: 'sea' is unknown; allowed: train, test, others"),
        ("tasks.known.queries", "sea", "tasks.known.queries: 'sea' is unknown; allowed: train, test, others"),
        ("tasks.unseen.gallery_count", None, "tasks.unseen: gallery and queries are both of others, so gallery_count "
         "and queries_count must say how many"),
        ("tasks.unseen.queries_count", None, "tasks.unseen: gallery and queries are both of others, so gallery_count"),
        ("tasks.known.gallery_count", 0, "tasks.known.gallery_count: 0 is not allowed; allowed: an integer >= 1"),
        ("tasks", {}, "tasks: {} is empty; allowed: a mapping"),
        ("embeddings", {}, "embeddings: {} is empty; allowed: a mapping"),
        ("embeddings.a b", {}, "embeddings: 'a b' is not allowed as a name; allowed: text of the form"),
        ("embeddings.lda.model", "vgg", "embeddings.lda.model: 'vgg' is unknown; allowed: small, noise, metric"),
        ("embeddings.lda.tasks", ["x"], "embeddings.lda.tasks: 'x' is unknown; allowed: known, unseen"),
        ("embeddings.lda.tasks", [], "embeddings.lda.tasks: [] is empty; allowed: a list"),
        ("embeddings.lda.output", "output", "embeddings.lda.output: output does not fit the model noise; allowed: "
         "features, softmax"),
        ("embeddings.lda.model", "metric", "embeddings.lda.output: features does not fit the model metric; allowed: "
         "output"),
        ("embeddings.metric.output", "softmax", "embeddings.metric.output: softmax does not fit the model metric; "
         "allowed: output"),
        ("embeddings.lda.fit", "sea", "embeddings.lda.fit: 'sea' is unknown; allowed: train, test, others"),
        ("embeddings.lda.model", "read", "embeddings.lda.fit: missing, read is not trained here; allowed: train, test, "
         "others"),
        ("embeddings.lda.sigmas", [], "embeddings.lda.sigmas: [] is empty; allowed: a list, each a number > 0"),
        ("embeddings.lda.sigmas", [0.0], "embeddings.lda.sigmas.0: 0.0 is not allowed; allowed: a number > 0"),
        ("embeddings.lda.sigmas", [0.5, 0.5], "embeddings.lda.sigmas: 0.5 stands there twice; allowed: each once"),
        ("embeddings.lda.transform", "pca", "embeddings.lda.transform: 'pca' is not allowed; allowed: none, center, "
         "lda"),
        ("embeddings.lda.gallery", "all", "embeddings.lda.gallery: 'all' is not allowed; allowed: items, prototypes"),
        ("alpha", 1.0, "alpha: 1.0 is not allowed; allowed: a number > 0 and < 1"),
        ("draws", 1, "draws: 1 is not allowed; allowed: an integer >= 2"),
        ("certificates", ["cohen"], "certificates.0: 'cohen' is not allowed; allowed: linear, gaussian, cdf, vote"),
        ("radii", [-0.5], "radii.0: -0.5 is not allowed; allowed: a number >= 0"),
        ("attack", {"radii": [0.0]}, "attack.radii.0: 0.0 is not allowed; allowed: a number > 0"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(path, value, expected):
    assert message(changed(RAW, ("retrieval", *path.split(".")), value)).startswith(f"retrieval.{expected}")


def test_unknown_keys_are_named():
    assert message(changed(RAW, ("retrieval", "sigma"), 0.5)).startswith(
        "retrieval: unknown key 'sigma'; allowed: tasks"
    )


def test_a_transform_needs_images_only_where_there_is_one():
    bare = changed(RAW, (*EMBEDDINGS, "lda"), {"model": "read", "transform": "none", "sigmas": [0.5]})
    assert fitted_on(load_config(bare), load_config(bare).retrieval.embeddings["lda"]) is None
    fitted = changed(RAW, (*EMBEDDINGS, "lda"), {"model": "read", "fit": "test", "sigmas": [0.5]})
    assert fitted_on(load_config(fitted), load_config(fitted).retrieval.embeddings["lda"]) == "test"


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (("target",), "metric", "target"),
        (("surrogate",), "metric", "surrogate"),
        (("defenses",), {"crop_ensemble": {"model": "metric"}}, "defenses.crop_ensemble.model"),
        (("defenses",), {"alp": {"kind": "logit_pairing", "model": "metric"}}, "defenses.alp.model"),
        (("attacks", "adaptive"), {"methods": {"pgd": {}}, "epsilons": [0.06], "surrogates": ["noise", "metric"],
                                   "doubled": "pgd"}, "attacks.adaptive.surrogates"),
        (("models", "small", "train", "initial"), "metric", "models.small.train.initial"),
        (("models", "noise", "train", "initial"), "metric", "models.noise.train.initial"),
        (("models", "small", "train"), {"method": "ensemble_training", "images": "train",
                                        "sources": ["read", "metric"]}, "models.small.train.sources"),
        (("models", "racnn"), {"architecture": "racnn", "train": {"method": "retrieval_augmented", "images": "train",
                                                                  "extractor": "metric",
                                                                  "database": {"images": "train"}}},
         "models.racnn.train.extractor"),
    ],
)  # fmt: skip
def test_embeddings_are_refused_where_classes_are_asked_for(path, value, key):
    free = changed(RAW, ("models", "metric", "train", "initial"), None)
    assert message(changed(free, path, value)) == f"{key}: metric {NO_CLASSES}"


def test_embeddings_may_start_from_embeddings_and_from_classifiers():
    config = load_config(RAW)
    assert config.models["further"].train.initial == "metric"
    assert config.models["metric"].train.initial == "noise"
    assert "nndefense.models.metric_learning:MetricLearning" in training_targets(config, "metric")
    assert "nndefense.models.gaussian_noise:GaussianNoise" in training_targets(config, "noise")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dimensions": 1}, "dimensions: 1 is not allowed; allowed: an integer >= 2"),
        ({"per_class": 1}, "per_class: 1 is not allowed; allowed: an integer >= 2"),
        ({"batch": 30, "per_class": 16}, "per_class: a batch of 30 has no room for 16 images of two classes; allowed: "
         "at most 15"),
        ({"loss": "arcface"}, "loss: 'arcface' is not allowed; allowed: margin, triplet, contrastive"),
        ({"sigma": -0.5}, "sigma: -0.5 is not allowed; allowed: a number >= 0"),
        ({"loss_options": {"margin": "wide"}}, "loss_options.margin: 'wide' is not allowed"),
    ],
)  # fmt: skip
def test_mistakes_in_metric_learning_get_one_line(options, expected):
    raw = changed(RAW, ("models", "metric", "train"), METRIC | options)
    assert message(raw).startswith(f"models.metric.train.{expected}")


def test_options_of_other_methods_are_none_of_metric_learning():
    raw = changed(RAW, ("models", "metric", "train"), METRIC | {"sources": ["read"]})
    assert "'sources' belongs to method ensemble_training, not to metric_learning" in message(raw)


def test_noise_of_training_is_checked():
    raw = changed(RAW, ("models", "noise", "train"), {"method": "gaussian_noise", "images": "train", "sigma": -1.0})
    assert "models.noise.train.sigma: -1.0 is not allowed; allowed: a number >= 0" in message(raw)


# -- files


def test_retrievals_are_those_of_every_task_that_an_embedding_is_used_for():
    config = load_config(RAW)
    found = list(map(str, guards(config)))
    assert found == [
        "known/lda/sigma-0.25",
        "known/lda/sigma-1",
        "unseen/lda/sigma-0.25",
        "unseen/lda/sigma-1",
        "unseen/metric/sigma-0.25",
    ]
    assert row_files(config) == [f"{BELOW}/{one}/rows.csv" for one in found]
    assert checked_files(config) == [f"{BELOW}/{one}/checked.npz" for one in found]
    assert certificate_files(config, guards(config)[0]) == [
        f"{BELOW}/known/lda/sigma-0.25/{name}.npz" for name in CERTIFICATES
    ]
    assert guard_sigmas(config) == ["0.25", "1"]
    assert task_file("known") == f"{BELOW}/tasks/known.npz"
    assert transform_file("lda", 0.5) == f"{BELOW}/embeddings/lda/sigma-0.5.npz"


def test_a_retrieval_is_found_by_what_stands_in_its_paths():
    for one in guards(load_config(RAW)):
        task, embedding, sigma = str(one).split("/")
        wildcards = SimpleNamespace(task=task, embedding=embedding, sigma=sigma.removeprefix("sigma-"))
        assert Guard.of(wildcards) == one
        assert one.file("rows.csv") == f"{BELOW}/{one}/rows.csv"


def test_there_is_nothing_without_the_section_or_without_attacks():
    plain = load_config(SMALL)
    assert guards(plain) == row_files(plain) == checked_files(plain) == guard_sigmas(plain) == []
    assert checked_files(load_config(changed(RAW, ("retrieval", "attack"), None))) == []
    unchecked = changed(RAW, ("retrieval", "attack"), {"certified": None})
    assert checked_files(load_config(unchecked)) == []
    assert len(row_files(load_config(unchecked))) == 5


def test_transforms_are_fitted_on_the_images_of_training_or_on_those_that_are_named():
    config = load_config(RAW)
    sections = config.retrieval.embeddings
    assert fitted_on(config, sections["lda"]) == "test"
    assert fitted_on(config, sections["metric"]) == "train"
    named = load_config(changed(RAW, (*EMBEDDINGS, "lda", "fit"), "others"))
    assert fitted_on(named, named.retrieval.embeddings["lda"]) == "others"
