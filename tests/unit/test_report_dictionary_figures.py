"""The figure of defences beside semantic dictionaries: its rows, lines and images, and which files it refuses."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml

from nndefense.axes.cells import System
from nndefense.axes.queries import Pack
from nndefense.config import load_config
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import FileFault, InputError
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.outcomes import write_predictions
from nndefense.report.dictionaries import dictionary_names, short_name
from nndefense.report.figures.fig_dictionaries import amplification, read_sheet
from nndefense.report.pieces import load_piece
from nndefense.report.select import matching
from nndefense.report.style import figure_bytes

from .config_cases import SMALL
from .dictionary_figure_cases import CLASSES, NAMES, clusters_file, named_file

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = load_config(yaml.safe_load((ROOT / "config.yaml").read_text()))
N, ATTACKED, EPSILONS = 40, 10, (0.02, 0.06)
KINDS = {"none": "none", "jpeg": "jpeg", "srd": "srd", "srd_whole": "srd"}
THROUGH = {"none": ["bpda"], "jpeg": [], "srd": ["bpda", "unrolled"], "srd_whole": ["bpda", "unrolled"]}


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


# -- files as the workflow makes them


def purified(path, count=5, side=8, **changed) -> str:
    random = np.random.default_rng(1)
    images = random.random((count, 3, side, side)).astype(np.float32)
    parts = {"images": images, "low": images / 2, "high": (0.5 - images) / 4, "purified": images**2}
    arrays = {f"{part}/{name}": one for part in ("clean", "attacked") for name, one in parts.items()}
    arrays["clean/images"] = images[..., ::-1]
    labels = np.arange(count) % 3
    arrays |= {"labels": labels, "rows": labels, "attacked/cluster": np.arange(count) % 7}
    arrays |= {"attacked/undefended": (labels + 1) % 3, "attacked/defended": np.where(labels == 1, 0, labels)}
    write_arrays(path, **arrays | changed)
    return str(path)


def right_of(defense, attack, epsilon, n=N):
    """Which images are answered rightly: a period of each attack's own, so that attacks break different images."""
    period = {"none": 20, "pgd": 5, "bpda": 2, "unrolled": 3}[attack] + 4 * (defense == "srd")
    return np.arange(n) % period != int(100 * epsilon) % period


@pytest.fixture
def answers(tmp_path) -> dict[str, list[str]]:
    """Predictions of every defence; attacks through a defence are of the last images, from the last to the first."""
    files = {"predictions": [], "through": []}
    labels, few = np.arange(N) % 3, np.arange(N)[::-1][:ATTACKED]
    budgets = ",".join(map(str, EPSILONS))
    for defense in KINDS:
        packs = ["clean", f"raw01/gray_box/pgd/eps-{budgets}"]
        packs += [f"raw01/adaptive-{defense}/{attack}/eps-{budgets}" for attack in THROUGH[defense]]
        for place, name in enumerate(packs):
            rows, predicted, delta = (few if place > 1 else np.arange(N)), {}, {}
            for queries in Pack.parse(name):
                right = right_of(defense, queries.attack, queries.epsilon)[rows]
                predicted[queries, System.plain(defense)] = np.where(right, labels[rows], (labels[rows] + 1) % 3)
                delta[queries] = np.full(len(rows), queries.epsilon)
            path = tmp_path / "predictions" / defense / f"{name}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_predictions(path, labels[rows], rows, predicted, delta)
            files["through" if place > 1 else "predictions"].append(str(path))
    return files


@pytest.fixture
def compared(tmp_path, answers) -> tuple[dict[str, list[str]], dict]:
    """Files and parameters of srd/fig."""
    files = answers | {
        "purified": [purified(tmp_path / "purified.npz")],
        "clusters": [clusters_file(tmp_path / "clusters.npz")],
        "task": [named_file(tmp_path / "set.json")],
    }
    params = {
        "attack": "pgd", "attack_labels": {"pgd": "PGD"}, "compared": list(KINDS), "defense_kinds": KINDS,
        "defense_labels": {"jpeg": "JPEG", "srd": "SRD", "srd_whole": "A label that is longer than a line of it"},
        "epsilons": list(EPSILONS), "images": "raw01/gray_box/pgd/eps-0.06", "model": "resnet20",
        "root": str(tmp_path / "predictions"), "shown": "srd", "space": "raw01",
    }  # fmt: skip
    return files, params


