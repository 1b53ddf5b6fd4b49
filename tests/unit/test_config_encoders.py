"""Layers of other networks in a configuration: which network they are of, what shares a pass, what is refused."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nndefense.axes.queries import Pack
from nndefense.config import load_config
from nndefense.core.errors import ConfigError
from nndefense.features.names import parse_layer
from nndefense.flow.encoders import encoder_of, encoders, layer_place, pass_encoder, passes_of, searched_layers
from nndefense.flow.models import defense_options
from nndefense.flow.needs import attack_needs, defense_needs
from nndefense.flow.queries import attacked_defenses
from nndefense.report.pieces import load_piece

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


DEFAULT = read("config.yaml")
VIT = {"architecture": "timm/vit_tiny_patch16_224", "classes": 0, "weights": "vit.safetensors"}
CLIP = {"architecture": "open_clip/ViT-B-32", "classes": 0, "weights": "clip.safetensors"}
LAYER = "vit@blocks.11-CLS"


def several(**more: object) -> dict:
    features = {"layers": [["conv_4_1", "conv_3_1"], [LAYER], "conv_2_1"]}
    return {"models": {"vit": VIT}, "features": features, **more}


def merged(changes: dict, base: dict = DEFAULT) -> dict:
    """An experiment with changes, as a second configuration file makes them."""

    def update(found: dict, new: dict) -> dict:
        nested = {key: update(found.get(key) or {}, one) if isinstance(one, dict) else one for key, one in new.items()}
        return {**found, **nested}

    return update(base, changes)


def refusal(changes: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(merged(changes))
    return str(caught.value)


def test_layers_are_of_the_network_that_their_names_say():
    config = load_config(merged(several()))
    assert encoders(config) == ["resnet20", "vit"]
    assert layer_place(config, LAYER) == f"vit/{LAYER}"
    assert layer_place(config, "conv_4_1") == "resnet20/conv_4_1"


@pytest.mark.parametrize(("name", "layers"), [("imagenette", 2), ("cifar10", 3)])
def test_presets_with_encoders_have_the_figure(name, layers):
    config = load_config(merged(read(f"config/encoders/{name}.yaml"), read(f"config/{name}.yaml")))
    assert len(encoders(config)) == layers
    assert load_piece("fig_encoders").exists(config)
    assert set(searched_layers(config)) <= set(attacked_defenses(config))


def test_passes_of_the_target_come_first():
    """The first one gives the softmax rows."""
    config = load_config(merged(several()))
    assert passes_of(config) == [["conv_4_1", "conv_3_1"], ["conv_2_1"], [LAYER]]
    assert [pass_encoder(config, number) for number in range(3)] == ["resnet20", "resnet20", "vit"]


def test_an_encoder_for_all_layers_leaves_the_target_a_pass_without_layers():
    change = several(features={"layers": [["blocks.11", "blocks.5-CLS"]], "encoder": "vit", "pooled": {}})
    change |= {"base": {"features": "blocks.11"}, "attacks": {"adaptive": {"knowledge": []}}}
    config = load_config(merged(change))
    assert passes_of(config) == [[], ["blocks.11", "blocks.5-CLS"]]
    assert [pass_encoder(config, number) for number in range(2)] == ["resnet20", "vit"]
    assert encoder_of(config, "resnet14@conv_4_1") == "resnet14"


def test_without_encoders_everything_is_as_before():
    config = load_config(merged({}))
    assert passes_of(config) == config.features.passes
    assert encoders(config) == [config.target]


def test_a_defence_by_another_layer():
    config = load_config(merged(several(defenses={"knn_vit": {"kind": "knn", "features": LAYER, "k": 5}})))
    assert searched_layers(config) == {"knn": "conv_4_1", "knn_vit": LAYER}
    found = defense_needs(config, "knn_vit")
    assert "<results>/retrievals/knn_vit.json" in found.files
    assert defense_needs(config, "knn").files == ["<results>/knn.json"]
    options = defense_options(config, "knn_vit")
    assert options["k"] == 5
    # Distances that are equal at the last place are decided as in the workflow.
    assert options["searched"] == config.index.neighbors
    assert "knn_vit" not in attacked_defenses(config)


def test_an_attacker_who_has_the_features_has_the_encoder():
    """To build a retrieval of its own with them; the classifier's rows are the surrogate's."""
    pack = Pack.parse("raw01/adaptive-knn-knows-features/soft_retrieval/eps-0.06")
    adaptive = {"adaptive": {"knowledge": ["features"]}}
    for base, own in ((LAYER, {"vit"}), ("conv_4_1", set())):
        config = load_config(merged(several(base={"features": base}, attacks=adaptive)))
        found = attack_needs(config, pack)
        models = {
            file.split("/")[2] for role, file in zip(found.roles, found.files, strict=True) if role == "imitation"
        }
        assert {one for one in models if one in config.models} == {config.surrogate} | own


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": {"layers": ["nobody@blocks.1", "conv_4_1"]}}, "features.layers: 'nobody' is unknown; allowed: "),
        ({"features": {"encoder": "nobody"}}, "features.encoder: 'nobody' is unknown; allowed: "),
        (
            several(features={"layers": [["conv_4_1", LAYER]]}),
            f"features.layers: conv_4_1 and {LAYER} share a forward pass, but are of different models",
        ),
        (
            {"features": {"layers": ["conv_4_1", "resnet14@conv_5_1"]}},
            "features.layers: cifar_resnet14 has no resnet14@",
        ),
        (
            {"features": {"layers": ["conv_4_1", "layr3.0"]}},
            "features.layers: cifar_resnet20 has no layr3.0; allowed: ",
        ),
        ({"features": {"layers": ["conv_4_1", "racnn@conv_4_1"]}}, "features.layers: racnn is a racnn"),
        ({"features": {"layers": ["conv_4_1", "a@b@c"]}}, "features.layers"),
        ({"models": {"vit": VIT}, "surrogate": "vit"}, "surrogate: vit has 0 outputs, not 10 classes"),
        ({"models": {"c": CLIP | {"classes": None}}}, "models.c: has no classes of its own; allowed: zero_shot"),
        (
            {"models": {"v": VIT | {"zero_shot": {"names": ["a", "b"]}}}},
            "models.v.zero_shot: timm/vit_tiny_patch16_224 reads no texts",
        ),
        ({"models": {"resnet14": {"resize": 64}}}, "models.resnet14.resize: is for weights that are there"),
        ({"models": {"resnet14": {"classes": 7}}}, "models.resnet14.classes: 7, but it is trained here"),
        ({"models": {"v": VIT | {"architecture": "keras/vit"}}}, "models.v.architecture: 'keras/vit' is unknown"),
        (
            several(defenses={"mine": {"kind": "knn", "features": "conv_9_9"}}),
            "defenses.mine.features: 'conv_9_9' is unknown; allowed: conv_4_1",
        ),
        (several(defenses={"mine": {"kind": "knn", "k": 9000}}), "defenses.mine.k: 9000 exceeds the 8000 images"),
        (
            several(base={"features": LAYER}),
            f"attacks.adaptive.knowledge: 'nothing' asks for layer {LAYER} of the surrogate",
        ),
    ],
)
def test_refusals(change, said):
    message = refusal(change)
    assert said in message
    assert "\n" not in message


@given(st.from_regex(r"\A([a-z_]{1,8}@)?[a-z]{1,5}(\.[0-9]{1,2})?(-RMAC|-CLS)?(-L2)?\Z"))
def test_names_are_refused_by_a_configuration_where_the_parser_refuses_them(name):
    """What a configuration takes, a job can read."""
    try:
        load_config(merged({"features": {"layers": ["conv_4_1", name]}}))
        fine = True
    except ConfigError as error:
        fine = "share" in str(error) or "unknown" in str(error) or "has no" in str(error) or "racnn" in str(error)
    try:
        parse_layer(name)
    except ConfigError:
        assert not fine
    else:
        assert fine
