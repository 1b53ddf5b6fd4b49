"""Tars with one kind of damage after another."""

from collections import Counter

import numpy as np
import pytest

from nndefense.core.errors import InputError
from nndefense.images import tar_listing, tars
from nndefense.images.webdataset import WebDataset
from tests.unit.tar_cases import cut, encoded, picture, place_of, sample, sources, write_samples, write_tar


def broken(kind: str, number: int) -> list[tuple[str, bytes]]:
    """Files of a sample with one kind of damage."""
    files, key = sample(number, animal="cat"), f"{number:09d}"
    image = files[f"{key}.jpg"]
    if kind == "several images":
        files[f"{key}.png"] = encoded(number, "png")
    elif kind == "duplicate key":
        return [*files.items(), *files.items()]
    elif kind in ("no image", "missing json"):
        del files[f"{key}.{'jpg' if kind == 'no image' else 'json'}"]
    elif kind == "damaged json":
        files[f"{key}.json"] = (b"{", b"\xff", b"[]", b" " * (1 << 20) + b"{}")[number % 4]
    else:
        files[f"{key}.jpg"] = {
            "empty file": b"",
            "not an image": b"<html>404</html>",
            "truncated": image[:-60],
        }[kind]
    return list(files.items())


KINDS = ["several images", "duplicate key", "no image", "missing json", "damaged json",
         "empty file", "not an image", "truncated"]  # fmt: skip


def test_one_percent_of_every_kind_of_damage_is_counted_by_reason(tmp_path):
    damage = {8 * place + 3: KINDS[place % len(KINDS)] for place in range(4 * len(KINDS))}
    for shard in range(4):
        numbers = range(100 * shard, 100 * shard + 100)
        files = [
            pair
            for one in numbers
            for pair in (broken(damage[one], one) if one in damage else sample(one, animal="cat").items())
        ]
        write_tar(tmp_path / f"{shard:05d}.tar", files)
    stored = WebDataset(str(tmp_path / "*.tar"), size=16, label="animal")
    assert len(stored) == 400
    skipped = {}
    for start in range(0, 400, 64):
        rows = range(start, min(start + 64, 400))
        skipped |= {start + place: reason for place, reason in stored.read(rows).skipped.items()}
    assert skipped == damage
    assert Counter(skipped.values()) == dict.fromkeys(KINDS, 4)
    assert [source[10:19] for source in sources(stored)] == [f"{row:09d}" for row in range(400)]
    labels = stored.manifest()["label"]
    assert {kind for row, kind in damage.items() if labels[row] == -1} == set(KINDS[:5])
    assert (labels[[row for row in range(400) if row not in damage]] == 0).all()


@pytest.mark.parametrize(
    ("where", "rows", "skipped"),
    [
        ("in the second image", 2, {1: "truncated tar"}),
        ("in the second json", 2, {1: "truncated tar"}),
        ("in the header of the second image", 2, {1: "truncated tar"}),
        ("before the second image", 2, {1: "truncated tar"}),
        ("before the end mark", 4, {3: "truncated tar"}),
        ("in the padding", 4, {3: "truncated tar"}),
    ],
)
def test_a_cut_tar_has_the_samples_before_the_cut(tmp_path, where, rows, skipped):
    path = write_samples(tmp_path / "0.tar", *(sample(number, "png") for number in range(3)))
    write_samples(tmp_path / "1.tar", sample(9, "png"))
    image, about, last = (place_of(path, f"00000000{name}") for name in ("1.png", "1.json", "2.txt"))
    if "padding" in where:
        write_samples(path, *(sample(number, "png", "text") for number in range(3)))
        last = place_of(path, "000000002.txt")
    end = {
        "in the second image": image.offset_data + 100,
        "in the second json": about.offset_data + 10,
        "in the header of the second image": image.offset + 200,
        "before the second image": image.offset,
        "before the end mark": last.offset_data,
        "in the padding": last.offset_data + 100,
    }[where]
    cut(path, end)
    stored = WebDataset(str(tmp_path / "*.tar"), size=30, label="key")
    assert len(stored) == rows + 1
    batch = stored.read(range(rows + 1))
    assert batch.skipped == skipped
    for row in range(rows - 1):
        assert np.array_equal(batch.images[row], picture(row)[:, 5:35])
    assert np.array_equal(batch.images[rows], picture(9)[:, 5:35])


