"""Images that are refused before anything is scored: each by one line that names file and row, and what is allowed."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from nndefense.core.arrays import read_arrays, write_arrays
from tests.unit.rescore_case import COUNT, WORST, make_run, rescore, stored, submit


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def refused(root, capsys):
    """Asserts that words end in one line on standard error of some pattern, and that nothing is scored."""

    def check(message, *words):
        assert rescore(root, *words) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert re.search(f"^error: .*{message}", err), err

    return check


def with_pixel(value):
    """Images whose third one has a pixel of that value."""

    def change(images):
        images = images.copy()
        images[2, 0, 3, 3] = value
        return images

    return change


REFUSED = {
    "dtype": ({"images": lambda one: one.astype(np.float64)}, r"images are float64; allowed: float32"),
    "bytes": ({"images": lambda one: (one * 255).astype(np.uint8)}, r"images are uint8; allowed: float32"),
    "shape": ({"images": lambda one: one[:, :, 1:]}, r"images have shape \(24, 3, 15, 16\); allowed: \(n, 3, 16, 16\)"),
    "last": (
        {"images": lambda one: one.transpose(0, 2, 3, 1)},
        r"images have shape \(24, 16, 16, 3\); allowed: \(n, 3, 16, 16\)",
    ),
    "one": ({"images": lambda one: one[0]}, r"images have shape \(3, 16, 16\); allowed: \(n, 3, 16, 16\)"),
    "fewer rows": ({"rows": lambda one: one[1:]}, r"rows are \(23,\) int64 for 24 images; allowed: one integer"),
    "rows": ({"rows": lambda one: one.astype(float)}, r"rows are \(24,\) float64 for 24 images; allowed: one integer"),
    "none": (
        {"rows": lambda one: one[:0], "images": lambda one: one[:0]},
        r"rows are \(0,\) int64 for 0 images; allowed: one",
    ),
    "unknown": ({"rows": lambda one: one + 60}, r"row \d+ is no test image; allowed: rows of .*clean\.npz"),
    "negative": ({"rows": lambda one: one - 60}, r"row -\d+ is no test image; allowed: rows of .*clean\.npz"),
    "twice": ({"rows": lambda one: one[[0, 0, *range(2, 24)]]}, r"row \d+ is there twice; allowed: one image a row"),
    "nan": ({"images": with_pixel(np.nan)}, r"row THIRD has a pixel nan; allowed: finite pixels in \[0, 1\]"),
    "inf": ({"images": with_pixel(np.inf)}, r"row THIRD has a pixel inf; allowed: finite pixels in \[0, 1\]"),
    "bright": ({"images": with_pixel(1.5)}, r"row THIRD has a pixel 1\.5; allowed: finite pixels in \[0, 1\]"),
    "dark": ({"images": with_pixel(-1e-3)}, r"row THIRD has a pixel -0\.001; allowed: finite pixels in \[0, 1\]"),
    "far": ({"images": lambda one: 1 - one}, r"row \d+ is at distance [\d.]+ \(raw01\); allowed: at most 0\.06"),
    "others": ({"rows": lambda one: one[::-1]}, r"row \d+ is at distance [\d.]+ \(raw01\); allowed: at most 0\.06"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_attack_within_the_budget_is_refused(root, tmp_path, refused, case):
    changes, message = REFUSED[case]
    images, rows, _ = stored(root)
    arrays = {"images": images, "rows": rows}
    path = submit(tmp_path, **arrays | {name: change(arrays[name]) for name, change in changes.items()})
    refused(f"mine\\.npz: {message.replace('THIRD', str(rows[2]))}", path, "--defense", "knn", "--epsilon", "0.06")


def test_the_tolerance_is_that_of_float_rounding(root, tmp_path, refused, capsys):
    image = read_arrays(root / "attacks/clean.npz")["clean/images"][:1].astype(np.float64)
    to_grey = (0.5 - image) / np.linalg.norm(0.5 - image)
    far = {share: image + to_grey * (0.1 * share * np.linalg.norm(image)) for share in (1 + 5e-6, 1 + 3e-5)}
    good, bad = (submit(tmp_path, one.astype(np.float32), np.array([0]), f"{at}.npz") for at, one in far.items())
    assert rescore(root, good, "--defense", "none", "--epsilon", "0.1") == 0
    capsys.readouterr()
    refused(r"row 0 is at distance 0\.10000", bad, "--defense", "none", "--epsilon", "0.1")


def test_the_pack_of_a_run_is_checked_as_well(root, tmp_path, refused):
    changed = read_arrays(root / f"attacks/{WORST}.npz")
    changed["0.02/images"] = changed["0.06/images"]
    own, path = root / f"attacks/{WORST}.npz", tmp_path / f"attacks/{WORST}.npz"
    write_arrays(path, **changed)
    # The first path is good, yet nothing is scored before everything is checked.
    refused(r"0\.06\.npz: row \d+ is at distance 0\.0\d+ \(raw01\); allowed: at most 0\.02", own, path)
    del changed["0.06/images"]
    write_arrays(path, **changed)
    refused(r"0\.06\.npz: lacks 0\.06/images; allowed: ", path, "--epsilon", "0.06")


class Harmful:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_other_files_are_refused_and_pickles_not_opened(root, tmp_path, refused):
    images, rows, _ = stored(root)
    words = ["--defense", "knn", "--epsilon", "0.06"]
    unreadable = r"mine\.npz: cannot be read as an \.npz of plain arrays"
    refused(rf"{unreadable} \(No such file or directory\); allowed: an \.npz with", tmp_path / "mine.npz", *words)
    np.savez(tmp_path / "mine.npz", x=rows)
    refused(r"mine\.npz: lacks images; allowed: an \.npz with images \(n, 3, H, W\)", tmp_path / "mine.npz", *words)
    np.savez(tmp_path / "mine.npz", images=images)
    refused(r"mine\.npz: lacks rows; allowed: an \.npz with images", tmp_path / "mine.npz", *words)
    harmful = np.empty(COUNT, dtype=object)
    harmful[:] = [Harmful(os.fspath(tmp_path / "made"))] * COUNT
    refused(rf"{unreadable} \(ValueError\); allowed: ", submit(tmp_path, harmful, rows), *words)
    np.save(tmp_path / "mine.npy", harmful)
    (tmp_path / "mine.npy").rename(tmp_path / "mine.npz")
    refused(rf"{unreadable} \(ValueError\); allowed: ", tmp_path / "mine.npz", *words)
    assert not (tmp_path / "made").exists()


def test_what_a_folder_may_hold(root, tmp_path, refused):
    clean = (read_arrays(root / "attacks/clean.npz")["clean/images"] * 255).round().astype(np.uint8)
    picture, folder = Image.fromarray(clean[7].transpose(1, 2, 0)), tmp_path / "mine"
    folder.mkdir()

    def check(message, name="8.png", image=picture, data=None):
        for old in folder.iterdir():
            old.unlink()
        picture.save(folder / "7.png")
        image.save(folder / name)
        if data is not None:
            (folder / name).write_bytes(data)
        refused(message, folder, "--defense", "none", "--epsilon", "0.06")

    refused(r"mine: is an empty folder; allowed: ", folder, "--defense", "none", "--epsilon", "0.06")
    check(r"mine/a\.png: is not named ROW\.png; allowed: the row of a test image", "a.png")
    check(r"mine/8\.jpg: is not named ROW\.png", "8.jpg")
    check(r"mine: row 8 is at distance 0\.\d+ \(raw01\); allowed: at most 0\.06", "08.png")
    check(r"mine: row 7 is there twice; allowed: one image a row", "007.png")
    check(r"mine: row 99 is no test image; allowed: rows of ", "99.png")
    check(r"mine/8\.png: row 8 has shape \(3, 16, 20\); allowed: \(3, 16, 16\)", image=picture.resize((20, 16)))
    rgb = r"; allowed: a PNG of 8-bit RGB pixels$"
    for mode in ("L", "RGBA", "P", "1", "I;16"):
        check(r"mine/8\.png: is no PNG of 8-bit RGB pixels" + rgb, image=picture.convert("L").convert(mode))
    check(r"mine/8\.png: is no PNG of 8-bit RGB pixels" + rgb, data=b"")
    check(r"mine/8\.png: (truncated|damaged)" + rgb, data=(folder / "7.png").read_bytes()[:-40])


def test_what_must_be_told_and_what_contradicts_a_path(root, tmp_path, refused, capsys):
    images, rows, _ = stored(root)
    mine, own = submit(tmp_path, images, rows), root / f"attacks/{WORST}.npz"
    refused(r"mine\.npz: --defense is missing; left out only for packs of a run", mine, "--epsilon", "0.06")
    refused(r"mine\.npz: --epsilon is missing; left out only for packs of a run", mine, "--defense", "knn")
    refused(r"--epsilon 0\.05: .* has other budgets; allowed: 0\.02, 0\.06$", own, "--epsilon", "0.05")
    refused(r"--ball linf: .* is within raw01; allowed: leave it out", own, "--ball", "linf")
    for value in ("0", "-1", "nan", "inf"):
        refused(r"--epsilon is \S+; allowed: a number > 0", own, f"--epsilon={value}")
    refused(r"--output rows\.txt: allowed: a name that ends in \.csv", own, "--output", "rows.txt")
    gray = tmp_path / "attacks/raw01/gray_box/pgd/eps-0.06.npz"
    write_arrays(gray, rows=rows, **{"0.06/images": images})
    refused(r"eps-0\.06\.npz: --defense is missing; its path names no defence", gray)
    refused(r"systems/tv\.json: is not there; described here: crop_ensemble, knn, none; ", gray, "--defense", "tv")
    assert rescore(tmp_path, own) == 1
    assert "holds no attacks/clean.npz; allowed: a folder of results" in capsys.readouterr().err
