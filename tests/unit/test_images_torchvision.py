"""Published data sets, from tiny files in each publisher's format."""

import gzip
import io
import pickle
import shutil
import struct
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.core.options import read_options
from nndefense.images.description import list_set, open_described
from nndefense.images.torchvision_set import SOURCES, TorchvisionSet

RNG = np.random.default_rng(0)
NAMES = [f"thing {i}" for i in range(10)]


@pytest.fixture
def unchecked(monkeypatch):
    """Files made here cannot have the published MD5 sums."""
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: True)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda path, md5=None: True)


def write_cifar(root, images, labels, label_key="labels", folder="cifar-10-batches-py", name="test_batch"):
    (root / folder).mkdir()
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    (root / folder / name).write_bytes(pickle.dumps({"data": rows, label_key: list(labels)}))
    meta, key = ("batches.meta", "label_names") if label_key == "labels" else ("meta", "fine_label_names")
    (root / folder / meta).write_bytes(pickle.dumps({key: NAMES}))


@pytest.mark.parametrize(
    ("name", "label_key", "folder", "batch"),
    [
        ("CIFAR10", "labels", "cifar-10-batches-py", "test_batch"),
        ("CIFAR100", "fine_labels", "cifar-100-python", "test"),
    ],
)
def test_cifar(tmp_path, unchecked, name, label_key, folder, batch):
    images = RNG.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    write_cifar(tmp_path, images, [3, 0, 9, 3, 1], label_key, folder, batch)
    ours = TorchvisionSet(name=name, root=str(tmp_path), split="test")
    manifest = ours.manifest()
    assert np.array_equal(ours.read([4, 0]).images, images[[4, 0]])
    assert manifest["label"].tolist() == [3, 0, 9, 3, 1]
    assert manifest["tag"].tolist() == [NAMES[label] for label in (3, 0, 9, 3, 1)]
    assert ours.class_names == tuple(NAMES)
    assert len(ours) == len(set(manifest["source"])) == 5


def test_svhn(tmp_path, unchecked):
    images = RNG.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    digits = np.array([[10], [1], [9], [10]], dtype=np.uint8)  # the publisher writes the digit 0 as 10
    savemat(tmp_path / "extra_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": digits})
    ours = TorchvisionSet("SVHN", str(tmp_path), "extra")
    assert np.array_equal(ours.read(range(4)).images, images)
    assert ours.manifest()["label"].tolist() == [0, 1, 9, 0]
    assert ours.class_names == tuple("0123456789")


@pytest.mark.parametrize("split", ["train", "test", "extra"])
def test_svhn_splits_and_ranges(tmp_path, unchecked, split):
    images = RNG.integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    digits = np.array([[10], [1], [2], [3], [10], [5], [6]], dtype=np.uint8)
    content = {"X": images.transpose(1, 2, 3, 0), "y": digits}
    savemat(tmp_path / f"{split}_32x32.mat", content, do_compression=True)
    options = {"name": "SVHN", "root": str(tmp_path), "split": split}
    used, held_out = (TorchvisionSet(**options, **part) for part in ({"rows": 4}, {"first": 4}))
    assert (len(used), len(held_out)) == (4, 3)
    assert np.array_equal(np.concatenate([used.read(range(4)).images, held_out.read(range(3)).images]), images)
    assert used.pixels.flags.owndata  # a view would keep the whole split in memory
    assert held_out.manifest()["label"].tolist() == [0, 5, 6]
    assert held_out.manifest()["tag"].tolist() == ["0", "5", "6"]
    assert held_out.manifest()["source"].tolist() == [f"SVHN/{split}/{row}" for row in (4, 5, 6)]
    assert TorchvisionSet("SVHN", str(tmp_path), split, first=6, rows=1).read([0]).images.shape == (1, 32, 32, 3)


