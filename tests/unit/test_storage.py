"""What ties artifacts together: a file that belongs to another model, PCA, layer or shard is refused, both named."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nndefense.core import files
from nndefense.core.errors import FileFault, NNDefenseError
from nndefense.core.skipped import check_skipped, usable
from nndefense.database.index import build_index, index_to_bytes, open_index
from nndefense.database.stored_softmax import open_stores
from nndefense.features.pca import Moments, fit_pca
from nndefense.features.stored_pca import read_pca
from nndefense.images.description import describe_set, open_described, open_options, read_blocks
from nndefense.models.build import build_model
from nndefense.models.checkpoint import open_checkpoint, save_checkpoint

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ABOUT = {"model": "m", "layer": "conv_4_1", "pool": "All", "start": 100, "stop": 150, "skipped": [3, 7]}


def script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def store_pca(path: Path, seed: int) -> str:
    features = np.random.default_rng(seed).normal(size=(50, 6))
    pca = fit_pca(Moments.empty(6).update(features), 4)
    names = ("mean", "components", "explained_variance", "explained_variance_ratio")
    files.write_arrays(path, samples=np.array(50), **{name: getattr(pca, name) for name in names})
    return read_pca(path)[1]


@pytest.fixture
def index(tmp_path):
    pca_id = store_pca(tmp_path / "pca.npz", 0)
    codes = np.random.default_rng(1).normal(size=(48, 4)).astype(np.float32)
    path = tmp_path / "100-150.faiss"
    about = ABOUT | {"pca": pca_id, "factory": "Flat", "dimension": 4, "rows": 48}
    files.write_sealed(path, index_to_bytes(build_index(codes)), about)
    return path, pca_id


def test_index_opens_with_the_rows_of_its_codes(index):
    path, pca_id = index
    opened, rows = open_index(path, pca=pca_id, model="m", layer="conv_4_1", start=100)
    assert opened.ntotal == len(rows) == 48
    assert rows.tolist() == [row for row in range(100, 150) if row not in (103, 107)]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, "other", "pca .*, the queries have other"),
        (1, "n", "model m, the queries have n"),
        (2, "conv_3_1", "layer conv_4_1, the queries have conv_3_1"),
        (3, 0, "start 100, the queries have 0"),
    ],
)
def test_index_of_something_else_is_refused(index, place, value, message):
    path, pca_id = index
    expected = [pca_id, "m", "conv_4_1", 100]
    expected[place] = value
    with pytest.raises(FileFault, match=message):
        open_index(path, **dict(zip(("pca", "model", "layer", "start"), expected, strict=True)))


def test_zeroed_half_of_an_index_is_refused_before_faiss_reads_it(index):
    path, pca_id = index
    whole = path.read_bytes()
    path.write_bytes(whole[:400] + bytes(300) + whole[700:])
    with pytest.raises(FileFault, match="checksum"):
        open_index(path, pca=pca_id, model="m", layer="conv_4_1", start=100)


def test_ids_of_two_pcas_differ(tmp_path):
    assert store_pca(tmp_path / "a.npz", 0) == store_pca(tmp_path / "b.npz", 0) != store_pca(tmp_path / "c.npz", 1)


def test_checkpoint_round_trip_and_damage(tmp_path):
    weights, description = tmp_path / "weights.safetensors", tmp_path / "model.json"
    about = {"name": "small", "architecture": "cifar_resnet8", "classes": 4, "mean": [0.5] * 3, "std": [0.2] * 3}
    model = build_model("cifar_resnet8", 4, about["mean"], about["std"], seed=3)
    save_checkpoint(weights, description, model, about)
    opened, read = open_checkpoint(description)
    assert read["name"] == "small"
    for name, value in model.state_dict().items():
        assert (opened.state_dict()[name] == value).all(), name
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(FileFault, match="another checksum"):
        open_checkpoint(description)
    weights.unlink()
    with pytest.raises(FileFault, match="no such file"):
        open_checkpoint(description)


def make_folder(root: Path, count: int) -> None:
    from PIL import Image

    for place in range(count):
        (root / "a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), place, np.uint8)).save(root / "a" / f"{place}.png")


def test_image_set_that_changed_since_it_was_listed_is_refused(tmp_path):
    make_folder(tmp_path / "set", 3)
    options = {"kind": "folder", "root": str(tmp_path / "set"), "size": 8}
    image_set = open_options(options)
    description = describe_set("mine", options, image_set, image_set.manifest()["source"])
    assert len(open_described(description)) == 3
    make_folder(tmp_path / "set", 4)
    with pytest.raises(FileFault, match="image set mine: its files changed since they were listed"):
        open_described(description)


def test_blocks_of_images_keep_their_places(tmp_path):
    make_folder(tmp_path / "set", 5)
    (tmp_path / "set/a/3.png").write_bytes(b"not an image")
    image_set = open_options({"kind": "folder", "root": str(tmp_path / "set"), "size": 8})
    blocks = list(read_blocks(image_set, [4, 3, 0], 2))
    assert [block for block, _, _ in blocks] == [slice(0, 2), slice(2, 3)]
    assert [int(images[0, 0, 0, 0]) for _, images, _ in blocks] == [4, 0]
    assert list(blocks[0][2]) == [1]


def test_skipped_images_are_counted_and_limited():
    assert check_skipped({}, 10, 0.0) == "read 10 images, none skipped"
    sentence = check_skipped({1: "truncated", 2: "empty file", 5: "truncated"}, 1000, 0.01)
    assert sentence == "skipped 3 of 1,000 images (empty file: 1, truncated: 2)"
    with pytest.raises(NNDefenseError, match=r"skipped 3 of 100 images .*; skip_limit allows a share of 0\.01"):
        check_skipped(dict.fromkeys(range(3), "truncated"), 100, 0.01)
    assert usable(5, [1, 4]).tolist() == [0, 2, 3]
    assert usable(2, []).tolist() == [0, 1]


def test_votes_refuse_a_store_that_is_too_short(tmp_path):
    for name, columns in (("s.npy", 10), ("w.npy", 2)):
        files.write_array(tmp_path / name, np.ones((50, columns), np.float32) / 10, ABOUT)
    store = open_stores([str(tmp_path / "s.npy")], [str(tmp_path / "w.npy")])["All"]
    softmax, weights, valid = store.take(np.array([[100, -1]]))
    assert valid.tolist() == [[True, False]]
    assert (softmax[0, 1] == 0).all()
    assert (weights[0, 1] == 0).all()
    with pytest.raises(FileFault, match="neighbour id 150 is not in the softmax store"):
        store.take(np.array([[150]]))


@pytest.mark.parametrize("name", ["weights.safetensors", "codes.npy", "lists.npz", "pool.parquet"])
def test_verify_finds_what_snakemake_does_not_see(tmp_path, name, capsys):
    results = tmp_path / "results"
    results.mkdir()
    model = build_model("cifar_resnet8", 4, [0.5] * 3, [0.2] * 3)
    facts = {"name": "small", "architecture": "cifar_resnet8", "classes": 4}
    save_checkpoint(results / "weights.safetensors", results / "model.json", model, facts)
    files.write_array(results / "codes.npy", np.ones((100, 4)))
    files.write_arrays(results / "lists.npz", ids=np.arange(500))
    files.write_table(results / "pool.parquet", {"row": np.arange(5000)})
    verify, command = script("verify"), sys.modules["nndefense.core.command"]
    arguments = command.parser(None).parse_args([])
    arguments.results = str(results)
    command.run(verify.main, arguments)
    content = bytearray((results / name).read_bytes())
    content[len(content) // 2] ^= 1
    (results / name).write_bytes(content)
    with pytest.raises(SystemExit):
        command.run(verify.main, arguments)
    shown = capsys.readouterr().err
    assert name in shown
    assert "1 of 4 files are damaged" in shown
