"""Stored images put to the exact defence: rows as the workflow's own, foreign images, descriptions."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nndefense.axes.cells import System
from nndefense.cli import main
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import FileFault
from nndefense.core.files import read_json, write_json
from nndefense.evaluation.rows import COLUMNS, read_rows
from nndefense.evaluation.systems import bind_system, read_system
from tests.unit.deployed_case import LAYERS, MEAN, SHARDS, STD, K, call, describe, voting_files
from tests.unit.rescore_case import (
    COUNT,
    CROPS,
    EPSILON,
    RETRIEVAL,
    VOTES,
    WORST,
    answer,
    make_run,
    rescore,
    stored,
    submit,
    vote,
)

REPOSITORY = Path(__file__).resolve().parents[2]
CELL = "Web,200,net,conv_4_1,9,CBW-D,soft,knn,"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


# -- a pack of the run's own


def own_lines(root, system, name, start="", end=""):
    lines = (root / f"accuracy/net/{system}/{name}.csv").read_text().splitlines(keepends=True)
    return lines[0] + "".join(line for line in lines[1:] if start in line and end in line)


def test_rows_of_a_pack_equal_the_runs_own(root, tmp_path, capsys):
    assert rescore(root, root / f"attacks/{WORST}.npz", "--output", tmp_path / "rows.csv") == 0
    text = (tmp_path / "rows.csv").read_text()
    assert text == own_lines(root, LAYERS[0], WORST, CELL)
    assert len(text.splitlines()) == 3
    out = capsys.readouterr().out.splitlines()
    assert re.split("  +", out[0]) == [
        "defence", "attack", "ball", "epsilon", "n", "accuracy [95 %]", "mean delta", "max delta", "hold",
    ]  # fmt: skip
    held = int((stored(root)[2] == "").sum())
    assert re.split("  +", out[2])[:5] == ["Knn", "adaptive-knn/worst", "raw01", "0.06", "24"]
    assert out[2].endswith(f"{held} of 24")
    assert f"{WORST}.npz: 24 of the 66 test images" in out[3]
    assert "Knn, raw01 0.02: breaks no image that the stored attacks leave (worst case" in out[4]


@pytest.mark.parametrize("defense", ["none", "crop_ensemble"])
def test_any_described_defense_is_asked_also_with_its_own_draws(root, tmp_path, defense):
    words = ["--defense", defense, "--output", tmp_path / "rows.csv"]
    assert rescore(root, root / f"attacks/{WORST}.npz", *words) == 0
    assert (tmp_path / "rows.csv").read_text() == own_lines(root, defense, WORST)
    assert rescore(root, root / "attacks/clean.npz", *words) == 0
    assert (tmp_path / "rows.csv").read_text() == own_lines(root, defense, "clean")


def test_one_budget_of_a_pack(root, tmp_path):
    path = root / f"attacks/{WORST}.npz"
    assert rescore(root, path, "--epsilon", "0.06", "--ball", "raw01", "--output", tmp_path / "rows.csv") == 0
    assert (tmp_path / "rows.csv").read_text() == own_lines(root, LAYERS[0], WORST, CELL, "raw01,0.06,")


def test_labels_of_a_pack_are_not_believed(root, tmp_path):
    changed = read_arrays(root / f"attacks/{WORST}.npz")
    changed["labels"] = (changed["labels"] + 1) % 10
    changed |= {name: values * 0 for name, values in changed.items() if "delta" in name}
    path = tmp_path / f"attacks/{WORST}.npz"
    write_arrays(path, **changed)
    assert rescore(root, path, "--output", tmp_path / "rows.csv") == 0
    assert (tmp_path / "rows.csv").read_text() == own_lines(root, LAYERS[0], WORST, CELL)


def test_a_run_is_named_and_may_be_moved(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(root, "results/small")
    assert main(["rescore", f"results/small/attacks/{WORST}.npz", "--run", "small", "--output", "rows.csv"]) == 0
    assert Path("rows.csv").read_text() == own_lines(root, LAYERS[0], WORST, CELL)
    assert main(["rescore", "mine.npz", "--run", "other"]) == 1


# -- packs that jobs take together


def test_packs_together_are_answered_as_each_alone(root, tmp_path):
    names = [WORST, "clean"]
    vote(root, names, tmp_path, spans=[SHARDS])
    answer(root, "crop_ensemble", names, tmp_path, options=CROPS)
    answer(root, "none", names, tmp_path)
    found = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("predictions/**/*.npz"))
    assert len(found) == 6
    alike = [*found, *(Path(f"neighbors/{LAYERS[0]}/merged/{name}.npz") for name in names)]
    alike += [Path(f"features/{layer}/queries/{name}.npy") for layer in LAYERS for name in names]
    for path in alike:
        assert (tmp_path / path).read_bytes() == (root / path).read_bytes(), path


def test_each_pack_is_answered_from_the_files_that_it_needs(root, tmp_path):
    """The bare network's answers to packs, of which the extraction has some."""
    names = ["clean", WORST]
    readers = {"answers": "nndefense.evaluation.context:read_answers"}
    stored = [root / f"softmax/queries/{name}.npy" for name in names]
    needs = {"roles": ["answers"] * 2, "files": stored, "readers": json.dumps(readers)}
    for used in ([[0], []], [[0], [1]], [[], [1]]):
        answer(root, "none", names, tmp_path, used=used, **needs)
        for name in names:
            found, own = (read_arrays(place / f"predictions/net/none/{name}.npz") for place in (tmp_path, root))
            assert found.keys() == own.keys()
            for one, values in own.items():
                np.testing.assert_array_equal(found[one], values)


