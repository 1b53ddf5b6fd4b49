"""Networks of open_clip, timm, torchvision and of the user by name, against what the libraries themselves compute."""

import sys

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional

from nndefense.core.errors import ConfigError, FileFault
from nndefense.models.architectures import architecture_entry, library_of
from nndefense.models.build import build_model, build_network
from nndefense.models.checkpoint import open_checkpoint, save_checkpoint
from nndefense.models.open_clip_nets import ImageTower
from nndefense.models.weights import is_tower

MEAN, STD = [0.5] * 3, [0.25] * 3
CLIP = "open_clip/ViT-S-32-alt"
NAMES, TEMPLATES = ["cat", "dog", "green {} frog"], ["a photo of a {}.", "a drawing of a {}."]


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(5)
    return open_clip.create_model("ViT-S-32-alt").eval()


def images(side: int = 224) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_a_zero_shot_classifier_is_that_of_open_clip(whole):
    import open_clip

    tower = build_network(CLIP, 3, None, {"state": whole.state_dict(), "names": NAMES, "templates": TEMPLATES}).eval()
    tokenize = open_clip.get_tokenizer("ViT-S-32-alt")
    with torch.no_grad():
        rows = []
        for name in NAMES:
            texts = whole.encode_text(tokenize([one.replace("{}", name) for one in TEMPLATES]))
            rows.append(functional.normalize(functional.normalize(texts, dim=1).mean(0), dim=0))
        embedded = functional.normalize(whole.encode_image(images()), dim=1)
        expected = whole.logit_scale.exp() * embedded @ torch.stack(rows).T
        torch.testing.assert_close(tower(images()), expected, rtol=1e-4, atol=1e-4)


def test_an_encoder_gives_unit_embeddings(whole):
    tower = build_network(CLIP, 0, None, {"state": whole.state_dict()}).eval()
    with torch.no_grad():
        expected = functional.normalize(whole.encode_image(images()), dim=1)
        torch.testing.assert_close(tower(images()), expected, rtol=1e-5, atol=1e-5)


def test_a_stored_tower_is_opened_as_it_was(whole, tmp_path):
    """Also with OpenAI's activations, which its name does not tell, and with images that are enlarged first."""
    model = build_model(
        CLIP, 0, MEAN, STD, options={"state": whole.state_dict(), "quick_gelu": True}, resize=224
    ).eval()
    assert model.net.options == {"quick_gelu": True}
    about = {"name": "clip", "architecture": CLIP, "classes": 0, "mean": MEAN, "std": STD}
    about |= {"options": model.net.options, "resize": 224}
    save_checkpoint(tmp_path / "w.safetensors", tmp_path / "model.json", model, about)
    again, _ = open_checkpoint(tmp_path / "model.json")
    plain = build_model(CLIP, 0, MEAN, STD, options={"state": whole.state_dict()}, resize=224)
    with torch.no_grad():
        assert torch.equal(again(images(32)), model(images(32)))
        assert not torch.allclose(plain(images(32)), model(images(32)))
        large = functional.interpolate(images(32), (224, 224), mode="bilinear", antialias=True)
        assert torch.equal(model(large), model(images(32)))
    state = load((tmp_path / "w.safetensors").read_bytes())
    assert is_tower(state)
    assert not is_tower(whole.state_dict())


def test_weights_of_another_tower_are_refused(whole):
    state = {**whole.state_dict(), "visual.proj": torch.zeros(2, 2)}
    with pytest.raises(FileFault, match="weights do not fit open_clip/ViT-S-32-alt") as caught:
        build_network(CLIP, 0, None, {"state": state})
    assert "\n" not in str(caught.value)


def test_names_must_be_as_many_as_classes(whole):
    with pytest.raises(ConfigError, match=r"zero_shot.names: 3 names for 10 classes"):
        build_network(CLIP, 10, None, {"names": NAMES})


@pytest.mark.parametrize(
    ("architecture", "weights", "said"),
    [
        ("timm/vit_tinny", None, "timm has no 'vit_tinny'; allowed: "),
        (
            "timm/vit_tiny_patch16_224",
            "nobody",
            "weights 'nobody': unknown for timm/vit_tiny_patch16_224; allowed: default",
        ),
        ("open_clip/ViT-B-31", None, "open_clip has no 'ViT-B-31'; allowed: ViT-B-"),
        ("open_clip/ViT-B-32", "nobody", "weights 'nobody': unknown for open_clip/ViT-B-32; allowed: openai"),
        ("torchvision/convnext_tinny", None, "torchvision has no such classifier; allowed: convnext_tiny"),
        ("module/no_such_module:build", None, "allowed: module/PACKAGE.MODULE:NAME"),
        ("module/json:nothing", None, "allowed: module/PACKAGE.MODULE:NAME"),
        ("module/json:", None, "allowed: module/PACKAGE.MODULE:NAME"),
        ("module/collections:Counter", None, "gives a Counter; allowed: a torch.nn.Module"),
        ("module/torch.nn:Identity", "DEFAULT", "has no weights by name"),
        ("keras/resnet", None, "unknown; allowed: cifar_resnet"),
    ],
)
def test_what_is_not_there(architecture, weights, said):
    for library in ("timm", "open_clip"):
        if architecture.startswith(library):
            pytest.importorskip(library)
    with pytest.raises(ConfigError) as caught:
        build_network(architecture, 10, weights)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("library", ["timm", "open_clip"])
def test_without_the_library_the_error_names_the_extra(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"needs {library}; install the extra `encoders` \(pip install"):
        build_network(f"{library}/x", 0)


def test_weights_that_cannot_be_fetched(monkeypatch, tmp_path):
    timm = pytest.importorskip("timm")

    def fails(*arguments, **options):
        raise OSError("no route\nto host")

    monkeypatch.setattr(timm, "create_model", fails)
    with pytest.raises(FileFault, match=r"timm cannot fetch these weights \(OSError: no route\); allowed: ") as caught:
        build_network("timm/vit_tiny_patch16_224", 0, "default")
    assert "\n" not in str(caught.value)


def test_which_code_builds_a_network_and_who_publishes_its_weights():
    assert architecture_entry("timm/resnet18") == "nndefense.models.timm_nets:build"
    assert architecture_entry("resnet18") == "nndefense.models.torchvision_nets:build"
    assert [library_of(one) for one in ("resnet50", "timm/x", "open_clip/x")] == ["torchvision", "timm", "open_clip"]


def test_networks_without_logits_give_features():
    pytest.importorskip("timm")
    model = build_model("timm/convnext_atto", 0, MEAN, STD)
    with torch.no_grad():
        assert model(images(32)).shape == (2, 320)
    with pytest.raises(ConfigError, match="classes: 0, but resnet18 has logits"):
        build_model("resnet18", 0, MEAN, STD)
    with pytest.raises(ConfigError, match="classes 1: at least 2 are needed, or 0"):
        build_model("timm/convnext_atto", 1, MEAN, STD)


def test_a_tower_is_small_where_it_is_stored(whole):
    """Only what images need goes into a file of weights."""
    tower = ImageTower(whole.visual, 256, 0, {})
    assert len(save(tower.state_dict())) < 0.7 * len(save(whole.state_dict()))
