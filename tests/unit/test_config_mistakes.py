"""Every mistake in a configuration gets one line: the key, what is wrong, what is allowed."""

from collections import OrderedDict
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.config import load_config
from nndefense.core.errors import ConfigError
from tests.unit.config_cases import SMALL, changed, message

DEFAULT = yaml.safe_load((Path(__file__).resolve().parents[2] / "config.yaml").read_text())


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("dataset",), ..., "missing key 'dataset'"),
        (("sises",), [1], "unknown key 'sises'; allowed: run, base_run, dataset, seed"),
        (("seed",), "one", "seed: 'one' is not allowed; allowed: an integer >= 0"),
        (("seed",), True, "seed: True is not allowed; allowed: an integer >= 0"),
        (("skip_limit",), float("nan"), "skip_limit: nan is not allowed; allowed: a number >= 0 and <= 1"),
        (("dataset",), "", "dataset: '' is empty; allowed: text"),
        (("run",), "a/b\nc", r"run: 'a/b\nc' is not allowed; allowed: text of the form ([A-Za-z0-9_]"),
        (("data", "x"), 1, None),
        (("sizes", 1), "many", "sizes.1: 'many' is not allowed; allowed: an integer >= 1"),
        (("sizes",), [], "sizes: [] is empty; allowed: a list, each an integer >= 1"),
        (("sizes",), [5, 5], "sizes: 5 stands there twice; allowed: each once"),
        (("target",), "huge", "target: 'huge' is unknown; allowed: small"),
        (("queries", "images"), "sea", "queries.images: 'sea' is unknown; allowed: train"),
        (("queries", "count"), 0, "queries.count: 0 is not allowed; allowed: an integer >= 1 or null"),
        (("queries", "cuont"), 5, "queries: unknown key 'cuont'; allowed: images, count"),
        (("features",), [1], "features: [1] is not allowed; allowed: a mapping"),
        (("features", "layers"), ["conv_9_1"], "features.layers: cifar_resnet8 has no conv_9_1; allowed: "),
        (("features", "layers"), ["conv_4_1", ["conv_4_1"]], "features.layers: 'conv_4_1' stands there twice"),
        (("features", "pooled"), {"conv_2_1": 3}, "features.pooled: 'conv_2_1' is unknown; allowed: conv_4_1"),
        (("features", "pooled"), {"x": 3}, "features.pooled: 'x' is unknown; allowed: conv_4_1"),
        (("features", "pooled"), {"conv_4_1": 0}, "features.pooled.conv_4_1: 0 is not allowed; allowed: an integer"),
        (("features", "ablation_pools"), ["No"], "features.ablation_pools: 'No' is unknown; allowed: All"),
        (("votes",), {"neighbors": [101]}, "votes.neighbors: 101 exceeds index.neighbors = 100"),
        (("votes",), {"weightings": ["W"]}, "votes.weightings.0: 'W' is not allowed; allowed: UW, CBW-E, CBW-D"),
        (("surrogate",), ..., "surrogate: missing, attacks in the black box use its gradients; allowed: small"),
        (("surrogate",), "vgg", "surrogate: 'vgg' is unknown; allowed: small"),
    ],
)  # fmt: skip
def test_mistakes_in_sections_get_one_line(path, value, expected):
    if expected is None:
        assert "data: {'x': 1} is not allowed; allowed: text" in message({**SMALL, "data": {"x": 1}})
    else:
        assert expected in message(changed(SMALL, path, value))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("images",), {}, "images: {} is empty; allowed: a mapping"),
        (("images", "a b"), {"kind": "shapes"}, "images: 'a b' is not allowed as a name; allowed: text of the form"),
        (("images", "train"), 7, "images.train: 7 is not allowed; allowed: a mapping"),
        (("images", "train", "kind"), "movies", "images.train.kind: 'movies' is not allowed; allowed: shapes, folder"),
        (("images", "train", "kind"), ..., "images.train: missing key 'kind'"),
        (("images", "train", "rows"), None, "images.train.rows: None is not allowed; allowed: an integer >= 1"),
        (("images", "train", "rows"), ..., "images.train: missing key 'rows'"),
        (("images", "train", "root"), "x", "torchvision and cub200 and cars196 and online_products, not to shapes"),
        (("images", "train", "roof"), "x", "images.train: unknown key 'roof'; allowed: kind, seed, first, rows"),
        (("pools", "All", "images"), ["sea"], "pools.All.images: 'sea' is unknown; allowed: train"),
        (("pools", "All", "sizes"), [501], "pools.All.sizes: 501 exceeds the 500 images of pool All; allowed: at most"),
        (("models", "small", "train"), ..., "models.small: needs exactly one of weights, pretrained, train"),
        (("models", "small", "weights"), "x", "models.small: needs exactly one of weights, pretrained, train"),
        (("models", "small", "mean"), [1, 2], "models.small.mean: [1, 2] is not allowed; allowed: a list of 3, each a"),
        (("models", "small", "architecture"), "magic9", "models.small.architecture: 'magic9' is unknown; allowed: "),
        (("models", "small", "train", "images"), "sea", "models.small.train.images: 'sea' is unknown; allowed: train"),
        (("patches",), {"images": "sea"}, "patches.images: 'sea' is unknown; allowed: train"),
    ],
)  # fmt: skip
def test_mistakes_in_images_and_models_get_one_line(path, value, expected):
    assert expected in message(changed(SMALL, path, value))