def test_a_defence_is_bound_again_where_a_pack_needs_other_files(root, tmp_path):
    other = describe(root, LAYERS[1], "other.json")
    needs = {"readers": json.dumps(RETRIEVAL), "options": VOTES}
    places = {"clean": root / "knn.json", WORST: other}
    both = {"roles": ["retrieval"] * 2, "files": list(map(os.fspath, places.values())), "used": [[0], [1]]}
    answer(root, "knn", places, tmp_path / "both", **both, **needs)
    for name, place in places.items():
        alone = {"roles": ["retrieval"], "files": [os.fspath(place)], "used": [[0]]}
        answer(root, "knn", [name], tmp_path / "alone", **alone, **needs)
        found, own = (tmp_path / one / f"predictions/net/knn/{name}.npz" for one in ("both", "alone"))
        assert found.read_bytes() == own.read_bytes()
    first = {"roles": ["retrieval"], "files": [os.fspath(root / "knn.json")], "used": [[0]]}
    answer(root, "knn", [WORST], tmp_path / "alone", **first, **needs)
    assert found.read_bytes() != own.read_bytes()


def test_lists_of_several_pools_come_pool_by_pool(root, tmp_path):
    """The first images as a pool of their own, whose lists are those of a span."""
    layer, names = LAYERS[0], ["clean", WORST]
    lists = {size: [root / f"neighbors/{layer}/{place}/{name}.npz" for name in names]
             for size, place in ((120, SHARDS[0]), (200, "merged"))}  # fmt: skip

    def voted(folder, sizes, names):
        places = [lists[size][("clean", WORST).index(name)] for size in sizes for name in names]
        call(
            "vote",
            names=names,
            queries=[root / f"attacks/{name}.npz" for name in names],
            pools=["Web"] * len(sizes),
            sizes=[[size] for size in sizes],
            neighbors=places,
            **voting_files(root),
            k=[K],
            weightings=["CBW-D"],
            combinations=["soft"],
            layer=layer,
            predictions=[tmp_path / folder / f"{name}.npz" for name in names],
        )
        return [read_arrays(tmp_path / folder / f"{name}.npz") for name in names]

    both = voted("both", [120, 200], names)
    for name, found in zip(names, both, strict=True):
        for size in (120, 200):
            (own,) = voted("alone", [size], [name])
            assert any(f"@Web/{size}/" in key for key in own)
            for key, values in own.items():
                np.testing.assert_array_equal(found[key], values)


# -- somebody else's images


def test_a_foreign_file(root, tmp_path, capsys):
    images, rows, broken_by = stored(root)
    order = np.random.default_rng(0).permutation(COUNT)
    path = submit(tmp_path, images[order], rows[order].astype(np.uint16), labels=np.full(COUNT, 99), names=["x"] * 9)
    words = ["--defense", "knn", "--epsilon", "0.06", "--output", tmp_path / "rows.csv"]
    assert rescore(root, path, *words) == 0
    (row,) = read_rows(tmp_path / "rows.csv")
    assert tuple(row) == COLUMNS
    assert (row["attack"], row["setting"], row["space"], row["epsilon"]) == ("submitted", "submitted", "raw01", 0.06)
    assert System(*(row[name] for name in System._fields)) == System("Web", 200, "conv_4_1", 9, "CBW-D", "soft", "knn")
    assert (row["dataset"], row["seed"], row["model"], row["n"]) == ("shapes", 1, "net", COUNT)
    assert round(row["accuracy"] * COUNT) == (broken_by == "").sum()
    assert row["delta_max"] <= 0.06
    assert "submitted: mine.npz" in capsys.readouterr().out


