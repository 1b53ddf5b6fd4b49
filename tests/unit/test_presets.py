"""What presets name of other libraries is there: layers, weights, statistics, classes. The page has every preset."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

from nndefense.commands.plan import SHIPPED, known_facts, line, report_jobs
from nndefense.commands.plan_facts import read_configuration
from nndefense.config import load_config
from nndefense.features.extract import FeatureExtractor
from nndefense.flow.plan import make_plan
from nndefense.flow.rates import read_rates
from nndefense.models.architectures import library_of
from nndefense.models.build import build_model
from tests.workflow.published import command

ROOT = Path(__file__).parents[2]
PRESETS = sorted(ROOT.glob("config/*.yaml"))
OVERLAYS = sorted(ROOT.glob("config/encoders/*.yaml"))
PAGE = ROOT / "docs/presets.md"
# Features of each layer: channels times what is left of the map (7 x 7, 7 x 7, 4 x 4, 1).
TABLE_3 = {"conv_2_3": 256 * 49, "conv_3_4": 512 * 49, "conv_4_6": 1024 * 16, "conv_5_1": 2048, "conv_5_1-RMAC": 2048}
LAYERS = {
    "imagenet": TABLE_3,
    "imagenet_clip": {"conv_5_1": 2048, "clip@visual-L2": 512},
    "imagenet_dinov2": {"conv_5_1": 2048, "dino@norm-CLS-L2": 384, "dino@norm-L2": 384},
    "laion": {"conv_5_1": 2048, "conv_5_1-RMAC": 2048},
    "yfcc100m": {"conv_5_1": 2048},
}


def read(name):
    return load_config(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_those_of_the_networks(name):
    pytest.importorskip("timm")
    pytest.importorskip("open_clip")
    networks = known_facts(read(name)).networks.values()
    assert {layer: width for one in networks for layer, width in one.dimensions.items()} == LAYERS[name]


def test_the_class_token_of_dinov2_is_what_its_authors_search_by():
    pytest.importorskip("timm")
    section = read("imagenet_dinov2").models["dino"]
    model = build_model(section.architecture, 0, section.mean, section.std, seed=2).eval()
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, _ = FeatureExtractor(model, ["norm-CLS-L2", "norm-L2"], {})(images)
        mean, std = (torch.tensor(values)[:, None, None] for values in (section.mean, section.std))
        tokens = model.net.forward_features((images - mean) / std)
    assert tokens.shape == (2, 1 + 16 * 16, 384)
    for layer, expected in {"norm-CLS-L2": tokens[:, 0], "norm-L2": tokens[:, 1:].mean(1)}.items():
        torch.testing.assert_close(found[layer], functional.normalize(expected, dim=1), rtol=1e-4, atol=1e-5)


def published(architecture, weights):
    """Mean, standard deviation and side of the images that a library's weights are for."""
    library, name = library_of(architecture), architecture.rpartition("/")[2]
    module = pytest.importorskip(library)
    if library == "torchvision":
        about = module.models.get_model_weights(name)[weights].transforms()
        return about.mean, about.std, about.crop_size[0]
    if library == "timm":
        about = module.get_pretrained_cfg(f"{name}.{weights}")
        return about.mean, about.std, about.input_size[-1]
    assert weights in module.list_pretrained_tags_by_model(name)
    about = module.get_pretrained_cfg(name, weights)
    return about["mean"], about["std"], module.get_model_config(name)["vision_cfg"]["image_size"]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_published_weights_are_there_and_for_such_images(path):
    config = load_config(yaml.safe_load(path.read_text()))
    for model in config.models.values():
        if model.pretrained:
            mean, std, side = published(model.architecture, model.pretrained)
            np.testing.assert_allclose([model.mean, model.std], [mean, std])
            # DINOv2 takes images of any size; the preset says to which its positions are interpolated.
            assert side == (model.resize or 224) or "dinov2" in model.architecture


def test_zero_shot_names_are_those_of_the_library_but_for_two():
    open_clip = pytest.importorskip("open_clip")
    names = read("imagenet_clip").models["clip_zero_shot"].zero_shot.names
    others = {
        label: pair
        for label, pair in enumerate(zip(names, open_clip.IMAGENET_CLASSNAMES, strict=True))
        if pair[0] != pair[1]
    }
    assert others == {744: ("projectile", "missile"), 836: ("sunglass", "sunglasses")}
    templates = read("imagenet_clip").models["clip_zero_shot"].zero_shot.templates
    assert [one.format("X") for one in templates] == [make("X") for make in open_clip.SIMPLE_IMAGENET_TEMPLATES]


# -- the page


def rows(heading):
    """Rows of the first table below a heading, by what their first cell names."""
    part = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [[one.strip() for one in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", part, re.MULTILINE)]
    return {row[0].strip("`"): row[1:] for row in cells[2:]}


def name_of(path):
    return path.relative_to(ROOT / "config").with_suffix("").as_posix()


def test_the_page_has_every_preset_and_what_its_command_makes():
    found = rows("What there is")
    assert set(found) == {name_of(path) for path in (*PRESETS, *OVERLAYS)}
    for path in (*PRESETS, *OVERLAYS):
        words = command(path)
        config = load_config(read_configuration(files_of(path)))
        targets = [word for word in words if word.startswith("results/")]
        made = [target.removeprefix(f"results/{config.run}/") for target in targets]
        named = re.findall(r"`([^`]+)`", found[name_of(path)][-1])
        assert named == (made or words[1:2]), path


def files_of(path):
    """Configuration files of a preset's command."""
    words = command(path)
    behind = words[words.index("--configfile") + 1 :] if "--configfile" in words else [f"config/{path.name}"]
    return [ROOT / word for word in behind[: next((n for n, word in enumerate(behind) if word[0] == "-"), None)]]


@pytest.mark.slow
def test_costs_on_the_page_are_those_of_a_plan():
    found, rates = rows("What they cost"), read_rates(SHIPPED)
    assert set(found) == {name_of(path) for path in (*PRESETS, *OVERLAYS)}
    for path in (*PRESETS, *OVERLAYS):
        config = load_config(read_configuration(files_of(path)))
        facts, more = known_facts(config), report_jobs(config)
        slow, fast = (
            line(make_plan(config, facts, rates, cores=cores, gpus=gpus, more=more).total)
            for cores, gpus in ((1, 0), (8, 1))
        )
        assert found[name_of(path)][:4] == [slow[1], slow[3], told(slow[8]), told(fast[10])], path


def told(hours):
    """Hours of a plan, "≥ 0.25", as the page has them."""
    sign, _, number = hours.rpartition(" ")
    value = float(number.replace(",", ""))
    text = f"{value:,.0f} h" if value >= 1 else f"{max(1, round(60 * value))} min"
    return f"{sign} {text}".strip()