THROUGH = {"methods": {"noise": {}, "soft_retrieval": {}}, "epsilons": [0.06]}
WHITE = {"methods": {"pgd": {}, "pgd_fs": {}}, "epsilons": [0.06], "white_box": {"pool": "All", "sizes": [100]}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"methods": {}}, "attacks.methods: empty; allowed: one or more of noise, transfer, "),
        ({"methods": {"magic": {}}}, "attacks.methods: 'magic' is unknown; allowed: noise, transfer, "),
        ({"methods": {"pgd": {"stops": 1}}}, "attacks.methods.pgd: unknown key 'stops'; allowed: "),
        ({"methods": {"pgd": {"steps": "x"}}}, "attacks.methods.pgd.steps: 'x' is not allowed; allowed: an integer"),
        ({"epsilons": [0]}, "attacks.epsilons.0: 0 is not allowed; allowed: a number > 0 and <= 1 or a list of such"),
        ({"epsilons": [0.1, [0.2, 2]]}, "attacks.epsilons.1: [0.2, 2] is not allowed; allowed: a number > 0"),
        ({"epsilons": [[]]}, "attacks.epsilons.0: [] is not allowed"),
        ({"epsilons": [0.06, [0.06]]}, "attacks.epsilons: 0.06 stands there twice; allowed: each once"),
        ({"settings": ["white_box"]}, "attacks.settings.0: 'white_box' is not allowed; allowed: gray_box, black_box"),
        ({"linf": {"methods": {"cw": {}}}}, "attacks.linf.methods: 'cw' is unknown; allowed: fgsm, ifgsm, pgd"),
        ({"linf": {}}, "attacks.linf: missing key 'methods'"),
        ({"linf": {"methods": {"fgsm": {}}, "defenses": ["x"]}}, "linf.defenses: 'x' is unknown; allowed: none"),
        ({"linf": {"methods": {"fgsm": {}}, "epsilons": [1.5]}}, "attacks.linf.epsilons.0: 1.5 is not allowed"),
        ({"adaptive": {"methods": {}, "epsilons": [0.06]}}, "attacks.adaptive.methods: empty; allowed: one or more of"),
        ({"adaptive": {**THROUGH, "methods": {"pgd_fs": {}}}}, "attacks.adaptive.methods: 'pgd_fs' is unknown"),
        ({"adaptive": {**THROUGH, "epsilons": [0.5]}}, "attacks.adaptive.epsilons: 0.5 is unknown; allowed: 0.0"),
        ({"adaptive": {**THROUGH, "full": ["x"]}}, "attacks.adaptive.full: 'x' is unknown; allowed: none, knn"),
        ({"adaptive": {**THROUGH, "defenses": ["none"]}}, "attacks.adaptive.full: 'knn' is unknown; allowed: none"),
        ({"adaptive": {**THROUGH, "surrogates": ["x"]}}, "attacks.adaptive.surrogates: 'x' is unknown; allowed: "),
        ({"adaptive": {**THROUGH, "doubled": "noise"}}, "attacks.adaptive.doubled: 'noise' is unknown; allowed: soft_"),
        ({**WHITE, "methods": {"pgd": {}, "pgd_pr": {}}}, "white_box.ablated: 'pgd_fs' is not in attacks.methods;"),
        ({**WHITE, "methods": {"pgd": {}}}, "allowed: none, as none of pgd_fs, pgd_pr"),
        ({**WHITE, "white_box": {"pool": "All", "ablated": "pgd"}}, "attacks.white_box.ablated: 'pgd' is not allowed"),
        ({**WHITE, "white_box": {"pool": "No"}}, "attacks.white_box.pool: 'No' is unknown; allowed: All"),
        ({**WHITE, "white_box": {"pool": "All", "sizes": [7]}}, "sizes: 7 is no size of pool All; allowed: 100, 500"),
        ({**WHITE, "white_box": {"pool": "All", "overlaps": [0.3333]}}, "0.3333 of 500 images is no whole number"),
        ({**WHITE, "white_box": {"pool": "All", "neighbors": 101}}, "white_box.neighbors: 101 exceeds index.neighbors"),
    ],
)  # fmt: skip
def test_mistakes_in_attacks_get_one_line(changes, expected):
    assert expected in message({**SMALL, "attacks": {**SMALL["attacks"], **changes}})


