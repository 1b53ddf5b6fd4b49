"""What ties artifacts together: a file that belongs to another model, PCA, layer or shard is refused, both named."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nndefense.core import arrays, tables
from nndefense.core.errors import FileFault, NNDefenseError
from nndefense.core.skipped import check_skipped, usable
from nndefense.database.engines.held import hold
from nndefense.database.engines.stored import Span
from nndefense.database.engines.trained import Trained, train
from nndefense.database.index import index_to_bytes
from nndefense.database.stored_softmax import open_stores
from nndefense.features.pca import Moments, fit_pca
from nndefense.features.stored_pca import read_pca
from nndefense.images.description import open_options, read_blocks
from nndefense.models.build import build_model
from nndefense.models.checkpoint import open_checkpoint, save_checkpoint

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ABOUT = {"model": "m", "layer": "conv_4_1", "pool": "All", "start": 100, "stop": 150}


def script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def store_pca(path: Path, seed: int) -> str:
    features = np.random.default_rng(seed).normal(size=(50, 6))
    pca = fit_pca(Moments.empty(6).update(features), 4)
    names = ("mean", "components", "explained_variance", "explained_variance_ratio")
    arrays.write_arrays(path, samples=np.array(50), **{name: getattr(pca, name) for name in names})
    return read_pca(path)[1]


@pytest.fixture
def index(tmp_path):
    """Files of a shard's index, in which two rows have no code, and the PCA that it was made with."""
    pca_id = store_pca(tmp_path / "pca.npz", 0)
    codes = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    skipped = np.array([103, 107])
    filled = Trained(trained=train(codes, "SQ8")).build([codes], first=100, skipped=[skipped])
    about = ABOUT | {"pca": pca_id, "factory": "SQ8", "dimension": 4, "rows": 48}
    arrays.write_sealed(tmp_path / "100-150.faiss", index_to_bytes(filled), about)
    arrays.write_array(tmp_path / "100-150.npy", skipped, ABOUT)
    return tmp_path / "100-150.faiss", tmp_path / "100-150.npy", pca_id


def test_index_opens_with_the_rows_of_its_codes(index):
    path, skipped, pca_id = index
    span = Span([path], [skipped], pca=pca_id, model="m", layer="conv_4_1", start=100)
    ((stop, opened),) = span.indexes()
    (held,) = hold([], [span])
    assert (stop, opened.ntotal, span.rows) == (150, 48, 48)
    assert held.rows.tolist() == [row for row in range(100, 150) if row not in (103, 107)]
    ids, _ = held.search(np.zeros((3, 4), np.float32), 50)
    assert (np.sort(ids) == [-1, -1, *held.rows]).all()


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"pca": "other"}, "pca .*, expected other"),
        ({"model": "n"}, "model m, expected n"),
        ({"layer": "conv_3_1"}, "layer conv_4_1, expected conv_3_1"),
        ({"start": 0}, "start 100, expected 0"),
    ],
)
def test_index_of_something_else_is_refused(index, expected, message):
    path, skipped, _ = index
    with pytest.raises(FileFault, match=f"100-150.faiss: was made with {message}; delete it and rerun"):
        Span([path], [skipped], **expected)


def test_zeroed_half_of_an_index_is_refused_before_faiss_reads_it(index):
    path, skipped, _ = index
    whole = path.read_bytes()
    path.write_bytes(whole[:400] + bytes(300) + whole[700:])
    with pytest.raises(FileFault, match=r"100-150.faiss: has a wrong checksum"):
        next(Span([path], [skipped]).indexes())


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
        arrays.write_array(tmp_path / name, np.ones((50, columns), np.float32) / 10, ABOUT)
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
    arrays.write_array(results / "codes.npy", np.ones((100, 4)))
    arrays.write_arrays(results / "lists.npz", ids=np.arange(500))
    tables.write_table(results / "pool.parquet", {"row": np.arange(5000)})
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
    assert "1 of 5 files are at fault" in shown
