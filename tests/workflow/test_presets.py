"""Presets whose data are published elsewhere: they plan what their first lines ask for, and read those layouts.

Small stand-ins lie where the published data would.
"""

import re
import sys
from collections.abc import Iterable, Set
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from nndefense.config import Config, load_config
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.images.description import open_described, open_options
from nndefense.images.pool import PoolReader

from .conftest import ROOT, Project
from .published import TEXTS, command, write_published
from .test_retrieval_presets import PRESETS as RETRIEVAL

pytestmark = pytest.mark.xdist_group("workflow")

ADAPTIVE = {"noise", "transfer", "soft_retrieval", "guide_samples", "feature_matching", "square"}
TRANSFER = {"raw01/gray_box/pgd", "raw01/black_box/pgd"}
SIGMAS = (0.1, 0.25, 0.5, 1)
TABLE_3 = "conv_2_3", "conv_3_4", "conv_4_6", "conv_5_1", "conv_5_1-RMAC"


class Planned(NamedTuple):
    """What a dry run would make.

    Attributes:
        databases: layer and pool -> images.
        networks: that are needed. trained: of these, those trained here.
        transfer: space, setting and attack of the attacks on networks.
        through: defences whose worst case is found. alone: attacks on all that the neighbours' defence is, run alone.
        certified: task, embedding and sigma of the certificates.
    """

    databases: dict[tuple[str, str], int]
    networks: Set[str]
    trained: Set[str] = frozenset()
    transfer: Set[str] = frozenset(TRANSFER)
    through: Set[str] = frozenset()
    alone: Set[str] = frozenset()
    certified: Set[str] = frozenset()


def planned(outputs: Iterable[str]) -> Planned:
    """What paths of files say."""
    text, databases = "\n".join(outputs), {}
    for layer, pool, stop in re.findall(r"/codes/[^/]+/([^/]+)/([^/]+)/\d+-(\d+)\.npy", text):
        databases[layer, pool] = max(int(stop), databases.get((layer, pool), 0))
    through = re.findall(r"/attacks/\w+/adaptive-([^/]+)/(\w+)/", text)
    return Planned(
        databases,
        set(re.findall(r"/models/([^/]+)/model\.json", text)),
        set(re.findall(r"/models/([^/]+)/training\.csv", text)),
        set(re.findall(r"/attacks/(\w+/(?:gray|black|white)_box[^/]*/\w+)/", text)),
        {defense for defense, attack in through if attack == "worst"},
        {attack for defense, attack in through if defense == "knn"} - {"worst"},
        set(re.findall(r"/retrievalguard/(\w+/\w+/sigma-[\d.]+)/cdf\.npz", text)),
    )


def white_box(pool: str, whole: int, *others: str) -> set[str]:
    """PGD-PR and PGD-FS with the whole database; PGD-FS with others."""
    own = {f"raw01/white_box-{pool}-{whole}/{attack}" for attack in ("pgd_pr", "pgd_fs")}
    return own | {f"raw01/white_box-{pool}-{other}/pgd_fs" for other in others}


def retrieval(task: str, images: int) -> Planned:
    found = {f"{task}/metric/sigma-{sigma}" for sigma in SIGMAS}
    trained = {"metric", "resnet50"}
    grey = {"raw01/gray_box/pgd"}
    return Planned({("conv_5_1", "Train"): images}, {*trained, "imagenet"}, trained, grey, certified=found)


def of_imagenet(layers: Iterable[str], networks: set[str], through: set[str], **options: set[str]) -> Planned:
    databases = {(layer, "Train"): 1281167 for layer in layers}
    return Planned(databases, {"resnet50", "resnet18"} | networks, through=through, alone=ADAPTIVE, **options)