def test_a_white_box_and_no_surrogate_are_fine():
    load_config({**SMALL, "attacks": WHITE})
    raw = changed(changed(SMALL, ("surrogate",), ...), ("attacks", "settings"), ["gray_box"])
    assert load_config(raw).surrogate is None


@pytest.mark.parametrize(
    ("defenses", "expected"),
    [
        ({"magic": {}}, "defenses: 'magic' is unknown; allowed: cluster_training, crop_ensemble"),
        ({"none": {}}, "defenses: 'none' is unknown; allowed: cluster_training"),
        ({"mine": {"kind": "none"}}, "defenses.mine.kind: 'none' is not allowed; allowed: cluster_training"),
        ({"none": {"kind": "crop_ensemble"}}, "defenses: 'none' is the name of something else"),
        ({"conv_4_1": {"kind": "crop_ensemble"}}, "defenses: 'conv_4_1' is the name of something else"),
        ({"a-b": {"kind": "crop_ensemble"}}, "defenses: 'a-b' is not allowed as a name; allowed: text of the form"),
        ({"crop_ensemble": None}, "defenses.crop_ensemble: None is not allowed; allowed: a mapping"),
        ({"crop_ensemble": {"drop": 1}}, "defenses.crop_ensemble: 'drop' belongs to kind tv_minimization, not to crop"),
        ({"crop_ensemble": {"crops": "x"}}, "defenses.crop_ensemble.crops: 'x' is not allowed; allowed: an integer"),
        ({"racnn": {}}, "defenses.racnn: missing key 'model'"),
        ({"racnn": {"model": None}}, "defenses.racnn.model: None is not allowed; allowed: text"),
        ({"racnn": {"model": "vgg"}}, "defenses.racnn.model: 'vgg' is unknown; allowed: small"),
        ({"image_quilting": {}}, "patches: missing, image_quilting puts images together from them"),
    ],
)  # fmt: skip
def test_mistakes_in_defenses_get_one_line(defenses, expected):
    assert expected in message({**SMALL, "defenses": defenses})


def test_names_of_defenses_are_free():
    config = load_config({**SMALL, "defenses": {"few": {"kind": "crop_ensemble", "crops": 3}, "crop_ensemble": {}}})
    assert [(one.kind, one.crops, one.model) for one in config.defenses.values()] == [
        ("crop_ensemble", 3, None),
        ("crop_ensemble", 30, None),
    ]


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("features", "conv_2_1", "conv_4_1"),
        ("epsilon", 0.5, "0.06"),
        ("attack", "cw", "pgd"),
        ("space", "standardized", "raw01"),
        ("pool", "Nothing", "All"),
        ("neighbors", 5, "50"),
        ("weighting", "W", "UW, CBW-E, CBW-D"),
        ("combination", "x", "soft, hard"),
    ],
)
def test_base_values_are_among_the_configured(key, value, allowed):
    assert message(changed(SMALL, ("base", key), value)) == f"base.{key}: {value!r} is unknown; allowed: {allowed}"


def test_the_base_attack_does_not_know_of_the_defence():
    raw = changed({**SMALL, "attacks": WHITE}, ("base", "attack"), "pgd_fs")
    assert message(raw) == "base.attack: 'pgd_fs' is unknown; allowed: pgd"


@pytest.mark.parametrize("raw", [None, [], "text", {1: 2}, {None: 1}])
def test_what_is_no_configuration_is_refused(raw):
    message(raw)


def places(part, path=()):
    """Ways to everything within a configuration."""
    if path:
        yield path
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in inside:
        yield from places(value, (*path, key))


JUNK = [
    None,
    True,
    -1,
    0,
    2.5,
    float("nan"),
    "",
    "x",
    "a\nb",
    [],
    [None],
    [[]],
    {},
    {"kind": []},
    {1: 2},
    {"": {}},
    ...,
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(places(DEFAULT))), st.sampled_from(JUNK))
def test_junk_at_any_place_gets_one_line_or_is_fine(path, junk):
    raw = changed(DEFAULT, path, junk)
    before, told = repr(raw), ""
    try:
        load_config(raw)
    except ConfigError as error:
        told = str(error)
    assert "\n" not in told
    assert len(told) < 500
    assert repr(raw) == before


def test_other_kinds_of_dictionaries_are_fine():
    raw = OrderedDict(SMALL, models=OrderedDict(small=OrderedDict(SMALL["models"]["small"])))
    assert load_config(raw) == load_config(SMALL)
