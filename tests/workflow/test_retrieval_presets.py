"""Presets of the metric-learning benchmarks: they plan, and open small data in the published formats."""

import sys
from pathlib import Path

import pytest
import yaml

from nndefense.config import load_config
from nndefense.images.description import open_options
from tests.unit.image_cases import put, write_birds, write_cars, write_products

from .conftest import ROOT, Project

pytestmark = pytest.mark.xdist_group("workflow")

# The folder below `data`, what writes small data there, and how many images the published data has to search in.
PRESETS = {
    "cub200": ("CUB_200_2011", write_birds, 5924),
    "cars196": ("cars196", write_cars, 8131),
    "online_products": ("Stanford_Online_Products", write_products, 60502),
}
SIGMAS = [0.1, 0.25, 0.5, 1.0]


class Preset(Project):
    """The project with a preset as its configuration, and small data."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder)
        self.name = name
        place, write, self.searched = PRESETS[name]
        self.data = folder / "small" / name
        write(self.data / place)
        raw = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
        self.config = load_config(raw | {"data": str(self.data)})
        self.sets = {key: open_options(one.model_dump()) for key, one in self.config.images.items()}
        for one in self.sets.values():
            for number, path in enumerate(one.manifest()["source"]):
                put(one.root / path, 20 * number % 200)

    def command(self, *arguments: str, **options: object) -> list[str]:
        chosen = ["--configfile", f"config/{self.name}.yaml", "--config", f"data={self.data}", "--cores", "1"]
        return [sys.executable, "-m", "snakemake", *arguments, *chosen]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.create(tmp_path_factory.mktemp("presets"))


@pytest.fixture(params=PRESETS, scope="module")
def preset(copied: Project, request: pytest.FixtureRequest) -> Preset:
    return Preset(copied.folder, request.param)


def test_the_table_is_planned_without_the_classification(preset: Preset) -> None:
    assert preset.would_run(f"results/{preset.name}/retrievalguard/table.md") == {
        "list_images": 2,
        "load_model": 1,
        "train_model": 1,
        "draw_task": 1,
        "smooth_gallery": 4,
        "draw_queries": 4,
        "certify_queries": 16,
        "attack_retrieval": 4,
        "measure_retrieval": 4,
        "make_retrievalguard_table": 1,
    }


def test_it_is_searched_among_classes_that_the_embedding_has_not_seen(preset: Preset) -> None:
    (task,), (embedding,) = preset.config.retrieval.tasks.values(), preset.config.retrieval.embeddings.values()
    assert task.gallery == task.queries
    assert task.gallery_count + task.queries_count == preset.searched
    assert embedding.sigmas == SIGMAS
    recipe = preset.config.models[embedding.model].train
    seen, searched = preset.sets[recipe.images], preset.sets[task.gallery]
    assert not set(seen.manifest()["label"]) & set(searched.manifest()["label"])
    assert not set(seen.manifest()["source"]) & set(searched.manifest()["source"])
    assert (recipe.method, recipe.dimensions, recipe.loss, recipe.sigma) == ("metric_learning", 128, "margin", 0.25)
    assert preset.config.models[recipe.initial].pretrained == "IMAGENET1K_V2"


def test_the_target_is_trained_and_tested_on_other_images_of_the_same_classes(preset: Preset) -> None:
    config = preset.config
    trained, tested = (preset.sets[name] for name in (config.models[config.target].train.images, config.queries.images))
    assert not set(trained.manifest()["source"]) & set(tested.manifest()["source"])
    assert trained.class_names == tested.class_names
    assert set(tested.manifest()["label"]) <= set(range(config.classes))
    assert {name for pool in config.pools.values() for name in pool.images} == {config.models["resnet50"].train.images}


def test_images_are_read_at_the_size_of_the_published_network(preset: Preset) -> None:
    for one in preset.sets.values():
        batch = one.read(range(len(one)))
        assert batch.images.shape[1:] == (224, 224, 3)
        assert not batch.skipped
        assert batch.images.any()
