"""Folders of pictures: links, pipes and names of every kind, and what comes to a set after it was listed."""

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.commands.images import find_images
from nndefense.core.errors import FileFault, InputError
from nndefense.core.files import read_json
from nndefense.flow.listings import listing_news
from nndefense.images import walk
from nndefense.images.description import list_set, open_described, open_options
from nndefense.images.folder import Folder
from nndefense.images.walk import NoImages, list_images, walk_images
from tests.unit.image_cases import put, write_birds
from tests.unit.tar_cases import sample, write_samples


def fill(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        put(root / name, 9 * number)
    return root


def found(root: Path) -> list[str]:
    return [path for path, _ in walk_images(root)]


# -- each picture once


def link(place: Path, target: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize(
    ("place", "target", "words"),
    [
        ("a/back", "..", "a/back is the same folder as .*; allowed: no link to what is listed already"),
        ("a/self", ".", "a/self is the same folder as .*/a;"),
        ("c", "a", "/c is the same folder as .*/a;"),
        ("b/other", "../a", "/b/other is the same folder as .*/a;"),
        ("a/inner/up", "../../b", "/b is the same folder as .*/a/inner/up;"),
        ("b/again.jpg", "../a/1.jpg", "/b/again.jpg is a link to a file in .*/a; allowed: each picture once"),
        ("a/0.jpg", "1.jpg", "/a/0.jpg is a link to a file in .*/a;"),
        ("gone", "nowhere", "/gone is a link that leads nowhere; allowed: links that can be followed"),
        ("a/gone", "gone", "/a/gone is a link that leads nowhere;"),
    ],
)
def test_a_second_way_to_a_picture_is_refused(tmp_path, place, target, words):
    fill(tmp_path, "a/1.jpg", "a/inner/2.jpg", "b/1.jpg")
    link(tmp_path / place, target)
    with pytest.raises(InputError, match=words) as caught:
        found(tmp_path)
    assert "\n" not in str(caught.value)


def test_links_to_what_lies_elsewhere_are_followed_once(tmp_path):
    root = fill(tmp_path / "set", "a/1.jpg")
    store = fill(tmp_path / "store", "x.jpg", "y.jpg", "deep/z.jpg")
    link(root / "a/x.jpg", "../../store/x.jpg")
    link(root / "b", "../store/deep")
    link(root / "a/notes", "../../store/y.jpg")
    assert found(root) == ["a/1.jpg", "a/x.jpg", "b/z.jpg"]
    link(root / "b/w.jpg", "../x.jpg")
    with pytest.raises(InputError, match=r"x\.jpg is the same file as another link|w\.jpg is the same file as another"):
        found(root)
    (root / "b/w.jpg").unlink()
    # By way of a linked folder, too.
    link(root / "a/z.jpg", "../../store/deep/z.jpg")
    with pytest.raises(InputError, match=r"a/z\.jpg is a link to a file in .*/b; allowed"):
        found(root)
    assert found(store) == ["x.jpg", "y.jpg", "deep/z.jpg"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["..", ".", "../a", "../b", "../c", "a", "b"])), max_size=5
    )
)
def test_a_walk_ends_and_yields_no_picture_twice(tmp_path_factory, links):
    root = fill(tmp_path_factory.mktemp("walk"), "a/1.jpg", "b/1.jpg", "c/d/1.jpg")
    for number, (folder, target) in enumerate(links):
        link(root / folder / f"link{number}", target)
    try:
        paths = found(root)
    except InputError:
        return
    keys = [(os.stat(root / path).st_dev, os.stat(root / path).st_ino) for path in paths]
    assert len(set(keys)) == len(keys) >= 3


# -- what is no picture


