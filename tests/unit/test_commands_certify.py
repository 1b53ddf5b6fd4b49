"""Certified answers to images of any origin: as the workflow's own on the same noise, and the command around them."""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nndefense.certificates import CERTIFICATES
from nndefense.certificates.vote import vote_radius
from nndefense.cli import main
from nndefense.commands.certify import COLUMNS
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import ConfigError, InputError
from nndefense.core.files import file_sha256, read_json, write_json
from nndefense.core.seeds import derive_seed
from nndefense.evaluation.certifying import certify_images
from nndefense.evaluation.guarded import Draws
from nndefense.evaluation.guarded_system import find_guarded, open_guarded, read_guarded
from tests.unit.certify_case import ALPHA, DRAWS, FIRST, NAME, NAMES, QUERIES, SEED, SIGMA, certify, make_retrieval

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_retrieval(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def queries(root):
    task = read_arrays(root / "retrievalguard/tasks/near.npz", "queries/images", "queries/rows")
    return task["queries/images"], task["queries/rows"]


@pytest.fixture
def pictures(queries, tmp_path):
    """Four images, one of them twice and one of another size, and a file that is none."""
    folder = tmp_path / "Bilder für Ömer"
    folder.mkdir()
    for place in range(3):
        Image.fromarray(queries[0][place]).save(folder / f"{place} ö.png")
    shutil.copy(folder / "0 ö.png", folder / "0 twice.png")
    Image.fromarray(queries[0][3]).resize((40, 30)).save(folder / "wide.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 none")
    return folder


@pytest.fixture
def moved(root, tmp_path):
    """A copy of the run that a test may change."""
    shutil.copytree(root, tmp_path / "results")
    return tmp_path / "results"


def opened(root):
    """Embedding, gallery, and the options of `certify_images` by the description."""
    system = read_guarded(find_guarded(root, NAME))
    options = {name: getattr(system, name) for name in ("sigma", "alpha", "first", "draws")}
    return *open_guarded(system), options


def listed(root, path, *words):
    """The answers that the command writes as JSON."""
    assert certify(root, *words, "--output", path) == 0
    return json.loads(path.read_text(encoding="utf-8"))


# -- the library


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_the_workflow_on_the_same_noise(root, queries, name):
    embedding, gallery, options = opened(root)
    counted = []
    found = certify_images(
        embedding,
        *queries,
        gallery,
        [name],
        seed=derive_seed(SEED, "queries", NAME),
        on_draws=counted.append,
        **options,
    )
    stored = read_arrays(root / "retrievalguard" / NAME / f"{name}.npz")
    assert [one.label for (one,) in found] == stored["classes"].tolist()
    assert [one.radius for (one,) in found] == stored["radius"].tolist()
    assert {one.certificates for (one,) in found} == {(name,)}
    assert sum(counted) == QUERIES * (FIRST + DRAWS)
    if name in ("cdf", "vote"):
        assert (stored["radius"] > 0).any()


def test_certificates_of_one_decision_share_alpha_and_the_largest_radius_counts(root, queries):
    embedding, gallery, options = opened(root)
    seed = derive_seed(SEED, "queries", NAME)
    found = certify_images(embedding, *queries, gallery, ["vote", *NAMES], seed=seed, **options)
    draws = Draws(root / "retrievalguard" / NAME / "draws.npy")
    for (vote, mean), (first, others) in zip(found, draws, strict=True):
        assert (vote.decision, mean.decision) == ("vote", "mean")
        given = {"sigma": SIGMA, "nonnegative": False}
        radii = {name: CERTIFICATES[name].load()(first, others, gallery, alpha=ALPHA / 3, **given).radius
                 for name in ("linear", "gaussian", "cdf")}  # fmt: skip
        assert mean.radius == max(radii.values())
        if mean.label >= 0:
            assert radii[mean.certificates[0]] == mean.radius > 0
        else:
            assert (mean.radius, mean.certificates) == (0.0, ("linear", "gaussian", "cdf"))
        assert vote.radius == CERTIFICATES["vote"].load()(first, others, gallery, alpha=ALPHA, **given).radius
    assert {mean.label >= 0 for _, mean in found} == {True, False}


def test_floats_and_batches_change_nothing(root, queries):
    embedding, gallery, options = opened(root)
    images, rows = queries
    floats = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    first = certify_images(embedding, images, rows, gallery, ["cdf"], seed=1, **options)
    assert certify_images(embedding, floats, rows, gallery, ["cdf"], seed=1, batch=1000, **options) == first
    alone = [certify_images(embedding, images[k : k + 1], rows[k : k + 1], gallery, ["cdf"], seed=1, **options)[0]
             for k in range(QUERIES)]  # fmt: skip
    assert alone == first
    assert certify_images(embedding, images, rows, gallery, ["cdf"], seed=2, **options) != first
    assert certify_images(embedding, images, rows + 1, gallery, ["cdf"], seed=1, **options) != first
    assert certify_images(embedding, images[:0], rows[:0], gallery, ["cdf"], seed=1, **options) == []


def test_arguments_out_of_range_are_named(root, queries):
    embedding, gallery, options = opened(root)

    def ask(names, **changes):
        certify_images(embedding, *queries, gallery, names, seed=1, **options | changes)

    with pytest.raises(ConfigError, match="certificate 'cdg' is unknown; allowed: linear, gaussian"):
        ask(["cdf", "cdg"])
    with pytest.raises(ConfigError, match="no certificate is named; allowed: linear"):
        ask([])
    for changes in ({"first": 0}, {"draws": 1}):
        with pytest.raises(InputError, match="allowed: first >= 1 and draws >= 2"):
            ask(["vote"], **changes)
    for changes in ({"alpha": 0.0}, {"sigma": 0.0}):
        with pytest.raises(InputError, match=f"{next(iter(changes))} is 0.0; allowed"):
            ask(["cdf"], **changes)


# -- the command


def test_it_prints_every_decision_and_how_sure_it_is(root, pictures, tmp_path, capsys):
    said = listed(root, tmp_path / "out.json", pictures, pictures / "none.png", "--seed", "5")
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert re.split("  +", lines[0]) == ["image", "prediction", "radius", "certificate", "decision"]
    assert len(lines) == 1 + 10 + 3
    assert "broken.jpg: " in err
    assert "none.png: missing" in err
    assert "2 of 7 images cannot be read" in err
    for line, one in zip(lines[1:11], said["answers"], strict=True):
        name, prediction, radius, certificate, decision = re.split("  +", line)
        assert (name, certificate) == (one["image"], one["certificate"])
        assert decision == {"mean": "mean embedding", "vote": "vote of the copies"}[one["decision"]]
        assert prediction == (one["prediction"] or "abstain")
        # Never more than is proven.
        assert float(radius) <= one["radius"] < float(radius) + 1.01e-4
    assert {line.split()[-1] for line in lines[1:11]} == {"embedding", "copies"}
    assert {one["prediction"] is None for one in said["answers"]} == {True, False}
    assert "16 pixels, by 110 draws" in lines[-3]
    assert "alpha 0.01: the probability, for each answer, that its radius is too large" in lines[-2]
    assert "any of these 10 is, at most 0.1" in lines[-2]
    assert "seed 5 was given" in lines[-1]


def test_answers_are_those_of_the_library_on_the_images_as_the_network_sees_them(root, pictures, queries, tmp_path):
    said = listed(root, tmp_path / "out.json", pictures / "2 ö.png", pictures / "1 ö.png", "--seed", "5")
    embedding, gallery, options = opened(root)
    seed = derive_seed(5, "certify", NAME)
    found = certify_images(embedding, queries[0][[2, 1]], np.arange(2), gallery, NAMES, seed=seed, **options)
    assert [one["radius"] for one in said["answers"]] == [one.radius for own in found for one in own]
    assert [Path(one["image"]).name for one in said["answers"]] == ["2 ö.png"] * 2 + ["1 ö.png"] * 2


def test_one_certificate_and_fewer_draws(root, pictures, tmp_path, capsys):
    words = [pictures, "--seed", "5", "--certificate", "vote"]
    said = listed(root, tmp_path / "few.json", *words, "--draws", "20")
    assert "by 20 draws" in capsys.readouterr().out
    assert {(one["decision"], one["certificate"]) for one in said["answers"]} == {("vote", "vote")}
    assert said["draws"] == 20
    # With one certificate of a decision, it has all of alpha.
    longest = max(one["radius"] for one in said["answers"])
    assert longest <= vote_radius(20, 20, SIGMA, ALPHA)
    whole = listed(root, tmp_path / "all.json", *words)
    assert max(one["radius"] for one in whole["answers"]) > longest


def test_csv_has_a_line_for_each_answer(root, pictures, tmp_path):
    said = listed(root, tmp_path / "out.json", pictures, "--seed", "5")["answers"]
    assert certify(root, pictures, "--seed", "5", "--output", tmp_path / "out.csv") == 0
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == COLUMNS
    assert [row["prediction"] or None for row in rows] == [one["prediction"] for one in said]
    assert [float(row["radius"]) for row in rows] == [one["radius"] for one in said]
    assert {row["alpha"] for row in rows} == {"0.01"}


def test_noise_is_fresh_unless_a_seed_is_given(root, pictures, tmp_path, capsys):
    words = [pictures, "--certificate", "cdf"]
    one, two = (listed(root, tmp_path / "out.json", *words) for _ in range(2))
    assert one["fresh"]
    assert one["seed"] != two["seed"]
    assert one["answers"] != two["answers"]
    assert f"noise: fresh; --seed {two['seed']} reproduces these answers" in capsys.readouterr().out
    again = listed(root, tmp_path / "out.json", *words, "--seed", str(two["seed"]))
    assert again["answers"] == two["answers"]
    assert not again["fresh"]


def test_the_same_image_twice_has_other_noise_each_time(root, pictures, tmp_path, monkeypatch):
    words = [pictures, "--certificate", "cdf", "--seed", "1"]
    said = {Path(one["image"]).name: one["radius"] for one in listed(root, tmp_path / "out.json", *words)["answers"]}
    assert said["0 ö.png"] != said["0 twice.png"]
    monkeypatch.setattr("nndefense.commands.certify.BATCH", 1)
    parted = {Path(one["image"]).name: one["radius"] for one in listed(root, tmp_path / "out.json", *words)["answers"]}
    assert parted == said


def test_a_run_is_named_and_may_be_moved(moved, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").rename(tmp_path / "old")
    shutil.copytree(tmp_path / "old", "results/small")
    assert main(["certify", os.fspath(pictures), "--run", "small", "--system", NAME]) == 0
    assert NAME in capsys.readouterr().out


def test_a_gallery_of_one_class_proves_any_radius(moved, pictures, tmp_path, capsys):
    folder = moved / "retrievalguard" / NAME
    stored = read_arrays(folder / "gallery.npz")
    write_arrays(folder / "gallery.npz", **stored | {"labels": np.full(len(stored["labels"]), 4)})
    about = read_json(folder / "system.json")
    write_json(folder / "system.json", about | {"gallery_sha256": file_sha256(folder / "gallery.npz")})
    said = listed(moved, tmp_path / "out.json", pictures / "wide.png")["answers"]
    assert [(one["prediction"], float(one["radius"])) for one in said] == [(about["class_names"][4], math.inf)] * 2
    assert "  any  " in capsys.readouterr().out


def test_the_command_is_imported_without_torch():
    code = "import sys, nndefense.commands.certify, nndefense.evaluation.guarded_system; "
    code += "print(sorted({'torch', 'faiss', 'scipy', 'matplotlib', 'pandas'} & set(sys.modules)))"
    environment = {"PYTHONPATH": os.fspath(REPOSITORY / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
