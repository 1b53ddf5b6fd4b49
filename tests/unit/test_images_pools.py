"""Pools: what stands at a place, by table and by function; and that a job reads what it needs of them, no more."""

import io
import json
from argparse import Namespace
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import build_pool
from nndefense.axes.shards import permute_pool
from nndefense.core import tables
from nndefense.core.command import Job
from nndefense.core.errors import FileFault, InputError
from nndefense.core.files import read_json, write_json
from nndefense.core.seeds import derive_seed
from nndefense.core.tables import TableReader, read_table, write_table
from nndefense.images.description import list_set, open_described
from nndefense.images.manifest import StoredManifest
from nndefense.images.pool import PoolReader, pool_blocks
from nndefense.images.pool_file import PoolFile, write_pool
from nndefense.images.shapes import Shapes
from nndefense.images.tar_order import TarOrder, expected_distance, share_distance
from tests.unit.image_cases import put
from tests.unit.tar_cases import sample, write_samples

TASK = ("apple", "star", "fish")


class Place:
    """A folder of listed sets, in which pools are built by the workflow's script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sets: dict[str, str] = {}

    def add(self, name: str, **options) -> dict:
        files = [self.folder / name / file for file in ("set.json", "manifest.parquet")]
        self.sets[name] = str(files[0])
        return list_set(name, options, *files)

    def build(
        self, *names: str, order: str = "table", tags: str = "any", pool: str = "All", sizes=(), task_names=TASK
    ) -> str:
        """The pool's file; `log` is what the script said."""
        task = self.folder / "task.json"
        side = read_json(self.sets[names[0]])["size"]
        write_json(task, {"name": "test", "class_names": task_names, "size": side})
        output = self.folder / f"{pool}-{order}-{tags}.parquet"
        files = [self.folder / name / "manifest.parquet" for name in names]
        options = {"names": names, "manifests": files, "task": task, "output": output, "pool": pool, "order": order}
        options["sets"] = [self.sets[name] for name in names]
        log = io.StringIO()
        build_pool.main(Namespace(**options, tags=tags, seed=4, sizes=list(sizes)), Job(log, 0, 1))
        self.log = log.getvalue()
        return str(output)

    def reader(self, pool: str) -> PoolReader:
        return PoolReader.open(pool, self.sets.values())

    def rows(self, *names: str, task: bool = False) -> list[tuple[str, int, str]]:
        """Set, row and tag of all images, or of those of the task, set after set."""
        found = []
        for name in names:
            tags = read_table(self.folder / name / "manifest.parquet", "tag")["tag"].tolist()
            found += [(name, row, tag) for row, tag in enumerate(tags) if not task or tag in TASK]
        return found


@pytest.fixture
def place(tmp_path):
    """Drawn images, a folder and tars."""
    found = Place(tmp_path)
    found.add("drawn", kind="shapes", first=5, rows=40, content="web", size=16)
    for number in range(12):
        put(tmp_path / f"files/{('fish', 'cow')[number % 2]}/{number}.jpg", 9 * number)
    found.add("files", kind="folder", root=str(tmp_path / "files"), size=16)
    for tar in range(9):
        samples = [sample(10 * tar + one, animal=("star", "cow", "apple")[one % 3]) for one in range(1 + tar % 4)]
        write_samples(tmp_path / f"tars/{tar}.tar", *samples)
    found.add("tars", kind="webdataset", pattern=str(tmp_path / "tars/*.tar"), size=16, label="animal")
    return found


def listed(reader: PoolReader) -> list[tuple[str, int, str]]:
    places = np.arange(len(reader))
    sets, rows = reader.rows_at(places)
    return list(zip(sets.tolist(), rows.tolist(), reader.tags_at(places).tolist(), strict=True))


# -- what stands where


@pytest.mark.parametrize("tags", ["any", "task"])
def test_a_table_has_the_order_that_it_always_had(place, tags):
    names = ("drawn", "files", "tars")
    pool = place.build(*names, tags=tags)
    everything = place.rows(*names, task=tags == "task")
    order = permute_pool(np.arange(len(everything)), derive_seed(4, "pool", "All"))
    assert listed(place.reader(pool)) == [everything[row] for row in order]
    columns = read_table(pool)
    assert list(columns) == ["set", "row", "tag"]
    assert list(zip(*(values.tolist() for values in columns.values()), strict=True)) == listed(place.reader(pool))