def test_every_cut_is_counted_once_and_loses_nothing_before_it(tmp_path):
    path = write_samples(tmp_path / "0.tar", *(sample(number, "png", "a") for number in range(3)))
    whole = path.read_bytes()
    ends = [place_of(path, f"00000000{number}.txt").offset_data + 1 for number in range(3)]
    write_samples(tmp_path / "1.tar", sample(9))
    for end in range(0, len(whole), 397):
        path.write_bytes(whole[:end])
        stored = WebDataset(str(tmp_path / "*.tar"), size=16, label="key")
        skipped = stored.read(range(len(stored))).skipped
        complete = sum(end >= one for one in ends)
        assert all(complete <= row < len(stored) - 1 for row in skipped)
        reasons = Counter(skipped.values())
        assert reasons.pop("missing json", 0) <= 1
        cuts = 0 if end >= ends[-1] + 511 + 512 else 1
        assert dict(reasons) == ({"not a tar" if 0 < end < 512 else "truncated tar": 1} if cuts else {}), end


def test_a_damaged_header_ends_a_tar_and_is_counted(tmp_path):
    path = write_samples(tmp_path / "0.tar", *(sample(number) for number in range(3)))
    data, header = bytearray(path.read_bytes()), place_of(path, "000000001.jpg").offset
    data[header + 150] ^= 1
    path.write_bytes(data)
    write_samples(tmp_path / "1.tar", sample(3))
    (tmp_path / "2.tar").write_bytes(b"<html>404</html>" * 100)
    (tmp_path / "3.tar").write_bytes(b"")
    write_tar(tmp_path / "4.tar", {})
    stored = WebDataset(str(tmp_path / "*.tar"), size=16)
    assert sources(stored) == ["0.tar/000000000.jpg", "0.tar/", "1.tar/000000003.jpg", "2.tar/", "3.tar/"]
    assert stored.read(range(5)).skipped == {1: "damaged tar", 3: "not a tar", 4: "truncated tar"}


def test_tars_without_a_usable_sample_get_one_line(tmp_path):
    write_tar(tmp_path / "0.tar", {"a.json": b"{}"})
    (tmp_path / "1.tar").write_bytes(b"<html>404</html>" * 100)
    with pytest.raises(
        InputError, match=r": 2 tars hold no usable sample, the first is skipped: no image; allowed: so"
    ):
        WebDataset(str(tmp_path / "*.tar"), size=16).manifest()
    write_tar(tmp_path / "0.tar", {})
    with pytest.raises(InputError, match=r"0\.tar: 1 tars hold no usable sample; allowed: some with an image"):
        WebDataset(str(tmp_path / "0.tar"), size=16).manifest()


def test_random_damage_never_crashes_and_never_moves_what_is_before(tmp_path):
    data = write_samples(tmp_path / "0.tar", *(sample(number) for number in range(4))).read_bytes()
    first = place_of(tmp_path / "0.tar", "000000001.jpg").offset
    rng, reasons = np.random.default_rng(0), set()
    before = WebDataset(str(tmp_path / "0.tar"), size=16).read([0]).images
    for _ in range(100):
        hurt = bytearray(data)
        for place in rng.integers(first, len(data) - 1024, 40):
            hurt[place] = rng.integers(256)
        (tmp_path / "0.tar").write_bytes(hurt)
        stored = WebDataset(str(tmp_path / "0.tar"), size=16, label="status")
        batch = stored.read(range(len(stored)))
        assert np.array_equal(batch.images[:1], before)
        reasons |= set(batch.skipped.values())
    assert {"damaged tar", "damaged json"} <= reasons


def test_a_key_that_comes_again_is_skipped_and_the_first_is_kept(tmp_path):
    again = [sample(0, "png"), sample(1, "png"), {**sample(0, "png"), "000000000.png": encoded(5, "png")}]
    write_samples(tmp_path / "0.tar", *again)
    write_samples(tmp_path / "1.tar", sample(0, "png"))
    batch = WebDataset(str(tmp_path / "*.tar"), size=30).read(range(4))
    assert batch.skipped == {2: "duplicate key"}
    assert np.array_equal(batch.images[0], picture(0)[:, 5:35])


def test_tars_that_change_after_listing_are_skipped(tmp_path):
    for shard in range(3):
        write_samples(tmp_path / f"{shard}.tar", sample(shard), sample(shard + 5))
    stored = WebDataset(str(tmp_path / "*.tar"), size=16)
    assert len(stored) == 6
    (tmp_path / "0.tar").unlink()
    cut(tmp_path / "1.tar", place_of(tmp_path / "1.tar", "000000006.jpg").offset_data + 5)
    assert stored.read(range(6)).skipped == {0: "missing", 1: "missing", 3: "truncated tar"}


def test_large_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_listing, "MAX_BYTES", 5000)
    monkeypatch.setattr(tars, "MAX_TEXT", 200)
    big = {**sample(1), "000000001.jpg": bytes(5001)}
    path = write_samples(tmp_path / "0.tar", sample(0), big, sample(2, caption="x" * 201))
    assert WebDataset(str(path), size=16, label="key").read(range(3)).skipped == {1: "too large", 2: "damaged json"}