# -- accuracy by budget


def test_an_image_is_right_in_the_worst_only_if_it_is_under_every_attack_through_the_defence(compared):
    rows = load_piece("srd/fig").make(*compared).rows
    few = np.arange(N)[::-1][:ATTACKED]
    for defense in KINDS:
        own = {setting: matching(rows, defense=defense, setting=setting) for setting in ("gray_box", "adaptive")}
        clean = right_of(defense, "none", 0)
        wanted = {"gray_box": [clean, *(right_of(defense, "pgd", one) for one in EPSILONS)]}
        worst = [np.logical_and.reduce([right_of(defense, a, one)[few] for a in THROUGH[defense]]) for one in EPSILONS]
        wanted["adaptive"] = [clean[few], *worst] if THROUGH[defense] else []
        for setting, found in own.items():
            assert [row["epsilon"] for row in found] == [0.0, *EPSILONS][: len(found)]
            assert [row["accuracy"] for row in found] == [one.mean() for one in wanted[setting]]
            for row, one in zip(found, wanted[setting], strict=True):
                assert (row["ci_low"], row["ci_high"]) == wilson_interval(int(one.sum()), len(one))
                assert row["n"] == (N if setting == "gray_box" else ATTACKED)
    # The two attacks break different images, so that neither alone is the worst.
    alone = [right_of("srd", attack, 0.06)[few].mean() for attack in THROUGH["srd"]]
    assert matching(rows, defense="srd", setting="adaptive", epsilon=0.06)[0]["accuracy"] < min(alone)


def test_lines_and_bars_are_those_of_the_rows(compared):
    made = load_piece("srd/fig").make(*compared)
    gray, through = made.figure.subfigs[0].axes
    assert gray.get_title() == f"PGD on the bare network\n{N} test images"
    assert through.get_title() == f"The worst of attacks through the defence\n{ATTACKED} test images"
    for axes, setting, lines in ((gray, "gray_box", 4), (through, "adaptive", 3)):
        drawn = [line for line in axes.lines if len(line.get_xdata())]
        shown = [one for name in KINDS if (one := matching(made.rows, setting=setting, defense=name))]
        assert len(drawn) == len(shown) == lines
        bars = [one for one in axes.collections if len(one.get_segments())]
        for line, bar, rows in zip(drawn, bars, shown, strict=True):
            np.testing.assert_allclose(line.get_ydata(orig=False), [row["accuracy"] for row in rows])
            # Markers at an accuracy of 0 are drawn whole.
            assert not line.get_clip_on()
            # Beside the tick of their budget.
            np.testing.assert_allclose(line.get_xdata(orig=False), [0, 1, 2], atol=0.25)
            ends = [sorted(one[:, 1]) for one in bar.get_segments()]
            np.testing.assert_allclose(ends, [(row["ci_low"], row["ci_high"]) for row in rows], atol=1e-9)
        assert [text.get_text() for text in axes.get_xticklabels()] == ["clean", "0.02", "0.06"]
    looks = {line.get_label(): line for line in made.figure.subfigs[0].legends[0].get_lines()}
    assert list(looks) == ["No defence", "JPEG", "SRD", "A label that is longer than a\nline of it"]
    assert [line.get_linestyle() for line in looks.values()] == [":", "--", "-", "-"]
    grey = [len(set(plt.matplotlib.colors.to_rgb(line.get_color()))) == 1 for line in looks.values()]
    assert grey == [True, True, False, False]
    assert len({line.get_color() for line in looks.values()}) == 4


