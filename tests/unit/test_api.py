"""A deployed system on disk: loaded, attacked by other libraries, described, asked on the command line."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nndefense
from nndefense.api import DefendedNetwork
from nndefense.cli import COMMANDS, main
from nndefense.commands.predict import COLUMNS
from nndefense.core.errors import FileFault, InputError
from nndefense.core.files import read_json, write_json
from nndefense.defenses.crop_ensemble import CropEnsemble
from nndefense.defenses.neighbors import NearestNeighbors
from nndefense.models.build import build_model
from tests.unit.deployed_case import QUERIES, K, approximate, describe, make_system, query_images

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = torch.arange(QUERIES)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make_system(tmp_path_factory.mktemp("results"))
    describe(root)
    return root


@pytest.fixture(scope="module")
def network(root):
    return nndefense.load(root)


def test_without_gradients_the_logits_are_those_of_the_deployed_defense(root, network):
    images, labels = query_images(root)
    with torch.no_grad():
        logits = network(images)
    exact = network.bound.probabilities(images, rows=ROWS, seed=0)
    assert torch.equal(logits.argmax(1), exact.argmax(1))
    torch.testing.assert_close(logits.softmax(1), exact, rtol=1e-4, atol=1e-6)
    assert logits.isfinite().all()
    # Images that require no gradient cost none.
    assert torch.equal(network(images), logits)
    assert not network(images).requires_grad
    assert (logits.argmax(1) == labels).float().mean() > 0.3


def test_with_gradients_the_logits_are_those_of_the_surrogate(root, network):
    images, _ = query_images(root)
    images.requires_grad_()
    logits = network(images)
    assert torch.equal(logits, network.bound.surrogate(images, rows=ROWS, seed=0))
    with torch.no_grad():
        assert not torch.equal(logits, network(images))


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_contiguous(root, network, form):
    images, labels = query_images(root)
    images = images.to(memory_format=form).requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(network(images), labels), images)
    assert gradient.view(QUERIES, -1).norm(dim=1).min() > 0
    same, _ = query_images(root)
    torch.testing.assert_close(network(images.detach()), network(same))


def test_it_stays_in_eval_mode_and_its_weights_frozen(root, network):
    images, _ = query_images(root)
    before = network(images[:4])
    assert network.train() is network
    assert not any(module.training for module in network.modules())
    assert torch.equal(network(images[:4]), before)
    assert not any(one.requires_grad for one in network.parameters())


def test_neighbors_and_their_images(root, network):
    images, _ = query_images(root)
    found = network.neighbors(images)
    assert found.ids.shape == (QUERIES, K)
    assert len(network.class_names) == 10
    near = network.database_images(found.ids[3, :2])
    np.testing.assert_array_equal(near.images[0], (images[3] * 255).round().byte().permute(1, 2, 0).numpy())


def test_any_bound_defense_can_be_such_a_network():
    model = build_model("cifar_resnet8", 10, [0.5] * 3, [0.25] * 3)
    network = DefendedNetwork(CropEnsemble(crops=2, crop_fraction=0.8).bind(model), draws=3)
    images = torch.rand(2, 3, 16, 16).requires_grad_()
    network(images).sum().backward()
    assert images.grad.is_contiguous()
    assert images.grad.abs().max() > 0


# -- other libraries


def accuracy(network, images, labels):
    with torch.no_grad():
        return (network(images).argmax(1) == labels).float().mean().item()


@pytest.fixture(scope="module")
def right(root, network):
    """Images that the defence is right about."""
    images, labels = query_images(root)
    with torch.no_grad():
        good = network(images).argmax(1) == labels
    return images[good][:16], labels[good][:16]


def test_foolbox_attacks_it(network, right):
    foolbox = pytest.importorskip("foolbox")
    images, labels = right
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    assert foolbox.accuracy(model, images, labels) == 1
    attack = foolbox.attacks.L2PGD(steps=10, rel_stepsize=0.2)
    _, clipped, success = attack(model, images, labels, epsilons=3.0)
    assert accuracy(network, clipped, labels) < 0.7
    assert torch.equal(success, network(clipped).argmax(1) != labels)


def test_torchattacks_attacks_it(network, right):
    torchattacks = pytest.importorskip("torchattacks")
    images, labels = right
    attack = torchattacks.PGDL2(network, eps=3.0, alpha=0.6, steps=10)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attacked = attack(images, labels)
    assert accuracy(network, attacked, labels) < 0.7
    assert not network.training


def test_the_adversarial_robustness_toolbox_attacks_it(network, right):
    pytest.importorskip("art")
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    images, labels = right
    loss = torch.nn.CrossEntropyLoss()
    classifier = PyTorchClassifier(network, loss, images.shape[1:], 10, clip_values=(0, 1), device_type="cpu")
    assert (classifier.predict(images.numpy()).argmax(1) == labels.numpy()).all()
    attack = ProjectedGradientDescent(classifier, norm=2, eps=3.0, eps_step=0.6, max_iter=10, verbose=False)
    attacked = torch.from_numpy(attack.generate(images.numpy(), np.eye(10)[labels]))
    assert accuracy(network, attacked, labels) < 0.7


# -- on disk


def test_a_description_is_relative_to_its_place(root, tmp_path):
    about = read_json(root / "knn.json")
    paths = [
        about["model"],
        about["pca"],
        about["pool"],
        *about["codes"],
        *about["skipped"],
        *about["checks"],
        *about["sets"],
    ]
    assert not any(Path(path).is_absolute() for path in paths)
    moved = tmp_path / "elsewhere"
    shutil.copytree(root, moved)
    images, _ = query_images(root)
    for place in (moved, moved / "knn.json", str(moved)):
        assert torch.equal(nndefense.load(place)(images[:3]), nndefense.load(root)(images[:3]))


def test_options_and_sizes_are_described(root):
    describe(root, output="other.json", neighbors=3, searched=None, weighting="UW", combination="hard")
    about = read_json(root / "other.json")
    assert about["options"] == {"k": 3, "weighting": "UW", "combination": "hard"}
    assert (about["size"], about["resize"], about["crop"], about["images"]) == (16, None, "center", 200)
    assert nndefense.load(root / "other.json").bound.defense == NearestNeighbors(
        k=3, weighting="UW", combination="hard"
    )


def test_files_that_do_not_belong_together_are_named(root, tmp_path):
    def broken(**changes):
        write_json(root / "broken.json", read_json(root / "knn.json") | changes)
        return root / "broken.json"

    about, rmac = read_json(root / "knn.json"), "conv_3_1-RMAC"
    with pytest.raises(FileFault, match=r"knn.json: is not readable JSON"):
        nndefense.load(tmp_path)
    for version in (1, 9):
        with pytest.raises(FileFault, match="does not describe a deployed defence, or is of another version"):
            nndefense.load(broken(format=version))
    other = {name: [path.replace("conv_4_1", rmac) for path in about[name]] for name in ("codes", "skipped")}
    with pytest.raises(FileFault, match=r"0-120.npy: was made with pca .*, expected .*; delete it and rerun"):
        nndefense.load(broken(codes=other["codes"]))
    with pytest.raises(FileFault, match=rf"{rmac}/0-120.npy: was made with layer {rmac}, expected conv_4_1; delete it"):
        nndefense.load(broken(skipped=other["skipped"]))
    index = [os.path.relpath(path, root) for path in approximate(root)]
    with pytest.raises(FileFault, match=r"0-120.faiss: was made with pca .*, expected .*; delete"):
        nndefense.load(broken(index=index, layer=rmac, pca=about["pca"].replace("conv_4_1", rmac), **other))
    with pytest.raises(FileFault, match=r"0-120.npy: was made with pool Web, expected All"):
        nndefense.load(broken(codes=[], skipped=[], pool_name="All"))
    for name in ("codes", "skipped", "checks"):
        with pytest.raises(InputError, match="the same shards in the same order"):
            describe(root, output="broken.json", **{name: [root / path for path in about[name][::-1]]})


def test_importing_the_package_and_the_command_needs_no_torch():
    code = (
        "import sys, nndefense, nndefense.cli, nndefense.commands.predict; "
        "print(sorted({'torch', 'faiss', 'scipy', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY / "scripts")},
        check=True,
    )
    assert run.stdout.strip() == "[]"


# -- the command


@pytest.fixture
def pictures(root, tmp_path):
    """A folder with a name of many letters, two images, one that is damaged, and one that is none."""
    folder = tmp_path / "Bilder für Ömer $x$"
    (folder / "mehr davon").mkdir(parents=True)
    images, _ = query_images(root)
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    Image.fromarray(pixels[3]).save(folder / "eins 1.png")
    Image.fromarray(pixels[8]).resize((40, 30)).save(folder / "mehr davon" / "zwei_$2.png")
    (folder / "kaputt.jpg").write_bytes(b"\xff\xd8\xff\xe0 none")
    return folder


def predict(root, *words):
    return main(["predict", *map(os.fspath, words), "--results", os.fspath(root)])


def test_predict_prints_a_table_and_counts_what_it_cannot_read(root, network, pictures, capsys):
    assert predict(root, pictures, pictures / "eins 1.png", pictures / "none.png", "--neighbors", "3") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["image", "class", "probability", "votes", "nearest:", "class", "(weight,", "distance)"]
    assert len(lines) == 3
    images, _ = query_images(root)
    with torch.no_grad():
        expected = network(images[3:4]).softmax(1)[0]
    name = network.class_names[int(expected.argmax())]
    (line,) = [line for line in lines if "eins 1.png" in line]
    assert f"{name} " in line
    assert f"{expected.max():.3f}" in line
    assert line.count("(") == 3
    assert "none.png: missing" in err
    assert "kaputt.jpg: " in err
    assert "2 of 4 images cannot be read" in err


def test_predict_writes_csv_json_and_a_sheet(root, pictures, capsys, tmp_path):
    table, listed = tmp_path / "out.csv", tmp_path / "out.json"
    sheets = [tmp_path / f"sheet.{kind}" for kind in ("png", "pdf", "svg")]
    assert predict(root, pictures, "--output", table, "--sheet", sheets[0], "--neighbors", "4") == 0
    for sheet in sheets[1:]:
        assert predict(root, pictures, "--output", listed, "--sheet", sheet, "--neighbors", "50") == 0
    with open(table, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == COLUMNS
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"] * 2
    content = json.loads(listed.read_text(encoding="utf-8"))
    assert [Path(one["image"]).name for one in content["images"]] == ["eins 1.png", "zwei_$2.png"]
    first = content["images"][0]
    assert len(first["neighbors"]) == first["k"] == K
    assert first["votes"] == sum(near["neighbor_class"] == first["class"] for near in first["neighbors"])
    assert first["neighbors"][0]["neighbor_row"] == 150
    assert [Path(one["image"]).name for one in content["skipped"]] == ["kaputt.jpg"]
    with Image.open(sheets[0]) as sheet:
        assert sheet.width > sheet.height > 300
    assert sheets[1].read_bytes().startswith(b"%PDF")
    again = sheets[0].read_bytes()
    assert predict(root, pictures, "--sheet", sheets[0], "--neighbors", "4") == 0
    assert sheets[0].read_bytes() == again


def test_predict_without_a_readable_image_or_a_finished_run(root, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert predict(root, tmp_path / "empty", tmp_path / "gone.jpg") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "empty: folder without images" in err
    assert "2 of 2 images cannot be read" in err
    Image.new("RGB", (16, 16)).save(tmp_path / "grey.png")
    assert predict(tmp_path, tmp_path / "grey.png") == 1
    assert "error: " in (err := capsys.readouterr().err)
    assert err.count("\n") == 1
    for words in (["--output", "a.txt"], ["--sheet", "a.gif"], ["--neighbors", "0"]):
        assert predict(root, tmp_path / "grey.png", *words) == 1
        assert f"error: {words[0]}" in capsys.readouterr().err


def test_predict_prints_names_of_any_bytes_on_one_line(root, tmp_path, capsys):
    image = io.BytesIO()
    Image.new("RGB", (16, 16), "blue").save(image, "png")
    for name in (b"a\xff.png", b"b\nc.png", "猫.png".encode()):
        (tmp_path / os.fsdecode(name)).write_bytes(image.getvalue())
    (tmp_path / "d\ne.png").write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert predict(root, tmp_path, "--output", tmp_path / "o.csv", "--sheet", tmp_path / "o.svg") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert "a\\udcff.png" in out
    assert "猫.png" in out
    assert "d\\ne.png: empty file" in err


def test_predict_takes_the_name_of_a_run(root, tmp_path, capsys):
    shutil.copytree(root, tmp_path / "results" / "small")
    Image.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
    assert predict(tmp_path / "results", tmp_path / "red.png", "--run", "small") == 0
    assert "red.png" in capsys.readouterr().out


def test_help_and_unknown_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--help"])
    assert stop.value.code == 0
    assert "folders of them" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["prophesy"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert all(name in error for name in COMMANDS)