@pytest.mark.parametrize(("first", "rows"), [(0, 6), (5, None), (4, 2), (-1, 2), (2, 0)])
def test_ranges_beyond_the_split_are_refused(tmp_path, unchecked, first, rows):
    write_cifar(tmp_path, RNG.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8), range(5))
    with pytest.raises(ConfigError, match=r"CIFAR10 test has 5 rows; first: -?\d+ with .* is not within them"):
        TorchvisionSet("CIFAR10", str(tmp_path), "test", first=first, rows=rows).manifest()


def test_a_range_of_cifar(tmp_path, unchecked):
    images = RNG.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    write_cifar(tmp_path, images, [3, 0, 9, 3, 1])
    ours = TorchvisionSet(name="CIFAR10", root=str(tmp_path), split="test", first=1, rows=3)
    assert np.array_equal(ours.read([0, 2]).images, images[[1, 3]])
    assert ours.manifest()["label"].tolist() == [0, 9, 3]


def test_svhn_of_one_image(tmp_path, unchecked):
    image = RNG.integers(0, 256, (32, 32, 3, 1), dtype=np.uint8)
    savemat(tmp_path / "test_32x32.mat", {"X": image, "y": np.array([[10]], dtype=np.uint8)})
    assert TorchvisionSet("SVHN", str(tmp_path), "test").manifest()["label"].tolist() == [0]


