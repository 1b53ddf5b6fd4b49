"""Figures of clusters and of their dictionaries: every cluster, image, score and filter, and which ones of many."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import FileFault
from nndefense.dictionaries.stored_clusters import read_clusters
from nndefense.report.figures.fig_clusters import SIDE, Band, chosen_bands, draw_clusters, read_bands, shrunk, summary
from nndefense.report.figures.fig_filters import chosen_clusters, coarseness, read_dictionaries, running_mean, tiles
from nndefense.report.pieces import load_piece
from nndefense.report.select import distinct, matching
from nndefense.report.style import figure_bytes

from .dictionary_figure_cases import NAMES, NAN, SCORES, SIZES, central, clusters_file, learnt, named_file

SILHOUETTE = {"criterion": "silhouette", "least": 0.25}


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def clusters(tmp_path) -> str:
    return clusters_file(tmp_path / "clusters.npz")


# -- clusters


def cluster_files(tmp_path, clusters, **options):
    return {
        "clusters": [clusters],
        "central": [central(tmp_path / "central.npz", **options)],
        "learnt": [named_file(tmp_path / "set.json")],
    }


def test_every_cluster_has_a_row_of_its_images_and_its_share(tmp_path, clusters):
    made = load_piece("srd/clusters").make(cluster_files(tmp_path, clusters), SILHOUETTE)
    rows = [axes.images[0].get_array() for axes in made.figure.axes if axes.images]
    assert len(rows) == len(SIZES)
    for cluster, (strip, size) in enumerate(zip(rows, SIZES, strict=True)):
        values = np.unique(strip[strip < 255])
        assert values.tolist() == [10 * cluster + place + 1 for place in range(min(size, 4))]
    texts = [text.get_text() for text in made.figure.texts]
    assert texts[0] == "22 images of 3 classes in 6 clusters"
    assert {"5 (50 %)", "3 (30 %)", "2 (20 %)", "4 (100 %)", "6 (75 %)", "2 (25 %)"} <= set(texts)
    assert {"ship", "a class with a v…", "cat", "10 images, 3 clusters", "4 images, 1 cluster"} <= set(texts)
    assert [(row["class"], row["cluster"], row["size"]) for row in made.rows] == [
        ("ship", 1, 5), ("ship", 2, 3), ("ship", 3, 2), (NAMES[1], 1, 4), ("cat", 1, 6), ("cat", 2, 2)
    ]  # fmt: skip
    assert made.columns == ("class", "cluster", "size", "score_1", "score_2", "score_3", "score_4")
    assert [made.rows[0][f"score_{k}"] for k in (1, 2, 3, 4)] == ["", 0.2, 0.5, 0.4]
    assert figure_bytes(made.figure, "pdf").startswith(b"%PDF")


@pytest.mark.filterwarnings("error")
def test_the_chosen_number_is_marked_among_the_scores(tmp_path, clusters):
    made = load_piece("srd/clusters").make(cluster_files(tmp_path, clusters), SILHOUETTE)
    plots = [axes for axes in made.figure.axes if axes.lines]
    assert len(plots) == 3
    for axes, scores, chosen in zip(plots, SCORES, (3, None, 2), strict=True):
        curve, *others = axes.lines
        np.testing.assert_array_equal(curve.get_ydata(), scores)
        assert list(curve.get_xdata()) == [1, 2, 3, 4]
        marked = [(line.get_xdata()[0], line.get_ydata()[0]) for line in others if len(line.get_xdata()) == 1]
        assert marked == ([] if chosen is None else [(chosen, scores[chosen - 1])])
        (least,) = [line for line in others if line.get_linestyle() == ":"]
        assert set(least.get_ydata()) == {0.25}
        assert axes.get_ylim() == plots[0].get_ylim()
    assert [text.get_text() for text in plots[1].texts] == ["no other possible"]
    # Twice, as pdf and png: the second must be laid out as the first.
    assert figure_bytes(made.figure, "png") == figure_bytes(made.figure, "png")


def test_criteria_other_than_silhouettes_have_no_least_and_no_common_axis(tmp_path, clusters):
    scores = np.array([[-9.0, -8, -7, -9], [-3, NAN, NAN, NAN], [-500, -400, NAN, NAN]])
    clusters_file(clusters, scores)
    params = {"criterion": "bic", "least": 0.25}
    plots = [
        one
        for one in load_piece("srd/clusters").make(cluster_files(tmp_path, clusters), params).figure.axes
        if one.lines
    ]
    assert len({axes.get_ylim() for axes in plots}) == 3
    assert not [line for axes in plots for line in axes.lines if line.get_linestyle() == ":"]
    assert plots[0].get_title(loc="left") == "−BIC / 2"


def bands(*counts):
    image = np.zeros((2, 4, 6, 3), np.uint8)
    return [
        Band(f"class {place}", [7] * count, [image] * count, [NAN, 0.5, 0.4, 0.3, 0.2])
        for place, count in enumerate(counts)
    ]


def test_of_many_classes_the_first_with_several_clusters_are_shown():
    many = bands(*[2 if place % 3 == 0 else 1 for place in range(40)])
    assert [band.name for band in chosen_bands(many)] == [f"class {place}" for place in range(0, 30, 3)]
    assert summary(many).endswith("; 14 classes have several, of which the first 10 are shown")
    few = bands(*[1] * 20, 2, 3)
    assert [band.name for band in chosen_bands(few)] == [f"class {place}" for place in (*range(8), 20, 21)]
    assert (
        summary(few) == "175 images of 22 classes in 25 clusters; 2 classes have several, shown with others, 10 in all"
    )
    assert len(chosen_bands(bands(1, 2))) == 2
    figure = draw_clusters(many, SILHOUETTE)
    plots = [axes.get_position() for axes in figure.axes if axes.lines]
    assert len(plots) == 10
    assert sum(box.x1 < 0.51 for box in plots) == sum(box.x0 > 0.49 for box in plots) == 5


def test_bands_lie_within_the_figure_and_not_on_each_other():
    figure = draw_clusters(bands(5, 1, 1, 2, 5, 5, 1), SILHOUETTE)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 20 + 7
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for place, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:place])


def test_large_images_are_made_smaller(tmp_path, clusters):
    images = np.random.default_rng(0).integers(0, 256, (3, 200, 100, 3), dtype=np.uint8)
    assert shrunk(images).shape == (3, SIDE, SIDE // 2, 3)
    np.testing.assert_allclose(shrunk(images).mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=2)
    made = load_piece("srd/clusters").make(cluster_files(tmp_path, clusters, side=224), SILHOUETTE)
    strips = [axes.images[0].get_array() for axes in made.figure.axes if axes.images]
    assert {strip.shape[0] for strip in strips} == {SIDE}


def test_images_of_other_clusters_are_refused(tmp_path, clusters):
    path = central(tmp_path / "central.npz")
    stored = read_arrays(path)
    write_arrays(path, images=stored["images"][1:], rows=stored["rows"][1:])
    with pytest.raises(FileFault, match="do not fit 6 clusters"):
        read_bands(read_clusters(clusters), path, NAMES)


# -- filters


def test_the_dictionary_of_all_images_comes_before_those_of_several_classes(tmp_path, clusters):
    named = named_file(tmp_path / "set.json")
    files = {
        "dictionaries": [learnt(tmp_path / "learnt.npz")],
        "clusters": [clusters],
        "learnt": [named],
    }
    made = load_piece("srd/dictionaries").make(files, {})
    # Two clusters of a class at most; classes with several first.
    assert distinct(made.rows, "dictionary") == ["all images", "ship (1)", "ship (2)", "cat (1)", "cat (2)", NAMES[1]]
    assert distinct(made.rows, "class") == ["", "ship", "cat", NAMES[1]]
    sheets, below = made.figure.subfigs
    shown = [axes for axes in sheets.axes if axes.images]
    titles = [
        ("all images", 22),
        ("ship (1)", 5),
        ("ship (2)", 3),
        ("cat (1)", 6),
        ("cat (2)", 2),
        ("a class with a v…", 4),
    ]
    assert [axes.get_title() for axes in shown] == [f"{name}\n{size} images" for name, size in titles]
    stored = read_arrays(files["dictionaries"][0])
    (axes,) = below.axes
    for place, axes_of, line in zip((6, 0, 1, 4, 5, 3), shown, axes.lines, strict=True):
        np.testing.assert_array_equal(axes_of.images[0].get_array(), tiles(stored["filters"][place]))
        np.testing.assert_allclose(line.get_ydata(), running_mean(stored["objectives"][place], 2))
    assert axes.get_ylabel() == "Objective, mean of 2 batches"
    first = matching(made.rows, dictionary="ship (2)")
    assert [row["step"] for row in first] == list(range(1, 21))
    assert [row["objective"] for row in first] == stored["objectives"][1].tolist()
    assert [text.get_text() for text in below.legends[0].get_texts()] == [name for name, _ in titles]
    assert figure_bytes(made.figure, "png") == figure_bytes(
        load_piece("srd/dictionaries").make(files, {}).figure, "png"
    )


def test_at_most_eight_dictionaries_are_shown():
    assert chosen_clusters([label for label in range(20) for _ in range(3)]) == [0, 1, 3, 4, 6, 7, 9]
    assert chosen_clusters(range(20)) == list(range(7))
    assert chosen_clusters([0, 1, 1]) == [1, 2, 0]


def test_tiles_stand_from_coarse_to_fine_in_their_own_units():
    across = np.arange(8)
    waves = [np.cos(2 * np.pi * frequency * across) for frequency in (0.25, 0.0625, 0.5)]
    filters = np.stack([np.tile(wave, (3, 8, 1)) * scale for wave, scale in zip(waves, (1.0, 5.0, 0.1), strict=True)])
    frequencies = coarseness(filters)
    assert list(np.argsort(frequencies)) == [1, 0, 2]
    assert frequencies[2] == pytest.approx(0.5, abs=0.15)
    np.testing.assert_allclose(coarseness(filters * 7), frequencies)
    np.testing.assert_allclose(coarseness(filters.transpose(0, 1, 3, 2)), frequencies)
    sheet = tiles(filters)
    # Two columns of tiles with a pixel between them; the place of the fourth is empty.
    assert sheet.shape == (17, 17, 3)
    assert (sheet[:8, 0, 0] == 255).all()
    assert (sheet[9:, 9:] == 255).all()
    np.testing.assert_array_equal(sheet[0, 9:, 0], np.rint(127.5 + 127.5 * waves[0]))
    np.testing.assert_array_equal(sheet[9, :8, 1], np.rint(127.5 + 127.5 * waves[2]))
    assert (tiles(np.zeros((1, 3, 2, 2))) == 128).all()


def test_a_running_mean_is_of_what_there_is():
    np.testing.assert_allclose(running_mean(np.array([4.0, 2, 6, 1]), 3), [4, 3, 4, 3])
    np.testing.assert_allclose(running_mean(np.array([4.0, 2]), 1), [4, 2])


def test_dictionaries_of_other_clusters_are_refused(tmp_path, clusters):
    with pytest.raises(FileFault, match="do not fit 6 clusters; needed: one of each, and one of all images"):
        read_dictionaries(learnt(tmp_path / "learnt.npz", count=6), read_clusters(clusters), NAMES)
