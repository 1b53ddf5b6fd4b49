"""What cannot work is refused before anything runs: options, indexes, images, layers and names that do not fit."""

import pytest

from nndefense.config import load_config
from nndefense.core.errors import ConfigError
from nndefense.database.factories import Factory
from nndefense.images.published import PUBLISHED
from nndefense.models.blocks import blocks_of

from .config_cases import SMALL, changed, message

CIFAR = {"kind": "torchvision", "name": "CIFAR10", "root": "x"}
TARS = {"kind": "webdataset", "pattern": "x.tar", "size": 32}
WHITE = {"methods": {"pgd": {}, "pgd_fs": {}}, "epsilons": [0.06], "white_box": {"pool": "All", "overlaps": [0.5, 1]}}
RETRIEVAL = {"gallery": "train", "gallery_count": 300, "queries": "train", "queries_count": 200}
EMBEDDINGS = {"e": {"model": "small", "sigmas": [0.25]}}


def told(path: str, value: object, raw: dict = SMALL) -> str:
    """The message about a value at a path; sections on the way are made."""
    made, part = changed(raw, ("dataset",), "d"), None
    part = made
    *folders, last = path.split(".")
    for key in folders:
        part = part.setdefault(key, {})
    part[last] = value
    return message(made)


# -- options of one component


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("images.t", {"kind": "folder", "root": "x", "size": 32, "resize": 16}, "images.t.resize: 16, before 32 is cu"),
        ("images.t", {"kind": "folder", "root": "x", "resize": 16}, "images.t.resize: 16, before no size is cut out"),
        ("images.t", {"kind": "folder", "root": "x", "size": 8, "resize": 16, "crop": "none"}, "images.t.resize: 16,"),
        ("images.t", CIFAR | {"split": "val"}, "images.t.split: CIFAR10 has no val; allowed: train, test"),
        ("images.t", CIFAR | {"rows": 10_001}, "images.t.rows: images up to 10,001 of 10,000; allowed: first and rows"),
        ("images.t", CIFAR | {"first": 10_000}, "images.t.rows: images up to 10,001 of 10,000"),
        ("images.t", CIFAR | {"size": 32, "resize": 40}, "images.t.resize: images of CIFAR10 are of one size"),
        ("images.t", CIFAR | {"name": "ImageNet", "split": "val"}, "images.t.size: missing, images of ImageNet are of"),
        ("images.t", CIFAR | {"name": "ImageNet", "split": "val", "size": 8, "download": True}, "images.t.download: I"),
        ("images.t", TARS | {"caption": "txt"}, "images.t.tags: missing, words of caption 'txt' name classes by them"),
        ("images.t", TARS | {"tags": "imagenet"}, "images.t.tags: 'imagenet' is of no use alone; allowed: with captio"),
        ("images.t", TARS | {"pattern": "{0..9.tar"}, "images.t.pattern: 'data/{0..9.tar', braces do not close"),
        ("images.t", {"kind": "classes_of", "of": CIFAR, "classes": [1, "cat", 1]}, "images.t.classes: 1 stands there"),
        ("images.t", {"kind": "classes_of", "of": CIFAR | {"split": "val"}, "classes": [1]}, "images.t.of.split: CIFA"),
        ("models.small.std", [0.2, 0.0, 0.2], "models.small.std: 0, which is divided by; allowed: 3 numbers > 0"),
        ("models.small.architecture", "cifar_resnet9", "models.small.architecture: 'cifar_resnet9'; allowed: a depth"),
        ("models.small.train.batch", 1, "models.small.train.batch: 1, batch norm needs several images"),
        ("models.o", {"architecture": "cifar_resnet8", "pretrained": "x"}, "models.o.pretrained: nobody publishes cif"),
        ("attacks.methods.pgd", {"restarts": 2, "random_start": False}, "attacks.methods.pgd.restarts: 2 that start"),
        ("attacks.linf", {"methods": {"pgd": {"direction": "l2"}}}, "attacks.linf.methods.pgd.direction: 'l2' has no"),
        ("defenses.median_filter", {"size": 4}, "defenses.median_filter.size: 4; allowed: an odd number"),
    ],
)  # fmt: skip
def test_options_fit_each_other(path, value, expected):
    assert told(path, value).startswith(expected)


def test_options_of_defences_fit_for_every_value_that_is_tried():
    raw = {**SMALL, "patches": {"images": "train"}, "validation": {"images": "train"}}
    assert told("defenses.median_filter", {"tune": {"size": [3, 4]}}, raw) == (
        "defenses.median_filter.tune.size: 4; allowed: an odd number"
    )
    for options, expected in (
        ({"overlap": 3}, "overlap: 3; allowed: at most half of a patch's 5"),
        ({"nprobe": 3}, "nprobe: probes are those of an inverted file, 'Flat' has none; allowed: null"),
        ({"factory": "IVF2,Flat", "nprobe": 3}, "nprobe: 3 of 2 lists; allowed: 1 to 2, or null"),
        ({"factory": "magic"}, "factory: 'magic' is no index that can be built shard by shard; allowed: PCAd, PCARd"),
    ):
        assert told("defenses.image_quilting", options, raw).startswith(f"defenses.image_quilting.{expected}")
    same = {"methods": {"soft_retrieval": {"temperatures": [1, 1.0]}}, "epsilons": [0.06]}
    assert "temperatures: 1 stands there twice" in told("attacks.adaptive", same)