def test_pipes_sockets_and_links_to_nothing_are_skipped_by_reason(tmp_path):
    root = fill(tmp_path / "set", "a/1.jpg")
    os.mkfifo(root / "a/2.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "a/3.jpg"))
        link(root / "a/4.jpg", "gone.jpg")
        link(root / "a/5.jpg", "5.jpg")
        link(root / "a/6.jpg", "/dev/zero")
        started = time.monotonic()
        batch = Folder(str(root), size=16).read(range(6))
        assert time.monotonic() - started < 5
    assert batch.skipped == {1: "not a file", 2: "not a file", 3: "missing", 4: "unreadable", 5: "not a file"}
    # One that comes in a picture's place, once the set is listed.
    about = listed(tmp_path, "set")
    (root / "a/1.jpg").unlink()
    os.mkfifo(root / "a/1.jpg")
    with pytest.raises(FileFault, match=r"image set set: it changed .*a/1\.jpg was replaced"):
        open_described(about).read([0])


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    root, scan = fill(tmp_path, "a/1.jpg", "b/1.jpg"), os.scandir

    def denied(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(walk.os, "scandir", denied)
    with pytest.raises(InputError, match=r"/b cannot be read \(Permission denied\); allowed: folders that can$"):
        found(root)


def test_names_with_ends_of_lines_are_listed_and_said_on_one(tmp_path):
    root = fill(tmp_path / "set", "a/one\ntwo.jpg", "a/three.jpg")
    assert sorted(found(root)) == ["a/one\ntwo.jpg", "a/three.jpg"]
    about = listed(tmp_path, "set")
    assert not open_described(about).read([0, 1]).skipped
    put(root / "a/one\ntwo.jpg", 200, width=50)
    with pytest.raises(FileFault, match=r"one two\.jpg was replaced") as caught:
        open_described(about).read([0, 1])
    assert "\n" not in str(caught.value)
    (root / "a/one\ntwo.jpg").unlink()
    link(root / "b\nc", "a")
    with pytest.raises(InputError) as caught:
        found(root)
    assert "\n" not in str(caught.value)


def test_a_command_says_what_is_wrong_with_a_folder(tmp_path):
    root = fill(tmp_path / "set", "a/1.jpg")
    (tmp_path / "empty").mkdir()
    paths, missing = find_images([str(root), str(tmp_path / "empty")])
    assert (paths, missing) == ([root / "a/1.jpg"], {tmp_path / "empty": "folder without images"})
    with pytest.raises(NoImages):
        list_images(tmp_path / "empty")
    link(root / "a/back", "..")
    with pytest.raises(InputError, match="same folder"):
        find_images([str(root)])


# -- what comes after a set was listed


def listed(folder: Path, name: str, **options) -> Path:
    """set.json of a set, where the workflow has it."""
    place = folder / "results/images" / name
    place.mkdir(parents=True, exist_ok=True)
    options = {"kind": "folder", "root": str(folder / name), "size": 16} | options
    list_set(name, options, place / "set.json", place / "manifest.parquet")
    return place / "set.json"


def news(folder: Path, name: str) -> str:
    options = read_json(folder / "results/images" / name / "set.json")["options"]
    return listing_news(folder / "results", name, options)


def age(root: Path) -> None:
    """Date a set and its folders to an hour ago."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, (time.time() - 3600,) * 2)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("change", ["added", "removed", "renamed", "class", "nested", "gone"])
def test_files_that_come_or_go_are_noticed_at_the_start(tmp_path, change, fresh):
    root = fill(tmp_path / "set", "a/1.jpg", "a/x/2.jpg", "b/3.jpg")
    if not fresh:
        age(root)
    listed(tmp_path, "set")
    assert news(tmp_path, "set") == ""
    (root / "a/notes.txt").touch()
    (root / "b/.hidden.jpg").touch()
    assert news(tmp_path, "set") == ""
    if change == "added":
        put(root / "b/4.jpg", 1)
    elif change == "removed":
        (root / "b/3.jpg").unlink()
    elif change == "renamed":
        (root / "b/3.jpg").rename(root / "b/4.jpg")
    elif change == "class":
        put(root / "c/4.jpg", 1)
    elif change == "nested":
        put(root / "a/x/y/4.jpg", 1)
    else:
        (root / "b/3.jpg").unlink()
        (root / "b/.hidden.jpg").unlink()
        (root / "b").rmdir()
    said = news(tmp_path, "set")
    assert said.startswith("image set set changed since it was listed: ")
    assert f"delete {tmp_path}/results/images/set/manifest.parquet and rerun" in said
    assert "all that is made of its images is made anew" in said
    assert "\n" not in said


def test_what_comes_within_the_tick_of_a_listing_is_noticed(tmp_path):
    root = fill(tmp_path / "set", "a/1.jpg")
    listed(tmp_path, "set")
    date = (root / "a").stat().st_mtime_ns
    put(root / "a/2.jpg", 1)
    os.utime(root / "a", ns=(date, date))
    assert "a holds 2 images and folders, and held 1 or others" in news(tmp_path, "set")


def test_folders_of_the_same_date_are_not_looked_into(tmp_path, monkeypatch):
    root = fill(tmp_path / "set", "a/1.jpg", "b/2.jpg")
    age(root)
    listed(tmp_path, "set")
    looked = []
    monkeypatch.setattr(walk, "_entries", lambda folder, seen: looked.append(folder) or ([], ["2.jpg"]))
    assert news(tmp_path, "set") == ""
    assert looked == []
    os.utime(root / "b")
    assert news(tmp_path, "set") == ""
    assert looked == [root / "b"]


def test_what_is_listed_anyway_or_cannot_be_told_is_no_news(tmp_path, monkeypatch):
    root = fill(tmp_path / "set", "a/1.jpg")
    listed(tmp_path, "set")
    put(root / "a/2.jpg", 1)
    options = {"kind": "folder", "root": str(root), "size": 32}
    assert listing_news(tmp_path / "results", "set", options) == ""
    assert listing_news(tmp_path / "results", "other", options) == ""
    (tmp_path / "results/images/set/set.json").write_text("{")
    assert listing_news(tmp_path / "results", "set", options) == ""
    monkeypatch.setattr(walk, "MAX_NOTED", 1)
    listed(tmp_path, "set")
    assert read_json(tmp_path / "results/images/set/set.json")["noted"] == {}
    list_set("drawn", {"kind": "shapes", "first": 0, "rows": 3}, tmp_path / "drawn.json", tmp_path / "drawn.parquet")
    assert read_json(tmp_path / "drawn.json")["noted"] == {}


def test_tars_that_come_or_go_are_noticed_and_replaced_ones_refused(tmp_path):
    for name in "ab":
        write_samples(tmp_path / f"tars/{name}.tar", sample(1), sample(2))
    place = tmp_path / "results/images/tars"
    place.mkdir(parents=True)
    options = {"kind": "webdataset", "pattern": str(tmp_path / "tars/*.tar"), "size": 16}
    list_set("tars", options, place / "set.json", place / "manifest.parquet")
    about = place / "set.json"
    assert listing_news(tmp_path / "results", "tars", read_json(about)["options"]) == ""
    write_samples(tmp_path / "tars/c.tar", sample(3))
    said = listing_news(tmp_path / "results", "tars", read_json(about)["options"])
    assert "its pattern names 3 tars, and named 2 others" in said
    size = (tmp_path / "tars/a.tar").stat().st_size
    write_samples(tmp_path / "tars/a.tar", sample(3), sample(4))
    assert (tmp_path / "tars/a.tar").stat().st_size == size
    os.utime(tmp_path / "tars/a.tar", (time.time() - 3600,) * 2)
    with pytest.raises(FileFault, match=r"image set tars: it changed .*a\.tar was replaced, edited, or copied without"):
        open_described(about).read([0])
    assert not open_described(about).read([2, 3]).skipped


@pytest.mark.parametrize("change", ["other size", "other date", "moved over"])
@pytest.mark.parametrize("kind", ["folder", "classes_of", "cub200"])
def test_a_replaced_picture_is_refused_when_it_is_read(tmp_path, change, kind):
    root = tmp_path / "set"
    if kind == "cub200":
        options = {"kind": kind, "root": str(write_birds(root)), "size": 16}
    else:
        fill(root, "a/1.jpg", "a/2.jpg", "b/3.jpg")
        options = {"kind": "folder", "root": str(root), "size": 16}
    if kind == "classes_of":
        options = {"kind": kind, "of": options, "classes": ["a"]}
    files = tmp_path / "set.json", tmp_path / "manifest.parquet"
    list_set("set", options, *files)
    images = open_described(files[0])
    before = images.read([0, 1]).images
    path = images.files([images.listed.places(np.array([1])).sources[0]])[0]
    if change == "other size":
        path.write_bytes(path.read_bytes() + b"\0")
    elif change == "other date":
        os.utime(path, (time.time() - 100,) * 2)
    else:
        put(tmp_path / "new.jpg", 77)
        os.utime(tmp_path / "new.jpg", (time.time() - 100,) * 2)
        os.replace(tmp_path / "new.jpg", path)
    again = open_described(files[0])
    assert np.array_equal(again.read([0]).images, before[:1])
    words = (
        rf"image set set: it changed since it was listed \(.*{path.name} was replaced, edited, .*; delete images/set/"
    )
    with pytest.raises(FileFault, match=words):
        again.read([0, 1])
    list_set("set", options, *files)
    assert not open_described(files[0]).read([0, 1]).skipped
    # One that was absent when the set was listed has no place in it, either.
    path.unlink()
    if kind == "cub200":
        list_set("set", options, *files)
        assert open_described(files[0]).read([1]).skipped == {0: "missing"}
        put(path, 50)
        with pytest.raises(FileFault, match=words):
            open_described(files[0]).read([1])
    put(path, 50)
    # A set that is opened anew has nothing to be compared with.
    assert not open_options(options).read([0, 1]).skipped


def test_what_the_digest_of_a_listing_depends_on(tmp_path):
    root = fill(tmp_path / "set", "a/1.jpg", "b/2.jpg")
    age(root)
    first = read_json(listed(tmp_path, "set"))["manifest_sha256"]
    assert read_json(listed(tmp_path, "set"))["manifest_sha256"] == first
    os.utime(root / "a")
    assert read_json(listed(tmp_path, "set"))["manifest_sha256"] == first
    os.utime(root / "a/1.jpg")
    assert read_json(listed(tmp_path, "set"))["manifest_sha256"] != first