def write_idx(path, array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


def test_fashion_mnist(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    images = RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    labels = np.array([9, 0, 1, 2, 3, 4], dtype=np.uint8)
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels)
    ours = TorchvisionSet("FashionMNIST", str(tmp_path), "train")
    assert np.array_equal(ours.read([1, 5]).images, np.repeat(images[[1, 5], :, :, None], 3, axis=-1))
    assert ours.manifest()["tag"][0] == "Ankle boot"
    larger = TorchvisionSet("FashionMNIST", str(tmp_path), "test", size=32)
    assert larger.read([0, 1]).images.shape == (2, 32, 32, 3)
    assert larger.read([]).images.shape == (0, 32, 32, 3)


def test_damaged_fashion_mnist_is_one_line(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{part}-ubyte").write_bytes(gzip.compress(b"not idx"))
    with pytest.raises(InputError, match="FashionMNIST train is missing or damaged") as caught:
        TorchvisionSet("FashionMNIST", str(tmp_path), "train").manifest()
    assert "\n" not in str(caught.value)


def write_imagenet(tmp_path):
    """A split of three images, the last of which is empty."""
    synsets = ["n01440764", "n02102040"]
    names = [("tench", "Tinca tinca"), ("English springer", "English springer spaniel")]
    torch.save((dict(zip(synsets, names, strict=True)), synsets), tmp_path / "meta.bin")
    for number, synset in enumerate(synsets):
        (tmp_path / "val" / synset).mkdir(parents=True)
        stream = io.BytesIO()
        Image.new("RGB", (50, 40), (200 * number, 50, 50)).save(stream, "JPEG")
        (tmp_path / "val" / synset / "1.JPEG").write_bytes(stream.getvalue())
    (tmp_path / "val" / synsets[1] / "2.JPEG").write_bytes(b"")


def test_imagenet(tmp_path):
    write_imagenet(tmp_path)
    ours = TorchvisionSet("ImageNet", str(tmp_path), "val", size=28)
    batch = ours.read(range(3))
    assert batch.images.shape == (3, 28, 28, 3)
    assert batch.skipped == {2: "empty file"}
    assert ours.resize == 32
    assert ours.manifest()["source"].tolist()[0] == "val/n01440764/1.JPEG"
    assert ours.manifest()["tag"].tolist() == ["tench", "English springer", "English springer"]


def test_imagenet_is_read_as_it_was_listed(tmp_path, monkeypatch):
    write_imagenet(tmp_path)
    options = {"kind": "torchvision", "name": "ImageNet", "root": str(tmp_path), "split": "val", "size": 28, "first": 1}
    about = list_set("val", options, tmp_path / "set.json", tmp_path / "manifest.parquet")
    assert (about["rows"], about["resize"]) == (2, 32)
    (tmp_path / "val/n01440764/0.JPEG").write_bytes((tmp_path / "val/n01440764/1.JPEG").read_bytes())
    expected = TorchvisionSet("ImageNet", str(tmp_path), "val", size=28).read([2]).images
    monkeypatch.setattr("nndefense.images.torchvision_set._load", None)
    again = open_described(tmp_path / "set.json")
    assert again.manifest()["source"].tolist() == ["val/n02102040/1.JPEG", "val/n02102040/2.JPEG"]
    assert again.class_names == ("tench", "English springer")
    batch = again.read([1, 0])
    assert batch.skipped == {0: "empty file"}
    assert np.array_equal(batch.images[1], expected[0])


def test_a_set_in_memory_is_the_same_again_and_refuses_another_number_of_rows(tmp_path, unchecked):
    images = RNG.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    write_cifar(tmp_path, images, [3, 0, 9, 3, 1])
    files = tmp_path / "set.json", tmp_path / "manifest.parquet"
    options = {"kind": "torchvision", "name": "CIFAR10", "root": str(tmp_path), "split": "test", "first": 1}
    assert list_set("cifar", options, *files)["size"] == 32
    assert np.array_equal(open_described(files[0]).read([3, 0]).images, images[[4, 1]])
    part = {"kind": "classes_of", "of": options, "classes": ["thing 3", 1]}
    list_set("some", part, tmp_path / "part.json", tmp_path / "part.parquet")
    assert np.array_equal(open_described(tmp_path / "part.json").read([1, 0]).images, images[[4, 3]])
    shutil.rmtree(tmp_path / "cifar-10-batches-py")
    write_cifar(tmp_path, images[:4], [3, 0, 9, 3])
    with pytest.raises(
        FileFault, match=r"image set cifar: it changed .* \(it has 3 rows, and had 4\); delete images/cif"
    ):
        open_described(files[0])


@pytest.mark.parametrize(
    ("name", "split", "file"),
    [
        ("CIFAR10", "train", "cifar-10-python.tar.gz"),
        ("CIFAR100", "test", "cifar-100-python.tar.gz"),
        ("SVHN", "extra", "extra_32x32.mat"),
        ("FashionMNIST", "test", "FashionMNIST/raw/"),
        ("ImageNet", "val", "ILSVRC2012_devkit_t12.tar.gz"),
    ],
)
def test_missing_data_says_what_to_put_where(tmp_path, name, split, file):
    with pytest.raises(InputError, match="missing or damaged") as caught:
        TorchvisionSet(name, str(tmp_path), split, size=32).manifest()
    message = str(caught.value)
    assert file in message
    assert str(tmp_path) in message
    assert "\n" not in message
    assert ("download: true" in message) == (name != "ImageNet")


def test_a_download_that_fails_is_the_same_line(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.CIFAR10, "download", unreachable)
    with pytest.raises(InputError, match=r"put there cifar-10-python.*no route to host"):
        TorchvisionSet("CIFAR10", str(tmp_path), "train", download=True).manifest()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "MNIST", "split": "train"}, "allowed: CIFAR10, CIFAR100, SVHN, FashionMNIST, ImageNet"),
        ({"name": "CIFAR10", "split": "val"}, "no split 'val'; allowed: train, test"),
        ({"name": "SVHN", "split": "val"}, "allowed: train, test, extra"),
        ({"name": "ImageNet", "split": "val"}, "needs a size"),
        ({"name": "ImageNet", "split": "val", "size": 8, "download": True}, "registration"),
        ({"name": "CIFAR10", "split": "test", "size": 8, "resize": 9}, "resize is for ImageNet"),
        ({"name": "CIFAR10", "split": "test", "size": 0}, "at least 1"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        TorchvisionSet(root=str(tmp_path), **options)


def test_declared_sets_and_splits_are_those_that_can_be_opened():
    declared = read_options("nndefense.images.torchvision_set:TorchvisionSet")
    names, splits = (get_args(get_args(declared[key][0])[0]) for key in ("name", "split"))
    assert names == tuple(SOURCES)
    assert set(splits) == {split for source in SOURCES.values() for split in source.splits}