def test_lines_stand_side_by_side_in_one_order_at_every_budget(compared):
    files, params = compared
    axes = load_piece("srd/fig").make(files, params).figure.subfigs[0].axes[0]
    places = np.array([line.get_xdata(orig=False) for line in axes.lines])
    assert (np.diff(places, axis=0) > 0.02).all()
    np.testing.assert_allclose(places.mean(axis=0), [0, 1, 2], atol=1e-9)


def test_missing_answers_are_named(compared):
    files, params = compared
    for left_out, words in (
        ("jpeg/clean", "jpeg has no answers to the clean"),
        ("jpeg/raw01", "jpeg lacks answers to pgd"),
    ):
        fewer = [path for path in files["predictions"] if left_out not in path]
        with pytest.raises(InputError, match=words):
            load_piece("srd/fig").make(files | {"predictions": fewer}, params)


@pytest.mark.parametrize("label", ["JPEG", "word " * 60])
def test_labels_of_any_length_fit_into_the_figure(compared, label):
    files, params = compared
    figure = load_piece("srd/fig").make(files, params | {"defense_labels": dict.fromkeys(KINDS, label)}).figure
    figure.canvas.draw()
    above, below = figure.subfigs
    box, whole = above.legends[0].get_window_extent(), above.bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1
    assert whole.y0 <= box.y0 < box.y1 <= whole.y1
    assert below.bbox.y1 <= whole.y0 + 1
    handles = [line.get_window_extent().x0 for line in above.legends[0].get_lines()]
    assert max(axes.get_window_extent().x1 for axes in above.axes) < min(handles)
    # Room for lines, whatever the labels.
    assert min(axes.get_window_extent().height for axes in above.axes) > 2 * figure.dpi


# -- purified images


def test_every_stage_of_every_image_is_shown_with_its_answers(compared):
    files, params = compared
    figure = load_piece("srd/fig").make(files, params).figure
    sheet = figure.subfigs[1]
    assert sheet.get_suptitle() == "Images under PGD, gray box, Δ = 0.06, purified by SRD"
    shown = [axes for axes in sheet.axes if axes.images]
    assert len(shown) == 5 * 5
    stored = read_arrays(files["purified"][0])
    names = dictionary_names(CLASSES, NAMES)
    by_image = {}
    for axes in shown:
        by_image.setdefault(_place(axes, stored), []).append(axes)
    for number, cells in by_image.items():
        image, attacked, low, high, clean = cells
        label = number % 3
        assert image.get_xlabel() == ["ship", "a class with a v…", "cat"][label]
        wrong = ["a class with a v…", "cat", "ship"][label]
        assert (attacked.get_xlabel(), attacked.xaxis.label.get_fontweight()) == (f"✗ {wrong}", "normal")
        assert low.get_xlabel() == ""
        assert high.get_xlabel() == short_name(names[number])
        text = "✗ ship" if label == 1 else f"✓ {image.get_xlabel()}"
        assert (clean.get_xlabel(), clean.xaxis.label.get_fontweight()) == (text, "normal" if label == 1 else "bold")
        # High bands are within 1/8, and drawn around mid grey.
        band = stored["attacked/high"][number].transpose(1, 2, 0)
        np.testing.assert_allclose(high.images[0].get_array(), 0.5 + 4 * band, atol=1e-6)
    assert [axes.get_title() for axes in by_image[0]] == ["image", "attacked", "low band", "high band × 4", "purified"]
    assert figure_bytes(figure, "png") == figure_bytes(load_piece("srd/fig").make(files, params).figure, "png")


def test_names_below_images_do_not_run_into_each_other(compared):
    files, params = compared
    named_file(files["task"][0], ["golden retriever", "Newfoundland dogs", "Labrador retriever dog"])
    figure = load_piece("srd/fig").make(files, params).figure
    figure.canvas.draw()
    texts = [axes.xaxis.label for axes in figure.subfigs[1].axes if axes.get_xlabel()]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == 5 * 4
    for place, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:place])