# -- search indexes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"probes": 3}, "index.probes: probes are those of an inverted file, 'Flat' has none; allowed: null"),
        ({"factory": "SQ8", "probes": 3}, "index.probes: probes are those of an inverted file, 'SQ8' has none"),
        ({"factory": "IVF4,Flat", "probes": 5}, "index.probes: 5 of 4 lists; allowed: 1 to 4, or null"),
        ({"factory": "IVF512,Flat"}, "index.factory: 'IVF512,Flat' is trained on at least 512 images, pool All has 50"),
        ({"factory": "PQ8x9"}, "index.factory: 'PQ8x9' is no index that can be built shard by shard"),
        ({"factory": "IVF4,PQ8x4fs"}, "index.factory: 'IVF4,PQ8x4fs' is no index that can be built shard by shard"),
        ({"report": [{"factory": "ivf4,Flat"}]}, "index.report.0.factory: 'ivf4,Flat' is no index that can be built"),
    ],
)  # fmt: skip
def test_indexes_are_those_that_can_be_built_and_trained(value, expected):
    assert told("index", value).startswith(expected)


ACCEPTED = ["Flat", "SQ4", "SQ6", "SQ8", "SQfp16", "SQbf16", "IVF8,Flat", "IVF8,SQ8", "PQ4x4", "PQ4x4np",
            "IVF8,PQ4x4np", "PCA8,IVF8,Flat", "PCAR8,SQ8", "PCAW8,PQ4x4", "PCAWR8,SQ8", "OPQ4,PQ4x4",
            "OPQ4_8,IVF8,PQ4x4", "RR8,SQ8", "HNSW8", "HNSW8,Flat", "HNSW8_SQ8", "IVF8_HNSW8,Flat", "RQ4x4",
            "IVF8,RQ4x4", "SQ8,RFlat", "PCA8,PCA4,SQ8"]  # fmt: skip


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepted_indexes_are_built_shard_by_shard(text):
    """By FAISS itself: trained, cloned, filled in two parts, asked."""
    np = pytest.importorskip("numpy")
    trained = pytest.importorskip("nndefense.database.engines.trained")
    found = Factory.parse(text)
    codes = np.random.default_rng(0).standard_normal((600, 16)).astype(np.float32)
    engine = trained.Trained(trained=trained.train(codes[:300], text))
    lists = engine.search_blocks([codes[:300], codes[300:]], [codes[:5]], 3)[600]
    assert lists[0][0].shape == (5, 3)
    assert (lists[0][0] >= 0).all()
    assert found.lists == (8 if "IVF8" in text else 0)
    assert found.samples >= max(1, found.lists)


@pytest.mark.parametrize(
    "text",
    ["", " SQ8", "SQ8 ", "SQ8\n", "sq8", "PQ4x4fs", "IVF8,PQ4x4fs", "L2norm,SQ8", "ITQ8,LSH", "PCA8", "IVF0,Flat",
     "IVF08,Flat", "IVF8", "IDMap,Flat", "IVF8,IVF8,Flat", "Flat,Flat", "IVF8,HNSW8", "x" * 999],
)  # fmt: skip
def test_other_indexes_are_refused(text):
    with pytest.raises(ConfigError, match="is no index that can be built shard by shard; allowed: PCAd") as caught:
        Factory.parse(text)
    assert len(str(caught.value)) < 400


# -- images


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("pools.All.order", "tars", "pools.All.order: tars, but train has none; allowed: sets of kind webdataset"),
        ("images.train.rows", 300, "sizes: 500 exceeds the 300 images of pool All; allowed: at most 300"),
        ("attacks", WHITE, "attacks.white_box.overlaps: 0.5 needs 750 images, pool All has 500; allowed: a larger sha"),
        ("attacks", {**WHITE, "white_box": {"pool": "All", "overlaps": [0, 1e-12]}}, "attacks.white_box.overlaps: 1e-"),
    ],
)  # fmt: skip
def test_sets_have_the_images_that_are_asked_for(path, value, expected):
    assert told(path, value).startswith(expected)


def test_images_that_meet_are_of_one_size():
    raw = changed(SMALL, ("images", "large"), {"kind": "shapes", "first": 500, "rows": 500, "size": 64})
    assert told("pools.All.images", ["large"], raw) == (
        "pools.All.images: large has images of 64 pixels, train of 32; allowed: one size"
    )
    assert told("pools.All.images", ["train", "large"], raw).startswith("pools.All.images: large has images of 64")
    assert told("validation.images", "large", raw).startswith("validation.images: large has images of 64 pixels")
    task = {"tasks": {"t": {"gallery": "train", "queries": "large"}}, "embeddings": EMBEDDINGS}
    assert told("retrieval", task, raw).startswith("retrieval.tasks.t.queries: large has images of 64 pixels, train of")
    # What only its files tell is left to the jobs.
    load_config(changed(raw, ("images", "train"), {"kind": "folder", "root": "x"}))


