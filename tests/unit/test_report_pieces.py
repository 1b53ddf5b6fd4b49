"""Figures and tables are declared once: what exists, what it is made from, and the two scripts that make it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from nndefense.axes.queries import Pack
from nndefense.config import load_config
from nndefense.core.arrays import write_array, write_arrays
from nndefense.core.errors import InputError
from nndefense.core.files import read_json, write_json
from nndefense.core.fingerprint import fingerprint, used_modules
from nndefense.core.registry import Entry
from nndefense.core.tables import write_table
from nndefense.database.row_checks import row_checks
from nndefense.evaluation.rows import COLUMNS, format_rows, read_rows
from nndefense.images.description import list_set, open_options
from nndefense.report import PIECES
from nndefense.report import pieces as pieces_module
from nndefense.report.claims.catalog import CLAIMS
from nndefense.report.claims.judge import COLUMNS as JUDGED
from nndefense.report.claims.judge import judge
from nndefense.report.listing import END, START, pieces_markdown, with_list
from nndefense.report.pages.about import about_run
from nndefense.report.piece import by_role, collect_accuracy
from nndefense.report.pieces import every_piece, existing, load_piece, piece_target
from nndefense.retrieval.weights import stored_weights

from .config_cases import SMALL
from .synthetic import PARAMS, accuracy_rows, outcomes

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
DEFAULT = load_config(yaml.safe_load((ROOT / "config.yaml").read_text()))


def run(script: str, *arguments: object, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPTS / f"{script}.py")]
    for name, value in options.items():
        texts = (
            map(str, value)
            if isinstance(value, list)
            else [json.dumps(value) if isinstance(value, dict) else str(value)]
        )
        command += [f"--{name}", *texts]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


# -- what there is


def test_every_piece_has_the_name_that_it_is_registered_under():
    assert [piece.name for piece in every_piece()][: len(PIECES)] == list(PIECES)
    for piece in every_piece():
        assert piece.kind in ("figure", "table")
        assert all((piece.title, piece.varies, piece.shows, piece.heading, piece.category))
    with pytest.raises(InputError, match="'fig99' is unknown; allowed: fig_adaptive, fig_encoders"):
        load_piece("fig99")


def test_the_default_experiment_has_all_of_them():
    """All but those on other encoders, which it does not have."""
    assert [piece.name for piece in existing(DEFAULT)] == [name for name in PIECES if name != "fig_encoders"]


def test_a_small_experiment_has_what_it_has_the_axes_for():
    config = load_config(SMALL | {"sizes": [100]})
    names = [piece.name for piece in existing(config)]
    assert names == ["fig1", "fig2", "fig3", "training", "table1", "table2", "table3", "table4", "claims"]
    gray = load_config(SMALL | {"attacks": SMALL["attacks"] | {"settings": ["gray_box"]}})
    assert {"fig3", "fig5"} & {piece.name for piece in existing(gray)} == {"fig5"}


def test_files_and_parameters_are_plain_values():
    for piece in existing(DEFAULT):
        files, params = piece.files(DEFAULT), piece.params(DEFAULT)
        assert json.loads(json.dumps(params)) == params
        assert files
        assert all(path.startswith("<results>/") for paths in files.values() for path in paths)
        assert all(files.values())


def test_parameters_are_what_a_piece_uses():
    figure = load_piece("fig5").params(DEFAULT)
    assert figure == {
        "attack": "pgd", "space": "raw01", "features": "conv_4_1", "neighbors": 50, "weighting": "CBW-D",
        "combination": "soft", "attack_labels": {"pgd": "PGD"}, "facts": {"dataset": "shapes", "seed": 1},
        "classes": 10,
    }  # fmt: skip
    assert load_piece("fig9").params(DEFAULT)["attack_labels"] == {"fgsm": "FGSM"}
    assert load_piece("fig3").params(DEFAULT)["pool"] == "Targeted"
    assert load_piece("fig6").params(DEFAULT)["white_box"]["ablated"] == ["pgd_fs", "soft_retrieval"]


def test_an_attack_appears_by_itself():
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["attacks"]["methods"]["ifgsm"] = {}
    config = load_config(raw)
    params = load_piece("attacks").params(config)
    assert params["attacks"] == ["fgsm", "pgd", "cw", "ifgsm"]
    assert params["attack_labels"]["ifgsm"] == "I-FGSM"
    assert any("/ifgsm/" in path for path in load_piece("attacks").files(config)["rows"])


def test_the_ablated_attack_is_the_configured_one():
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["attacks"]["white_box"]["ablated"] = "pgd_pr"
    params = load_piece("fig6").params(load_config(raw))
    assert params["white_box"]["attacks"] == ["pgd_pr", "pgd_pr_hard", "pgd_pr_literal", "pgd_fs"]
    assert params["white_box"]["ablated"] == ["pgd_pr", "soft_retrieval"]
    assert params["white_box"]["through"][:3] == ["noise", "transfer", "soft_retrieval"]


def test_defences_are_called_as_the_configuration_says():
    raw = SMALL | {
        "defenses": {
            "crop_ensemble": {},
            "few": {"kind": "crop_ensemble"},
            "blur": {"kind": "tv_minimization", "label": "Blur"},
            "soft": {"kind": "tv_minimization", "label": "Blur"},
        }
    }
    params = load_piece("table2").params(load_config(raw))
    assert params["defense_labels"] == {
        "none": "No defence", "knn": "Nearest neighbours", "crop_ensemble": "Crop ensemble",
        "few": "Crop ensemble (few)", "blur": "Blur (blur)", "soft": "Blur (soft)",
    }  # fmt: skip
    assert params["defense_kinds"]["few"] == "crop_ensemble"


def test_table_2_is_made_of_the_rows_of_its_ball():
    paths = load_piece("table2").files(DEFAULT)["rows"]
    assert any("/racnn/" in path for path in paths)
    assert not [path for path in paths if "/linf/" in path]
    assert any("/linf/gray_box-racnn_5/" in path for path in load_piece("table1_racnn").files(DEFAULT)["rows"])


def test_an_evaluation_kind_gets_a_table(monkeypatch):
    monkeypatch.setitem(pieces_module.KINDS, "certified", Entry("nowhere:NOTHING", "Certified accuracy"))
    monkeypatch.setitem(pieces_module.KIND_PIECES, "rows_certified", "certified")
    piece = existing(DEFAULT)[-1]
    assert (piece.name, piece.heading) == ("rows_certified", "Certified accuracy")
    paths = piece.files(DEFAULT)["rows"]
    assert paths[0] == "<results>/predictions/resnet20/none/clean.npz"
    assert {path.split("/")[3] for path in paths} == {"none", "conv_4_1"}
    assert piece.params(DEFAULT)["measured"] == "nowhere:NOTHING"
    assert "| `rows_certified.md` | Certified accuracy: " in pieces_markdown()


# -- what a job depends on


def test_nothing_heavy_is_imported_where_the_workflow_is_planned():
    code = (
        "import sys, yaml; from nndefense.config import load_config; from nndefense.report.pieces import existing;"
        "from nndefense.report.pages.about import about_run; config = load_config(yaml.safe_load(open('config.yaml')));"
        "[(one.files(config), one.params(config)) for one in existing(config)]; about_run(config);"
        "print([one for one in ('torch', 'faiss', 'scipy', 'pandas', 'matplotlib') if one in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_job_depends_on_what_draws_and_not_on_what_plans():
    script = SCRIPTS / "plot_figure.py"
    library = SCRIPTS / "nndefense"
    reached = {str(file.relative_to(library)) for file in used_modules(library / "report/figures/fig5.py")}
    assert {"report/style.py", "report/curves.py", "report/select.py"} <= reached
    reached |= {str(file.relative_to(library)) for file in used_modules(script)}
    planned = ("flow/", "config/", "attacks/", "defenses/", "report/sources", "report/tables", "report/figures")
    assert not [file for file in reached if file.startswith(planned)]
    assert fingerprint(script, [piece_target("fig5")]) == fingerprint(script, [piece_target("fig9")])
    assert fingerprint(script, [piece_target("fig5")]) != fingerprint(script, [piece_target("fig3")])


def test_files_have_one_role_each():
    assert by_role(["a", "b", "a"], ["1", "2", "3"]) == {"a": ["1", "3"], "b": ["2"]}
    with pytest.raises(InputError, match="one role per file"):
        by_role(["a"], ["1", "2"])


# -- the scripts


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text(format_rows(accuracy_rows(n=100)))
    return path


def test_rows_have_one_order_however_many_budgets_a_file_holds(tmp_path):
    rows = [row for row in accuracy_rows(n=10) if row["setting"] == "gray_box" and row["attack"] == "pgd"]
    alone = []
    for epsilon in (0.02, 0.06):
        alone.append(tmp_path / f"{epsilon}.csv")
        alone[-1].write_text(format_rows(row for row in rows if row["epsilon"] == epsilon))
    together = tmp_path / "together.csv"
    together.write_text(format_rows(sorted(rows, key=lambda row: row["pool"])))
    found = collect_accuracy([str(together)], {})
    pools = list(dict.fromkeys(row["pool"] for row in found))
    expected = [sorted(collect_accuracy([str(path)], {}), key=lambda row: pools.index(row["pool"])) for path in alone]
    assert found == [row for part in expected for row in part]


@pytest.mark.parametrize("name", ["fig5", "fig8"])
def test_a_figure_is_plotted(name, rows, tmp_path):
    params = PARAMS | {"attack": load_piece(name).attack or "pgd"}
    outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("csv", "pdf", "png")}
    done = run("plot_figure", piece=name, params=params, roles=["rows"], files=[rows], log=tmp_path / "log", **outputs)
    assert done.returncode == 0, done.stderr
    assert outputs["pdf"].read_bytes().startswith(b"%PDF")
    chosen = load_piece(name).select(read_rows(rows), params)
    assert outputs["csv"].read_text() == format_rows(chosen, COLUMNS)
    assert f"{len(chosen)} rows" in (tmp_path / "log").read_text()


def test_a_table_is_made(rows, tmp_path):
    model = {"name": "resnet20", "architecture": "cifar_resnet20", "accuracy": 0.9, "ci_low": 0.8, "ci_high": 0.95}
    write_json(tmp_path / "clean.json", {**model, "n": 100, "provenance": {"published_by": "x", "weights": "y"}})
    outputs = {kind: tmp_path / f"table1.{kind}" for kind in ("csv", "md", "tex")}
    files = [rows, tmp_path / "clean.json"]
    done = run("make_table", piece="table1", params=PARAMS, roles=["rows", "models"], files=files, **outputs)
    assert done.returncode == 0, done.stderr
    assert "published by x as y" in outputs["md"].read_text()
    assert outputs["tex"].read_text().startswith("% Accuracy on shapes")
    assert outputs["csv"].read_text().splitlines()[0] == ",".join(COLUMNS)


@pytest.mark.parametrize(("name", "line"), [("fig99", "figure or table 'fig99' is unknown"), ("fig5", "figure 5: no")])
def test_mistakes_are_one_line(name, line, tmp_path):
    (tmp_path / "rows.csv").write_text(format_rows([]))
    outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("csv", "pdf", "png")}
    done = run("plot_figure", piece=name, params=PARAMS, roles=["rows"], files=[tmp_path / "rows.csv"], **outputs)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {line}")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob(f"{name}*"))


# -- Figures 1 and 2, on files as the workflow makes them

QUERIES, CLASSES, SIZES = 6, 10, (20, 40)


@pytest.fixture
def illustrated(tmp_path) -> tuple[dict[str, list[str]], dict]:
    """Files and parameters of drawn images; the attack fools the network on images 2 and 4, and the vote on 2."""
    options = {"kind": "shapes", "first": 0, "rows": 60, "content": "task"}
    opened = open_options(options)
    list_set("drawn", options, tmp_path / "set.json", tmp_path / "manifest.parquet")
    write_table(tmp_path / "pool.parquet", {"set": np.full(40, "drawn"), "row": np.arange(40)})
    labels = np.arange(QUERIES)
    pixels = opened.read(np.arange(40, 40 + QUERIES)).images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    packs = ["clean", "raw01/gray_box/pgd/eps-0.02,0.06"]
    random = np.random.default_rng(0)
    # Database images of each class, in turn; all are sure of their class.
    sure = np.full((40, CLASSES), 0.01, np.float16)
    sure[np.arange(40), np.arange(40) % CLASSES] = 0.91
    about = {"pool": "Targeted", "start": 0, "stop": 40}
    write_array(tmp_path / "0-40.npy", sure, about)
    write_array(tmp_path / "0-40.weights.npy", stored_weights(sure.astype(np.float32)), about)
    write_array(tmp_path / "0-40.checks.npy", row_checks(sure, first=0), about)
    files = {role: [] for role in ("queries", "neighbors", "predicted")}
    for place, pack in enumerate(Pack.parse(name) for name in packs):
        sets = list(pack)
        members = {f"{one.member}/images": np.clip(pixels + one.epsilon, 0, 1) for one in sets}
        answers = np.full((len(sets), QUERIES, CLASSES), 0.05, np.float32)
        for number, one in enumerate(sets):
            said = labels.copy()
            said[[2, 4]] += one.epsilon == 0.06
            answers[number, np.arange(QUERIES), said] = 0.55
        ids = random.permuted(np.tile(np.arange(40), (len(sets), 2, QUERIES, 1)), axis=3)[..., :10]
        # At the largest size, image 4 has its class among its neighbours more than any other, image 2 has not.
        ids[:, 1, 2] = np.arange(3, 40, 4)[:10] if place else ids[:, 1, 2]
        ids[:, 1, 4] = [4, 14, 24, 34, 1, 4, 14, 24, 34, 2]
        write_arrays(tmp_path / f"queries{place}.npz", labels=labels, rows=np.arange(40, 40 + QUERIES), **members)
        write_arrays(tmp_path / f"lists{place}.npz", stops=np.array(SIZES), ids=ids,
                     distances=np.full(ids.shape, 4.0, np.float32))  # fmt: skip
        write_array(tmp_path / f"answers{place}.npy", answers.reshape(-1, CLASSES), {})
        for role, name in (("queries", "queries{}.npz"), ("neighbors", "lists{}.npz"), ("predicted", "answers{}.npy")):
            files[role] += [str(tmp_path / name.format(place))] * len(sets)
    files |= {"pool": ["pool.parquet"], "sets": ["set.json"], "task": ["set.json"], "softmax": ["0-40.npy"],
              "weights": ["0-40.weights.npy"], "checks": ["0-40.checks.npy"]}  # fmt: skip
    files = {role: [str(tmp_path / path) for path in paths] for role, paths in files.items()}
    shown = ["clean", "raw01/gray_box/pgd/eps-0.02", "raw01/gray_box/pgd/eps-0.06"]
    held = {"shown": shown, "packs": [packs[0], packs[1], packs[1]], "size": 40, "neighbors": 10}
    return files, PARAMS | held


def test_figure_1_shows_an_image_that_the_vote_gives_back(illustrated):
    files, params = illustrated
    made = load_piece("fig1").make(files, params)
    names = read_json(files["task"][0])["class_names"]
    assert {row["label"] for row in made.rows} == {names[4]}
    undefended, vote = ([row[name] for row in made.rows] for name in ("undefended", "vote"))
    assert int(np.argmax(undefended)) == 5
    assert int(np.argmax(vote)) == 4
    assert sum(vote) == pytest.approx(1, abs=1e-5)
    # Eight of ten neighbours are sure of the class, and all have the same weight.
    assert max(vote) == pytest.approx(0.8 * 0.91 + 0.2 * 0.01, abs=1e-3)
    images = [axes.images[0].get_array() for axes in made.figure.axes if axes.images]
    assert len(images) == 2 + 10
    texts = " ".join(text.get_text() for text in made.figure.texts)
    assert "the 10 nearest images of Targeted-40" in texts
    assert f"the network says\n{names[5]}" in texts
    assert f"stands for {names[4]} (8 of 10)" in texts
    assert made.figure.axes[-1].get_title() == f"the defence says {names[4]}"


def test_figure_2_shows_the_query_sets_in_their_order(illustrated):
    files, params = illustrated
    made = load_piece("fig2").make(files, params)
    assert [row["epsilon"] for row in made.rows] == [0.0] * 5 + [0.02] * 5 + [0.06] * 5
    names = read_json(files["task"][0])["class_names"]
    assert [made.rows[place]["predicted"] for place in (0, 5, 10)] == [names[2], names[2], names[3]]
    assert {row["distance"] for row in made.rows} == {2.0}
    assert {row["database_row"] for row in made.rows[10:]} <= set(range(3, 40, 4))
    figure = [axes.images[0].get_array() for axes in made.figure.axes if axes.images]
    assert len(figure) == 3 * 6


def test_figure_2_tells_what_all_k_neighbours_vote_for(illustrated):
    files, params = illustrated
    names = read_json(files["task"][0])["class_names"]
    # Of two equal ones, the first: the attacked image's ten are two each of classes 3, 7, 1, 5 and 9, in this order.
    for k, answer, share in (
        (1, names[3], "0.91"),
        (6, names[3], f"{(2 * 0.91 + 4 * 0.01) / 6:.2f}"),
        (10, names[1], "0.19"),
    ):
        figure = load_piece("fig2").make(files, params | {"neighbors": k}).figure
        votes = [[text.get_text() for text in axes.texts] for axes in figure.axes if axes.texts]
        assert votes[1:] == [["the vote", answer, share]] * 2
        assert f"that the {k} nearest images vote for" in figure.get_supxlabel()


# -- captions and pages


def test_captions_and_pages_are_written(rows, tmp_path):
    images, model = SMALL["queries"]["images"], SMALL["target"]
    guarded = {
        "tasks": {"near": {"gallery": images, "gallery_count": 300, "queries": images}},
        "embeddings": {"plain": {"model": model, "transform": "none", "sigmas": [0.1]}},
    }
    config = load_config(SMALL | {"sizes": [100], "dataset": "A <task> & more", "retrieval": guarded})
    about = about_run(config)
    claims = tmp_path / "judged.csv"
    claims.write_text(format_rows(judge(CLAIMS, outcomes(n=50), PARAMS, resamples=20), JUDGED))
    names = [piece["name"] for piece in about["pieces"]]
    captions = [tmp_path / "captions" / f"{name}.rst" for name in names]
    done = run("write_captions", claims=claims, about=about, output=captions)
    assert done.returncode == 0, done.stderr
    assert "**Table 1." in (tmp_path / "captions" / "table1.rst").read_text()
    files = []
    for piece in existing(config):
        suffixes = ("png", "csv", "pdf") if piece.kind == "figure" else ("md", "csv")
        for suffix in suffixes:
            files.append(tmp_path / f"{piece.name}.{suffix}")
            files[-1].parent.mkdir(exist_ok=True)
            files[-1].write_text(f"# Title\n\nThe {suffix} of {piece.name}.\n")
    pages = [tmp_path / f"{name}.html" for name in ("overview", "table1", "claims", "retrievalguard/table")]
    done = run("make_pages", claims=claims, about=about, files=files, output=pages)
    assert done.returncode == 0, done.stderr
    text = pages[0].read_text()
    assert "<title>Nearest-neighbour defences on A &lt;task&gt; &amp; more" in text
    assert all(f'<section id="{name}">' in text for name in names)
    assert "The md of table1." in pages[1].read_text()
    assert "The md of retrievalguard/table." in pages[3].read_text()
    assert "Certified retrieval" in (tmp_path / "captions" / "retrievalguard" / "fig.rst").read_text()


def test_the_readme_lists_every_figure_and_table():
    text = (ROOT / "README.md").read_text()
    if START not in text:
        pytest.skip("the README has no list")
    assert text.partition(START)[2].partition(END)[0].strip() == pieces_markdown()


def test_the_list_is_written_between_the_markers():
    text = with_list(f"before\n{START}\nOUTDATED\n{END}\nafter\n")
    assert text.startswith(f"before\n{START}\n\n| file |")
    assert text.endswith(f" |\n\n{END}\nafter\n")
    assert "OUTDATED" not in text
    assert with_list(text) == text
    with pytest.raises(InputError, match="needs the lines"):
        with_list("nothing")


def test_a_piece_says_what_it_is_called():
    piece = replace(load_piece("fig5"), name="mine", called="")
    assert piece.heading == "mine"
    assert replace(piece, called="My figure").heading == "My figure"
    assert (load_piece("fig12").heading, load_piece("table1_racnn").heading) == ("Figure 12", "Table 1 of RA-CNN")
