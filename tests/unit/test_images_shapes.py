"""The drawn image set: rows are pure functions of seed and number, and the shares are the promised ones."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.core.files import write_json
from nndefense.core.options import read_options
from nndefense.core.registry import make
from nndefense.core.tables import write_table
from nndefense.images import KINDS
from nndefense.images.description import list_set, open_described
from nndefense.images.shapes import CHUNK, Shapes
from nndefense.images.shapes_draw import box, circle, convex, hsv_to_rgb, star
from nndefense.images.shapes_random import Draws
from nndefense.images.shapes_scene import ALL_KINDS, render


def web(**options) -> Shapes:
    return Shapes(**{"seed": 3, "first": 100, "rows": 60, "content": "web"} | options)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 59), min_size=1, max_size=20))
def test_a_row_looks_the_same_in_any_batch(rows):
    together = web().read(range(60)).images
    assert np.array_equal(web().read(rows).images, together[rows])


def test_a_chunk_boundary_changes_nothing():
    large = web(rows=CHUNK + 20)
    rows = np.arange(CHUNK - 10, CHUNK + 10)
    assert np.array_equal(large.read(range(len(large))).images[rows], large.read(rows).images)


def test_first_shifts_the_same_endless_set():
    assert np.array_equal(web(first=0).read(range(40, 60)).images, web(first=40).read(range(20)).images)


def test_images_of_disjoint_ranges_and_other_seeds_all_differ():
    sets = [web(), web(first=160), web(seed=4)]
    images = np.concatenate([s.read(range(60)).images for s in sets])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == 180


@pytest.mark.parametrize("size", [8, 32, 48])
def test_size_sets_the_pixels_and_keeps_the_picture(size):
    image = web(size=size).read([0]).images
    assert image.shape == (1, size, size, 3)
    assert image.dtype == np.uint8
    assert image.std() > 5


def test_no_row_reads_as_an_empty_batch():
    assert web().read([]).images.shape == (0, 32, 32, 3)


def test_task_labels_are_uniform_and_name_the_tag():
    images = Shapes(seed=1, first=0, rows=20_000, content="task")
    manifest = images.manifest()
    counts = np.bincount(manifest["label"], minlength=10)
    assert len(images.class_names) == len(counts) == 10
    assert np.abs(counts - 2_000).max() < 5 * np.sqrt(20_000 * 0.1 * 0.9)
    assert np.array_equal(np.array(images.class_names)[manifest["label"]], manifest["tag"])
    assert len(set(manifest["source"])) == 20_000


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5, 1.0])
def test_share_of_wrong_tags_is_binomial(noise):
    images = web(rows=20_000, tag_noise=noise)
    true = np.array(images.kind_names)[images.kinds(np.arange(20_000))]
    wrong = (images.manifest()["tag"] != true).sum()
    assert abs(wrong - noise * 20_000) <= 5 * np.sqrt(20_000 * noise * (1 - noise))


def test_tag_noise_changes_neither_labels_nor_pixels():
    clean, noisy = web(tag_noise=0.0), web(tag_noise=1.0)
    assert np.array_equal(clean.manifest()["label"], noisy.manifest()["label"])
    assert np.array_equal(clean.read([1, 2]).images, noisy.read([1, 2]).images)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_task_kinds_and_labels(share):
    images = web(rows=20_000, task_share=share, tag_noise=0.0)
    manifest = images.manifest()
    inside = manifest["label"] >= 0
    assert abs(inside.sum() - share * 20_000) <= 5 * np.sqrt(20_000 * share * (1 - share))
    assert set(manifest["tag"][~inside]).isdisjoint(images.class_names)
    assert np.array_equal(np.array(images.class_names)[manifest["label"][inside]], manifest["tag"][inside])
    assert len(manifest["source"]) == len(manifest["label"]) == len(manifest["tag"]) == len(images)


def test_at_least_ten_kinds_are_outside_of_the_task_and_names_are_unique():
    names = [kind.name for kind in ALL_KINDS]
    assert len(names) == len(set(names)) >= 20


def test_every_kind_is_drawn_where_its_figure_is():
    """A figure changes the pixels of the same scene; without one, all kinds would look alike."""
    keys = Draws.of_rows(0, np.zeros(len(ALL_KINDS), dtype=np.int64))
    images = render(np.arange(len(ALL_KINDS)), keys, 32).astype(int)
    for first in range(len(ALL_KINDS)):
        for second in range(first):
            changed = np.abs(images[first] - images[second]).max(axis=-1) > 10
            assert changed.mean() > 0.02, (ALL_KINDS[first].name, ALL_KINDS[second].name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"content": "all"}, "task, web or others"),
        ({"rows": -1}, "rows"),
        ({"seed": -1}, "seed"),
        ({"tag_noise": 1.5}, "tag_noise"),
        ({"task_share": -0.1}, "task_share"),
        ({"size": 4}, "size"),
    ],
)
def test_values_out_of_range_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        web(**options)


@pytest.mark.parametrize("rows", [[60], [-1], [0.5], [[0]]])
def test_rows_out_of_range_are_refused(rows):
    with pytest.raises(InputError, match="rows must be"):
        web().read(rows)


def test_registry_opens_and_refuses():
    options = {"first": 0, "rows": 5}
    assert len(make("image set", KINDS, "shapes", options)) == 5
    with pytest.raises(ConfigError, match=r"'lmdb' is unknown; allowed: shapes, folder, torchvision"):
        make("image set", KINDS, "lmdb", {})
    with pytest.raises(ConfigError, match=r"no option 'noise'; allowed: seed, first"):
        make("image set", KINDS, "shapes", {"noise": 1, **options})
    with pytest.raises(ConfigError, match="needs the option 'rows'"):
        make("image set", KINDS, "shapes", {"first": 0})


def test_declared_defaults_are_those_of_the_class():
    drawn = Shapes(first=0, rows=5)
    declared = read_options("nndefense.images.shapes:Shapes")
    assert {name: default for name, (_, default) in declared.items() if default is not ...} == {
        name: getattr(drawn, name) for name in ("seed", "content", "task_share", "tag_noise", "size")
    }


def test_random_numbers_fill_their_range():
    draws = Draws.of_rows(0, np.arange(50_000))
    values = draws.uniform("a", -1.0, 3.0)
    assert values.min() >= -1.0
    assert values.max() < 3.0
    assert abs(values.mean() - 1.0) < 5 * (4 / np.sqrt(12)) / np.sqrt(50_000)
    assert abs(np.corrcoef(values, draws.uniform("b"))[0, 1]) < 0.03
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.03
    assert np.array_equal(np.unique(draws.integer("c", 7)), np.arange(7))
    grain = draws.take(np.arange(500)).grain("d", 301)
    assert grain.shape == (500, 301)
    assert abs(grain.mean()) < 0.02
    assert abs(grain.std() - 1.0) < 0.02


def test_distances_against_known_points():
    x = np.array([[[0.0, 1.0, 3.0]]], dtype=np.float32)
    y = np.zeros_like(x)
    assert np.allclose(circle(x, y, 1.0, 0.0, 0.5), [[[0.5, -0.5, 1.5]]])
    assert np.allclose(box(x, y, 0.0, 0.0, 2.0, 1.0), [[[-1.0, -1.0, 1.0]]])
    square = [(-2.0, -1.0), (2.0, -1.0), (2.0, 1.0), (-2.0, 1.0)]
    assert np.allclose(convex(x, y, square), box(x, y, 0.0, 0.0, 2.0, 1.0))
    tips = np.arange(5) * 2 * np.pi / 5
    sx, sy = np.sin(tips)[None, None], np.cos(tips)[None, None]
    assert np.allclose(star(sx, sy, 5.0, 0.4), 0.0, atol=1e-6)
    assert np.all(star(0.9 * sx, 0.9 * sy, 5.0, 0.4) < 0)
    assert np.all(star(-0.5 * sx, -0.5 * sy, 5.0, 0.4) > 0)


def test_hsv_matches_the_standard_library():
    hsv = np.random.default_rng(0).random((3, 200))
    ours = hsv_to_rgb(*hsv)
    assert np.allclose(ours.T, [colorsys.hsv_to_rgb(*one) for one in hsv.T], atol=1e-6)


def test_a_described_set_draws_the_same_and_refuses_another_number_of_rows(tmp_path, monkeypatch):
    files = tmp_path / "set.json", tmp_path / "manifest.parquet"
    options = {"kind": "shapes", "seed": 3, "first": 100, "rows": 70_000, "content": "web"}
    about = list_set("drawn", options, *files)
    assert (about["rows"], about["size"], about["resize"], about["crop"]) == (70_000, 32, None, "center")
    whole = web(rows=70_000)
    again = open_described(files[0])
    for name, values in whole.manifest().items():
        assert again.manifest()[name].tolist() == values.tolist()
    monkeypatch.setattr(Shapes, "list_rows", None)
    assert np.array_equal(open_described(files[0]).read([69_999, 3]).images, whole.read([69_999, 3]).images)
    about["options"]["rows"] = 60_000
    write_json(files[0], about)
    with pytest.raises(
        FileFault, match=r"image set drawn: it changed since it was listed \(it has 60,000 rows, and had"
    ):
        open_described(files[0])


def test_a_manifest_of_another_listing_is_refused(tmp_path):
    files = tmp_path / "set.json", tmp_path / "manifest.parquet"
    options = {"kind": "shapes", "first": 0, "rows": 50}
    list_set("drawn", options, *files)
    same = files[1].read_bytes()
    for change in ({"seed": 2}, {"first": 1}, {"rows": 51}):
        list_set("drawn", options | change, tmp_path / "other.json", files[1])
        with pytest.raises(
            FileFault, match=r"image set drawn: .*manifest\.parquet is of another listing than .*set\.js"
        ):
            open_described(files[0])
    write_table(files[1], web(rows=50).manifest())
    with pytest.raises(FileFault, match=r"delete images/drawn/manifest\.parquet in the results and rerun$"):
        open_described(files[0])
    list_set("drawn", options, tmp_path / "other.json", files[1])
    assert files[1].read_bytes() == same
    assert len(open_described(files[0])) == 50