def test_tasks_of_one_set_share_its_images():
    one = {"tasks": {"t": RETRIEVAL}, "embeddings": EMBEDDINGS}
    load_config(SMALL | {"retrieval": one})
    more = {"tasks": {"t": RETRIEVAL | {"queries_count": 201}}, "embeddings": EMBEDDINGS}
    assert told("retrieval", more) == (
        "retrieval.tasks.t.queries_count: 501 images of the 500 of train; allowed: at most these in all"
    )


def test_published_sets_are_as_torchvision_has_them():
    sources = pytest.importorskip("nndefense.images.torchvision_set").SOURCES
    assert {name: tuple(splits) for name, (_, splits) in PUBLISHED.items()} == {
        name: one.splits for name, one in sources.items()
    }


# -- layers


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("features.layers", ["conv_5_1"], "features.layers: cifar_resnet8 has no conv_5_1; allowed: conv_2_1, conv_3"),
        ("features.layers", ["conv_2_2"], "features.layers: cifar_resnet8 has no conv_2_2"),
        ("features.layers", ["conv_4_1-RMAC"], "features.layers: all are compared by bits (-RMAC); allowed: one witho"),
    ],
)  # fmt: skip
def test_layers_are_those_of_the_network(path, value, expected):
    assert told(path, value).startswith(expected)


def test_a_base_of_bits_has_no_white_box():
    raw = {**SMALL, "attacks": WHITE, "features": {"layers": ["conv_4_1", "conv_4_1-RMAC"]}}
    assert told("base.features", "conv_4_1-RMAC", raw).startswith("attacks.white_box: attacks on base.features, which")
    load_config(changed(changed(raw, ("base", "features"), "conv_4_1-RMAC"), ("attacks",), SMALL["attacks"]))


@pytest.mark.parametrize("name", ["cifar_resnet8", "cifar_resnet20", "resnet18", "resnet50", "wide_resnet50_2"])
def test_blocks_are_those_that_features_are_taken_from(name):
    torch = pytest.importorskip("torch")
    build = pytest.importorskip("nndefense.models.build")
    layers = pytest.importorskip("nndefense.features.layers")
    standard = pytest.importorskip("nndefense.models.standardize")
    with torch.device("meta"):
        net = build.keep_pre_relu_values(build.build_network(name, 10))
    model = standard.Standardized(net, [0.0] * 3, [1.0] * 3, name, 10)
    for stage, count in enumerate(blocks_of(name), 2):
        layers.find_tap(model, f"conv_{stage}_{count}")
        with pytest.raises(ConfigError):
            layers.find_tap(model, f"conv_{stage}_{count + 1}")
    with pytest.raises(ConfigError):
        layers.find_tap(model, f"conv_{len(blocks_of(name)) + 2}_1")


# -- names


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("pools.none", {"images": ["train"]}, "pools: 'none' has a meaning of its own; allowed: any other"),
        ("pools.queries", {"images": ["train"]}, "pools: 'queries' has a meaning of its own"),
        ("pools.ALL", {"images": ["train"]}, "pools: 'All' and 'ALL' are one file on many disks; allowed: other lette"),
        ("models.x/y", {}, "models: 'x/y' is not allowed as a name; allowed: text of the form"),
        ("run", "-x", "run: '-x' is not allowed; allowed: text of the form"),
        ("run", "attacks", "run: 'attacks' is a folder of the run without a name; allowed: any other"),
        ("dataset", "a\n.. include:: /etc/hostname", "dataset: 'a\\n.. include:: /etc/hostname'; allowed: one line th"),
        ("dataset", "\x1b[31m", "dataset: '\\x1b[31m'; allowed: one line that can be printed, no blanks around it"),
        ("surrogate", "", "surrogate: '' is empty; allowed: text, or null where it may be left out"),
        ("base.pool", "", "base.pool: '' is empty; allowed: text, or null where it may be left out"),
        ("dataset", " x", "dataset: ' x'; allowed: one line that can be printed"),
        ("dataset", "x" * 1001, "dataset: text of 1001 letters; allowed: up to 1000"),
        ("defenses.jpeg.label", "a\tb", "defenses.jpeg.label: 'a\\tb'; allowed: one line that can be printed"),
        ("seed", 1 << 60, "seed: an integer of 19 digits; allowed: up to 9007199254740992 (2^53)"),
        ("models.small.train.learning_rate", 1e300, "models.small.train.learning_rate: 1e+300, which single precision"),
    ],
)  # fmt: skip
def test_names_and_texts_that_act_are_refused(path, value, expected):
    assert told(path, value).startswith(expected)


@pytest.mark.parametrize("name", [".hidden", "a b", "", "a-b", "é", "x" * 65, "..", "a\nb"])
@pytest.mark.parametrize("section", ["images", "models", "pools"])
def test_names_that_make_bad_paths_are_refused(section, name):
    raw = changed(SMALL, (section, name), next(iter(SMALL[section].values())))
    assert message(raw).startswith(f"{section}: ")
    assert "is not allowed as a name" in message(raw)