def _place(axes, stored):
    """The place of the image that is drawn, by its row of the grid; the stages of an image follow each other."""
    drawn = np.asarray(axes.images[0].get_array())
    found = []
    for name in ("clean/images", "attacked/images", "attacked/low", "attacked/purified", "attacked/high"):
        values = stored[name].transpose(0, 2, 3, 1) * (4 if name.endswith("high") else 1)
        values = values + 0.5 * name.endswith("high")
        found += [place for place, one in enumerate(values) if np.allclose(one, drawn, atol=1e-6)]
    assert len(found) == 1
    return found[0]


def test_bands_are_amplified_as_much_as_they_allow():
    assert amplification(np.full((2, 2), 0.49)) == 1
    assert amplification(np.full((2, 2), -0.24)) == 2
    assert amplification(np.full((2, 2), 0.004)) == 100
    assert amplification(np.array([*[0.1] * 99, 0.9])) == 5
    assert amplification(np.full((2, 2), 0.9)) == 1


def test_files_of_purified_images_that_do_not_fit_are_refused(tmp_path):
    names = dictionary_names(CLASSES, NAMES)
    path = tmp_path / "purified.npz"
    assert len(read_sheet(purified(path, count=9), names).labels) == 6
    for changed, words in (
        ({"attacked/high": np.zeros((5, 3, 8, 9), np.float32)}, r"attacked/high has shape \(5, 3, 8, 9\)"),
        ({"attacked/defended": np.zeros(4, np.int64)}, r"attacked/defended has shape \(4,\)"),
        ({"attacked/cluster": np.full(5, 7)}, "dictionaries are 7 to 7; allowed: 0 to 6"),
    ):
        with pytest.raises(FileFault, match=words):
            read_sheet(purified(path, **changed), names)
    with pytest.raises(FileFault, match="holds no images"):
        read_sheet(purified(path, count=0), names)


def test_names_tell_clusters_of_a_class_apart():
    names = dictionary_names((0, 1, 1, 3), NAMES)
    assert names == ["ship", f"{NAMES[1]} (1)", f"{NAMES[1]} (2)", "class 3", "all images"]
    assert [short_name(one) for one in names] == [
        "ship",
        "a class with a v… (1)",
        "a class with a v… (2)",
        "class 3",
        "all images",
    ]


# -- which there are


def test_figures_exist_where_there_are_dictionaries():
    without = load_config(SMALL)
    for name in ("srd/fig", "srd/clusters", "srd/dictionaries"):
        assert load_piece(name).exists(DEFAULT)
        assert not load_piece(name).exists(without)


def test_figures_are_made_from_the_files_of_the_section():
    files, params = load_piece("srd/fig").files(DEFAULT), load_piece("srd/fig").params(DEFAULT)
    root = "<results>/predictions/resnet20"
    compared = ["none", *DEFAULT.dictionaries.table]
    assert params["compared"] == compared
    assert {path.split("/")[3] for path in files["predictions"]} == set(compared)
    assert f"{root}/srd/clean.npz" in files["predictions"]
    assert {path.split("/")[6] for path in files["predictions"] if "gray_box" in path} == {DEFAULT.base.attack}
    assert f"{root}/srd/raw01/adaptive-srd/unrolled/eps-0.02,0.06.npz" in files["through"]
    assert files["task"] == ["<results>/images/shapes_test/set.json"]
    assert params["images"] == "raw01/gray_box/pgd/eps-0.06"
    assert load_piece("srd/clusters").files(DEFAULT) == {
        "clusters": ["<results>/srd/clusters.npz"], "central": ["<results>/srd/central.npz"],
        "learnt": ["<results>/images/shapes_train/set.json"],
    }  # fmt: skip
    assert load_piece("srd/clusters").params(DEFAULT) == {"criterion": "silhouette", "least": 0.25}
    assert load_piece("srd/dictionaries").files(DEFAULT)["dictionaries"] == ["<results>/srd/dictionaries.npz"]