def test_the_order_of_tables_is_what_it_was():
    """Results of old runs stay readable."""
    assert permute_pool(np.arange(8), derive_seed(1, "pool", "All")).tolist() == [0, 2, 3, 6, 5, 4, 7, 1]


@pytest.mark.parametrize("tags", ["any", "task"])
@pytest.mark.parametrize("order", ["function", "tars"])
def test_a_function_has_every_image_once(place, order, tags):
    names = ("drawn", "files", "tars") if order == "function" else ("tars",)
    if order == "tars":
        write_samples(place.folder / "more/0.tar", *(sample(one, animal="fish") for one in range(5)))
        place.add("more", kind="webdataset", pattern=str(place.folder / "more/*.tar"), size=16, label="animal")
        names += ("more",)
    pool = place.build(*names, order=order, tags=tags)
    everything, found = place.rows(*names, task=tags == "task"), listed(place.reader(pool))
    assert found != everything
    assert sorted(found) == sorted(everything)
    assert (len(TableReader(pool)) == 0) == (tags == "any")
    assert found == listed(place.reader(place.build(*names, order=order, tags=tags)))
    assert found != listed(place.reader(place.build(*names, order=order, tags=tags, pool="Other")))


@pytest.mark.parametrize("order", ["table", "function", "tars"])
def test_places_are_read_in_any_order_and_images_are_those_of_the_sets(place, order):
    names = ("drawn", "files", "tars") if order != "tars" else ("tars",)
    reader = place.reader(place.build(*names, order=order))
    chosen = np.random.default_rng(0).integers(0, len(reader), 30)
    sets, rows = reader.rows_at(chosen)
    everything = listed(reader)
    assert list(zip(sets.tolist(), rows.tolist(), strict=True)) == [everything[one][:2] for one in chosen]
    assert reader.tags_at(chosen).tolist() == [everything[one][2] for one in chosen]
    own = {name: open_described(path) for name, path in place.sets.items()}
    expected = [own[name].read([row]).images[0] for name, row in zip(sets, rows, strict=True)]
    assert np.array_equal(reader.read(chosen).images, expected)
    for bad in ([len(reader)], [-1], [0.5]):
        with pytest.raises(InputError, match="rows must be"):
            reader.read(bad)


def test_a_plain_table_is_a_pool(place):
    write_table(place.folder / "mine.parquet", {"set": np.array(["files", "drawn"]), "row": np.array([3, 30])})
    reader = place.reader(str(place.folder / "mine.parquet"))
    assert len(reader) == 2
    drawn = open_described(place.sets["drawn"]).read([30]).images
    assert np.array_equal(reader.read([1]).images, drawn)


# -- tars in sequence


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 12), st.integers(0, 5))
def test_an_order_of_tars_is_a_permutation_that_goes_window_by_window(counts, window, seed):
    if not sum(counts):
        with pytest.raises(InputError, match="needs rows"):
            TarOrder(counts, seed, window)
        return
    order, rows = TarOrder(counts, seed, window), sum(counts)
    found = order.rows_at(np.arange(rows))
    assert sorted(found.tolist()) == list(range(rows))
    backwards = np.arange(rows)[::-3]
    assert order.rows_at(backwards).tolist() == found[backwards].tolist()
    tars = np.searchsorted(np.cumsum(counts), found, side="right")
    windows = [order.tars[start : start + window].tolist() for start in range(0, len(order.tars), window)]
    assert sorted(tar for one in windows for tar in one) == np.flatnonzero(counts).tolist()
    stops = np.cumsum([0, *(sum(counts[tar] for tar in one) for one in windows)])
    for one, (start, stop) in zip(windows, pairwise(stops.tolist()), strict=True):
        assert set(tars[start:stop].tolist()) == set(one)


def test_rows_of_a_window_are_mixed_and_tars_too():
    found = TarOrder([50] * 40, 3, window=10).rows_at(np.arange(2000))
    tars = found // 50
    assert tars[:500].tolist() != sorted(tars[:500].tolist())
    assert len(set(tars[:500].tolist())) == 10
    assert set(tars[:500].tolist()) != set(range(10))
    # Of ten tars, neighbours are of one tar once in ten.
    assert 0.05 < (tars[1:500] == tars[:499]).mean() < 0.17
    assert TarOrder([50] * 40, 4, window=10).rows_at(np.arange(2000)).tolist() != found.tolist()