@pytest.mark.parametrize(("ball", "epsilon"), [("raw01", "0.05"), ("standardized", "0.09"), ("linf", "0.0079")])
def test_a_folder_of_pngs(root, tmp_path, ball, epsilon):
    clean = read_arrays(root / "attacks/clean.npz")
    levels = (clean["clean/images"] * 255).round().astype(np.int64)
    levels = np.where(levels > 127, levels - 2, levels + 2).astype(np.uint8)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / ".hidden").write_text("")
    for row in range(10, 30):
        Image.fromarray(levels[row].transpose(1, 2, 0)).save(folder / f"{row}.png")
    words = ["--defense", "none", "--ball", ball, "--output", tmp_path / "rows.csv"]
    assert rescore(root, folder, *words, "--epsilon", epsilon) == 0
    (row,) = read_rows(tmp_path / "rows.csv")
    as_floats = submit(tmp_path, levels[10:30].astype(np.float32) / 255, np.arange(10, 30))
    assert rescore(root, as_floats, *words, "--epsilon", epsilon) == 0
    assert read_rows(tmp_path / "rows.csv") == [row]
    assert (row["space"], row["n"]) == (ball, 20)
    assert 0 < row["delta_max"] <= float(epsilon)


def test_images_that_no_stored_attack_breaks_are_counted(root, tmp_path, capsys):
    images, rows, broken_by = stored(root)
    weaker = tmp_path / "results"
    shutil.copytree(root, weaker)
    found = read_arrays(weaker / f"attacks/{WORST}.npz")
    write_arrays(weaker / f"attacks/{WORST}.npz", **found | {"0.06/broken_by": np.full(COUNT, "")})
    words = ["--defense", "knn", "--epsilon", "0.06"]
    path = submit(tmp_path, images, rows)
    # The defence has been asked about the same images.
    assert rescore(weaker, path, *words) == 0
    assert "breaks no image that the stored attacks leave" in capsys.readouterr().out
    shutil.rmtree(weaker / f"predictions/net/{LAYERS[0]}/raw01")
    assert rescore(weaker, path, *words) == 0
    broken = sorted(rows[(broken_by != "") & (broken_by != "clean")].tolist())
    assert len(broken) > 1
    (worst,) = [row for row in read_rows(root / "accuracy_worst/net/conv_4_1.csv", None) if row["epsilon"] == EPSILON
                and (row["weighting"], row["combination"]) == ("CBW-D", "soft")]  # fmt: skip
    lower = worst["accuracy"] - len(broken) / COUNT
    expected = f"breaks {len(broken)} images that no stored attack breaks: rows {', '.join(map(str, broken))}"
    assert f"Knn, raw01 0.06: {expected} (worst case {worst['accuracy']:.4f} -> {lower:.4f})" in capsys.readouterr().out
    one = rows == broken[0]
    assert rescore(weaker, submit(tmp_path, images[one], rows[one]), *words) == 0
    assert f"breaks 1 image that no stored attack breaks: row {broken[0]} " in capsys.readouterr().out
    shutil.rmtree(weaker / "accuracy_worst")
    assert rescore(weaker, path, *words) == 0
    assert "breaks" not in capsys.readouterr().out


# -- descriptions


def test_a_description_is_relative_and_tells_everything(root):
    about = read_json(root / "systems/knn.json")
    assert (about["model"], about["clean"], about["files"]) == (
        "../models/net/model.json", "../attacks/clean.npz", ["../knn.json"],
    )  # fmt: skip
    assert about["options"] == VOTES
    assert about["columns"] == System("Web", 200, "conv_4_1", K, "CBW-D", "soft", "knn")._asdict()
    crops = read_system(root / "systems/crop_ensemble.json")
    assert (crops.options, crops.columns) == (CROPS, System.plain("crop_ensemble"))
    assert bind_system(crops).random
    target = read_json(crops.target)
    assert (target["mean"], target["std"]) == (MEAN, STD)


def test_descriptions_that_cannot_be_used_are_refused(root, tmp_path):
    def broken(**changes):
        write_json(tmp_path / "broken.json", read_json(root / "systems/knn.json") | changes)
        return tmp_path / "broken.json"

    with pytest.raises(FileFault, match="does not describe a defended system, or is of another version"):
        read_system(broken(format=9))
    with pytest.raises(FileFault, match="has columns pool, expected pool, size"):
        read_system(broken(columns={"pool": "Web"}))
    with pytest.raises(FileFault, match=r"names the reader os:mkdir, which is none of this library"):
        read_system(broken(readers={"retrieval": "os:mkdir"}))


def test_the_command_is_imported_without_torch():
    code = "import sys, nndefense.commands.rescore, nndefense.evaluation.systems, nndefense.evaluation.submissions; "
    code += "print(sorted({'torch', 'faiss', 'scipy', 'matplotlib', 'pandas'} & set(sys.modules)))"
    environment = {"PYTHONPATH": os.fspath(REPOSITORY / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