CIFAR = {"resnet56", "resnet20", "resnet32", "simclr", "racnn"}
# Half of Targeted is for attackers' databases; neighbours by a self-supervised network are searched in the defence's.
CIFAR_LAYERS = {(f"conv_{block}", "Targeted"): 50000 for block in ("2_9", "3_9", "4_1", "4_9")}
PROMISED = {
    "cifar100": Planned(
        {**CIFAR_LAYERS, ("conv_4_1", "All"): 25000, ("simclr@conv_4_1", "Targeted"): 25000},
        CIFAR,
        CIFAR,
        TRANSFER
        | white_box("Targeted", 25000, "2500", "25000-overlap-0", "25000-overlap-0.5")
        | {"raw01/gray_box-racnn/pgd"},
        {"none", "knn", "knn_simclr", "tv_minimization", "image_quilting", "racnn"},
        ADAPTIVE,
    ),
    "imagenet": of_imagenet(
        TABLE_3,
        {"resnet50_v2", "inception_resnet"},
        {"none", "knn", "crop_ensemble", "tv_minimization", "image_quilting", "ensemble_training"},
        transfer={f"raw01/{one}/{attack}" for one in ("gray_box", "black_box") for attack in ("fgsm", "pgd", "cw")}
        | white_box("Train", 1281167, "10000", "100000")
        | {"raw01/gray_box-ensemble_training/pgd"},
    ),
    "imagenet_clip": of_imagenet(
        ("conv_5_1", "clip@visual-L2"),
        {"clip", "clip_zero_shot"},
        {"none", "knn", "knn_resnet50", "zero_shot"},
        transfer=TRANSFER | {"raw01/gray_box-zero_shot/pgd"},
    ),
    "imagenet_dinov2": of_imagenet(
        ("conv_5_1", "dino@norm-CLS-L2", "dino@norm-L2"), {"dino"}, {"none", "knn", "knn_resnet50"}
    ),
    "laion": Planned(
        {
            (layer, pool): images
            for layer in ("conv_5_1", "conv_5_1-RMAC")
            for pool, images in (("All", 100_000_000), ("Targeted", 1_000_000))
        },
        {"resnet50", "resnet18"},
    ),
    "yfcc100m": Planned(
        {("conv_5_1", "All"): 90_000_000, ("conv_5_1", "Targeted"): 1_000_000}, {"resnet50", "resnet18"}
    ),
    "cub200": retrieval("birds", 5000),
    "cars196": retrieval("cars", 8000),
    "online_products": retrieval("products", 50000),
    "cifar10-download": Planned(
        {("conv_4_1", "All"): 50000, ("conv_4_1", "Targeted"): 50000},
        {"resnet56", "resnet20"},
        {"resnet56", "resnet20"},
    ),
    "svhn": Planned(
        {},
        {"resnet20", "racnn_5", "racnn_10"},
        {"resnet20", "racnn_5", "racnn_10"},
        {f"linf/gray_box{one}/{attack}" for one in ("", "-racnn_5", "-racnn_10") for attack in ("fgsm", "ifgsm")},
    ),
    "encoders/cifar10": Planned(
        {("conv_4_1", "All"): 12500}
        | {(layer, "Targeted"): 12500 for layer in ("conv_4_1", "resnet20@conv_4_1", "simclr@conv_4_1")},
        {"resnet56", "resnet20", "simclr"},
        {"simclr"},
        through={"none", "knn", "knn_resnet20", "knn_simclr"},
    ),
    "encoders/imagenette": Planned(
        {("conv_5_1", "Train"): 1000, ("lite0@blocks.6", "Train"): 1000},
        {"resnet50", "resnet18", "lite0"},
        through={"none", "knn", "knn_lite0"},
    ),
}
# Of each kind one is always planned.
SLOW = {"encoders/cifar10", "encoders/imagenette", "cub200", "cars196", "yfcc100m", "cifar10-download", "svhn"}
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in PROMISED]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Project:
    return Project.create(tmp_path_factory.mktemp("presets"))


def read(name: str, data: Path) -> Config:
    return load_config(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) | {"data": str(data)})


# -- plans


@pytest.mark.parametrize("name", NAMES)
def test_the_command_plans_what_the_preset_promises(project: Project, data: Path, name: str) -> None:
    words = [word.replace("FOLDER", str(data)) for word in command(ROOT / f"config/{name}.yaml")]
    asked = [word for word in words if word.startswith("results/")]
    assert asked
    assert f"config/{name}.yaml" in words
    # What stands beside the retrieval of these presets.
    more = [f"results/{name}/table1.md"] if name in RETRIEVAL else []
    words[1:1] = more
    cores = [] if "--cores" in words else ["--cores", "1"]
    project.command = lambda *arguments, **options: [sys.executable, "-m", *words, *cores, *arguments]
    shown = project.run("-n")
    rows = re.findall(r"^    output: (.*)$", shown.stdout + shown.stderr, re.MULTILINE)
    outputs = [path for row in rows for path in row.split(", ")]
    assert {*asked, *more} <= set(outputs)
    assert planned(outputs) == PROMISED[name]