def test_windows_of_one_size_are_mixed_in_different_ways():
    order = TarOrder([30] * 4, 3, window=2)
    first, second = (order.rows_at(np.arange(start, start + 60)) for start in (0, 60))
    tars = order.tars.tolist()
    inside = [[(tars.index(row // 30) % 2, row % 30) for row in part.tolist()] for part in (first, second)]
    assert sorted(inside[0]) == sorted(inside[1])
    assert sum(one == other for one, other in zip(*inside, strict=True)) < 8


def test_kept_images_are_counted_by_tar(place):
    with pytest.raises(
        InputError, match=r"pools\.All: no set of it has class 'fish' of image set test, they have apple, "
    ):
        place.build("tars", order="tars", tags="task")
    pool = PoolFile(place.build("tars", order="tars", tags="task", task_names=("apple", "star")))
    sources = read_table(place.folder / "tars/manifest.parquet", "source", "tag")
    kept = Counter(s[0] for s, tag in zip(sources["source"], sources["tag"], strict=True) if tag in TASK)
    assert pool.table.facts["tars"] == [kept[f"{tar}"] for tar in range(9)]


def test_the_log_compares_prefixes_with_the_whole(place):
    place.build("tars", order="tars", sizes=[5, 1000])
    first, whole = place.log.splitlines()[-2:]
    assert first.startswith("first 5: ")
    assert "first 21: 0.00% of the images would need another tag" in whole
    assert "0.00% would on average" in whole
    whole = json.loads(Path(place.sets["tars"]).read_text())["options"]
    place.add("cows", kind="classes_of", of=whole, classes=["cow"])
    for name in ("drawn", "cows"):
        with pytest.raises(
            InputError, match=f"order: tars, but image set {name} is not of whole tars; allowed: sets of"
        ):
            place.build("tars", name, order="tars")


def test_distances_of_shares():
    assert share_distance({"a": 1, "b": 1}, {"a": 2, "b": 2}) == 0
    assert share_distance({"a": 3}, {"b": 9}) == 1
    assert share_distance({"a": 1, "b": 3}, {"a": 10, "b": 10}) == pytest.approx(0.25)
    whole = {"a": 3000, "b": 5000, "c": 2000}
    tags, rng = np.repeat(list(whole), list(whole.values())), np.random.default_rng(0)
    for size in (100, 5000, 10_000):
        drawn = [share_distance(Counter(rng.permutation(tags)[:size].tolist()), whole) for _ in range(150)]
        assert expected_distance(whole, size) == pytest.approx(np.mean(drawn), rel=0.12, abs=1e-12)


# -- refused


def test_a_pool_of_nothing_names_itself(place):
    place.add("others", kind="shapes", first=0, rows=9, content="others", size=16)
    for order in ("table", "function"):
        with pytest.raises(InputError, match=r"pools\.None: no set of it has class 'apple' of image set test"):
            place.build("others", order=order, tags="task", pool="None")
    assert not list(place.folder.glob("None*"))


@pytest.mark.parametrize("order", ["table", "function"])
def test_a_pool_of_another_listing_is_refused(place, order):
    pool = place.build("drawn", "files", order=order)
    put(place.folder / "files/fish/00.jpg", 1)
    assert len(place.reader(pool)) == 52
    place.add("files", kind="folder", root=str(place.folder / "files"), size=16)
    with pytest.raises(FileFault, match=r"\.parquet: was built of another listing of image set files; delete it and r"):
        place.reader(pool)


# -- what a job reads


def test_blocks_of_a_shard_are_the_images_of_its_places(place):
    names = ("drawn", "files", "tars")
    (place.folder / "files/cow/3.jpg").write_bytes(b"<html>404</html>")
    place.add("files", kind="folder", root=str(place.folder / "files"), size=16)
    pool = place.build(*names)
    reader = place.reader(pool)
    whole = reader.read(np.arange(7, 60))
    assert list(whole.skipped.values()) == ["not an image"]
    parts = list(pool_blocks(pool, list(place.sets.values()), (7, 60), 10))
    assert [block for block, _, _ in parts] == [slice(start, min(start + 10, 53)) for start in range(0, 53, 10)]
    assert np.array_equal(np.concatenate([images for _, images, _ in parts]), whole.images)
    assert {row: reason for _, _, skipped in parts for row, reason in skipped.items()} == whole.skipped
    with pytest.raises(InputError, match=r"All-table-any\.parquet: holds 73 images, a database of 74 was asked for"):
        next(pool_blocks(pool, list(place.sets.values()), (0, 74), 10))


def test_the_next_block_is_read_while_one_is_computed(place, monkeypatch):
    started, read = [], PoolReader.read_found

    def watched(reader, found):
        started.append(len(found.rows))
        return read(reader, found)

    monkeypatch.setattr(PoolReader, "read_found", watched)
    ahead = pool_blocks(place.build("drawn"), [place.sets["drawn"]], (0, 20), 5)
    next(ahead)
    ahead.close()
    assert len(started) == 2


def test_images_of_two_sizes_are_refused(place):
    place.add("large", kind="shapes", first=0, rows=9, content="web", size=24)
    with pytest.raises(InputError, match=r"All\.images: large has images of 24 pixels, the test images test"):
        place.build("drawn", "large")
    manifests = {name: StoredManifest(place.folder / name / "manifest.parquet") for name in ("drawn", "large")}
    write_pool(place.folder / "two.parquet", manifests, None, "table", 4)
    reader = place.reader(str(place.folder / "two.parquet"))
    with pytest.raises(InputError, match="give them the same `size`"):
        reader.read(np.arange(len(reader)))


class Touched:
    """Counts what is read of tables, and drawn."""

    def __init__(self, monkeypatch) -> None:
        self.groups, self.records, self.drawn = [], 0, 0
        group, record, read = TableReader._group, TableReader._record, Shapes.read

        def counted_group(table, number, names):
            self.groups.append((Path(table.path).stem, number))
            return group(table, number, names)

        def counted_record(table, descriptor, row):
            self.records += 1
            return record(table, descriptor, row)

        def counted_read(images, rows):
            self.drawn += len(rows)
            return read(images, rows)

        def no_listing(*_):
            raise AssertionError("a set was listed")

        monkeypatch.setattr(TableReader, "_group", counted_group)
        monkeypatch.setattr(TableReader, "_record", counted_record)
        monkeypatch.setattr(Shapes, "read", counted_read)
        monkeypatch.setattr(Shapes, "list_rows", no_listing)


@pytest.mark.parametrize(("order", "groups"), [("table", 1), ("function", 0)])
def test_ten_rows_of_a_large_pool_touch_no_others(tmp_path, monkeypatch, order, groups):
    place = Place(tmp_path)
    place.add("drawn", kind="shapes", first=0, rows=200_000, content="web", size=16)
    pool = place.build("drawn", order=order)
    touched = Touched(monkeypatch)
    (block,) = pool_blocks(pool, [place.sets["drawn"]], (150_000, 150_010), 64)
    assert len(block[1]) == 10
    assert touched.groups == [("All-table-any", 2)][:groups]
    assert (touched.records, touched.drawn) == (0, 10)


@pytest.mark.parametrize("order", ["table", "function", "tars"])
def test_ten_rows_of_files_and_tars_touch_no_others(place, monkeypatch, order):
    monkeypatch.setattr(tables, "ROWS", 5)
    for name in ("files", "tars"):
        place.add(name, **json.loads(Path(place.sets[name]).read_text())["options"])
    names = ("files", "tars") if order != "tars" else ("tars",)
    pool = place.build(*names, order=order)
    touched = Touched(monkeypatch)
    (block,) = pool_blocks(pool, [place.sets[name] for name in names], (5, 15), 64)
    assert not block[2]
    assert touched.records == 10
    assert {stem for stem, _ in touched.groups} <= {"All-table-any"}
    assert len(touched.groups) == (2 if order == "table" else 0)


def test_manifests_stream_into_pools(place, monkeypatch):
    """Blocks of manifests come and go: none is held whole."""
    manifest = StoredManifest(place.folder / "drawn/manifest.parquet")
    monkeypatch.setattr(tables, "ROWS", 6)
    place.add("drawn", kind="shapes", first=5, rows=40, content="web", size=16)
    assert StoredManifest(place.folder / "drawn/manifest.parquet").sha256 == manifest.sha256
    assert len(PoolFile(place.build("drawn")).table._starts) == 8
    for order in ("table", "function"):
        for tags in ("any", "task"):
            found = listed(place.reader(place.build("drawn", order=order, tags=tags)))
            assert sorted(found) == sorted(place.rows("drawn", task=tags == "task"))
