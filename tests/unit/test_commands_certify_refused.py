"""What `nndefense certify` cannot do ends with one line that says what is wrong and what is allowed."""

import shutil

import pytest
import torch
from PIL import Image

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import FileFault
from nndefense.core.files import read_json, write_json
from nndefense.evaluation.guarded_system import read_guarded
from tests.unit.certify_case import NAME, certify, make_retrieval


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_retrieval(tmp_path_factory.mktemp("run"))


@pytest.fixture
def pictures(tmp_path):
    """A folder with an image, and a file that is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (16, 16), "red").save(folder / "red.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 none")
    return folder


@pytest.fixture
def moved(root, tmp_path):
    """A copy of the run that a test may change."""
    shutil.copytree(root, tmp_path / "results")
    return tmp_path / "results"


def refused(capsys, root, *words):
    """The one line that the command ends with."""
    assert certify(root, *words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_a_retrieval_that_is_not_described(root, moved, pictures, tmp_path, capsys):
    place = f"{tmp_path}/retrievalguard/TASK/EMBEDDING/sigma-SIGMA/system.json"
    assert f"`snakemake {place}` prepares one" in refused(capsys, tmp_path, pictures)
    err = refused(capsys, root, pictures, "--system", "near/centred/sigma-1")
    path = root / "retrievalguard/near/centred/sigma-1/system.json"
    assert f"{path}: is not there; described here: {NAME}; others: snakemake {path}" in err
    shutil.copytree(moved / "retrievalguard/near/centred", moved / "retrievalguard/near/other")
    err = refused(capsys, moved, pictures)
    assert f"--system: missing, {moved} describes several; allowed: {NAME}, near/other/sigma-0.03" in err


def test_another_gallery_than_the_one_described(moved, pictures, capsys):
    path = moved / "retrievalguard" / NAME / "gallery.npz"
    stored = read_arrays(path)
    stored["smoothed"][0, 0] += 1e-6
    write_arrays(path, **stored)
    assert "gallery.npz: has another checksum than the system.json beside it records" in refused(
        capsys, moved, pictures
    )


def test_damaged_descriptions(moved, pictures, capsys):
    path = moved / "retrievalguard" / NAME / "system.json"
    about = read_json(path)
    files = about["files"]
    for changes, words in (
        ({"files": {"model": files["model"]}}, "is of another version"),
        ({"files": files | {"gallery": []}}, "is of another version"),
        ({"colour": "red"}, "unexpected keyword argument 'colour'"),
        ({"class_names": ["apple"]}, "gallery.npz: has class 9, but system.json names 1"),
        ({"files": files | {"model": ["gone.json"]}}, "gone.json"),
        ({"files": files | {"gallery": ["gone.npz"]}}, "gone.npz"),
    ):
        write_json(path, about | changes)
        assert words in refused(capsys, moved, pictures)
    write_json(path, {name: value for name, value in about.items() if name != "sigma"})
    assert "'sigma'" in refused(capsys, moved, pictures)
    path.write_text("[]")
    with pytest.raises(FileFault, match="was not written by this workflow"):
        read_guarded(path)


def test_options_out_of_range(root, pictures, capsys, monkeypatch):
    for option, value, allowed in (
        ("--draws", "1", "an integer >= 2"),
        ("--seed", "-1", "an integer >= 0"),
        ("--output", "out.txt", "a name that ends in .csv, .json"),
    ):
        assert f"error: {option}" in (err := refused(capsys, root, pictures, option, value))
        assert f"allowed: {allowed}" in err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cuda: " in refused(capsys, root, pictures, "--device", "cuda")
    with pytest.raises(SystemExit) as stop:
        certify(root, pictures, "--certificate", "cdg")
    assert stop.value.code == 2


def test_without_a_readable_image(root, pictures, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert certify(root, tmp_path / "empty", pictures / "broken.jpg") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "empty: folder without images" in err
    assert "2 of 2 images cannot be read" in err