# -- layouts


def listed(config: Config) -> dict[str, tuple[int, int, int, list[int]]]:
    """Images, classes and side of each set, and labels of its first images, all of which can be read."""
    found = {}
    for name, section in config.images.items():
        one = open_options(section.model_dump())
        labels = one.manifest()["label"].tolist()
        assert not one.read(range(3)).skipped
        found[name] = len(labels), len(one.class_names), one.size, labels[:3]
    return found


def test_cifar_lies_as_torchvision_unpacks_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Files made here cannot have the published MD5 sums.
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: True)
    assert listed(read("cifar100", data)) == {
        "cifar100_train": (3, 100, 32, [40, 41, 42]),
        "cifar100_test": (3, 100, 32, [97, 98, 99]),
        "cifar10_train": (15, 10, 32, [1, 2, 3]),
    }


@pytest.mark.parametrize("name", ["imagenet", "imagenet_clip", "imagenet_dinov2"])
def test_imagenet_lies_as_torchvision_unpacks_it(data: Path, name: str) -> None:
    split = 1000, 1000, 224, [0, 1, 2]
    assert listed(read(name, data)) == {"imagenet_train": split, "imagenet_val": split}


def test_tars_lie_as_img2dataset_writes_them(data: Path) -> None:
    assert listed(read("yfcc100m", data))["yfcc"] == (10, 1000, 224, [-1, -1, -1])
    laion = open_options(read("laion", data).images["laion"].model_dump())
    with pytest.raises(InputError, match=r"laion/00002\.tar is missing"):
        laion.manifest()


# -- jobs


def run(project: Project, name: str, data: Path, *targets: str, changes: dict | None = None) -> Path:
    """Make files of a preset; where they are."""
    configs = [f"config/{name}.yaml"]
    if changes:
        (project.folder / "changes.yaml").write_text(yaml.safe_dump(changes))
        configs.append("changes.yaml")
    options = "--configfile", *configs, "--config", f"data={data}", "--cores", "1"
    wanted = [f"results/{name}/{target}" for target in targets]
    project.command = lambda *arguments, **_: [sys.executable, "-m", "snakemake", *wanted, *options]
    project.run()
    return project.folder / "results" / name


def test_laion_is_listed_and_its_pools_are_built(project: Project, data: Path) -> None:
    few = {
        "images": {"laion": {"pattern": "laion/{00000..00001}.tar"}},
        "pools": {"Targeted": {"sizes": [[2, 6]]}},
        "sizes": [[2, 10]],
        "features": {"pca_samples": 2},
        "index": {"neighbors": 2},
        "votes": {"neighbors": [2]},
        "base": {"neighbors": 2},
    }
    results = run(project, "laion", data, "pools/All.parquet", "pools/Targeted.parquet", changes=few)
    about = read_json(results / "images/laion/set.json")
    assert (about["rows"], about["size"], about["resize"]) == (2 * len(TEXTS), 224, 256)
    assert len(about["class_names"]) == 1000
    tags = open_described(results / "images/laion/set.json").manifest()["tag"].tolist()
    assert tags == ["tench", "goldfish", "", "", "goldfish"] * 2
    sets = [results / "images/laion/set.json"]
    pools = {name: PoolReader.open(results / f"pools/{name}.parquet", sets) for name in ("All", "Targeted")}
    assert {name: len(pool) for name, pool in pools.items()} == {"All": 10, "Targeted": 6}
    assert sorted(pools["Targeted"].tags_at(range(6))) == ["goldfish"] * 4 + ["tench"] * 2
    assert pools["All"].read(range(10)).images.any(axis=(1, 2, 3)).all()


@pytest.mark.slow
def test_online_products_are_listed_by_product_and_by_category(project: Project, data: Path) -> None:
    names = "products_first", "products_last", "categories_first", "categories_last"
    results = run(project, "online_products", data, *(f"images/{name}/manifest.parquet" for name in names))
    about = {name: read_json(results / f"images/{name}/set.json") for name in names}
    assert [about[name]["rows"] for name in names] == [4, 2, 4, 2]
    classes = {name: open_described(results / f"images/{name}/set.json").manifest()["label"].tolist() for name in names}
    assert not set(classes["products_first"]) & set(classes["products_last"])
    assert set(classes["categories_last"]) & set(classes["categories_first"])
