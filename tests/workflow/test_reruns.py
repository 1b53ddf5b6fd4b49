"""What a change reruns: the exact sets of rules, from dry runs on a finished experiment (design: what must rerun)."""

import time

import pytest

pytestmark = pytest.mark.xdist_group("workflow")

# Tables and figures of the tests' targets.
REPORT = {"collect_rows": 1, "make_table1": 1, "plot_fig5": 1}


# The second budget is a batch of its own, with jobs of its own.
PGD = ("pgd", "pgd_eps_0_08")
VOTES = {"vote_clean": 1, "vote_pgd": 1, "vote_pgd_eps_0_08": 1}


def searched(*batches: str, layers: int = 1, spans: int = 2, pools: int = 2) -> dict[str, int]:
    """Jobs that search, merge and vote on batches."""
    found = {}
    for batch in batches:
        found |= {f"search_span_{batch}": layers * spans * pools, f"vote_{batch}": layers}
        found |= {f"merge_neighbors_{batch}": layers * pools} if spans > 1 else {}
    return found


def test_finished_experiment_has_nothing_to_do(finished):
    assert finished.would_run() == {}


def test_number_of_neighbors(finished):
    changes = {"votes": {"neighbors": [7]}, "base": {"neighbors": 7}}
    assert finished.would_run(changes=changes) == {**VOTES, **REPORT}


def test_weighting_of_tables_and_figures(finished):
    assert finished.would_run(changes={"base": {"weighting": "UW"}}) == {"plot_fig5": 1}


def test_two_numbers_that_swap_places(finished):
    swapped = {"attacks": {"methods": {"pgd": {"steps": 1, "restarts": 2}}}}
    assert finished.would_run(changes=swapped) == {
        "make_attack_set": 4,
        "extract_queries_pgd": 1,
        "extract_queries_pgd_eps_0_08": 1,
        **searched(*PGD),
        "evaluate_defense_pgd": 1,
        "evaluate_defense_pgd_eps_0_08": 1,
        **REPORT,
    }


def test_larger_database(finished):
    """A size of its own costs its own images; the lists of the spans before it stay."""
    new = {f"search_span_{batch}": 2 for batch in ("clean", *PGD)}
    merged = {f"merge_neighbors_{batch}": 2 for batch in ("clean", *PGD)}
    assert finished.would_run(changes={"sizes": [60, 120, 240]}) == {
        "extract_features": 2,
        "encode_features_All": 1,
        "encode_features_Targeted": 1,
        **new,
        **merged,
        **VOTES,
        **REPORT,
    }


def test_sizes_in_one_list_are_searched_in_one_pass(finished):
    together = finished.would_run(changes={"sizes": [[60, 120]]})
    assert together == {**searched("clean", *PGD, spans=1), **REPORT}


def test_features_that_are_not_kept(finished):
    """Behind the sample of the PCA, images go to codes at once; what lies within it stays."""
    changes = {"sizes": [60, 120, 240], "features": {"keep": False}}
    found = finished.would_run(changes=changes)
    assert {name: count for name, count in found.items() if name.startswith(("extract", "encode"))} == {
        "extract_codes_All": 2,
        "extract_codes_Targeted": 2,
    }


def test_another_layer_costs_a_pass_of_its_own(finished):
    changes = {"features": {"layers": ["conv_4_1", "conv_3_1"]}}
    assert finished.would_run(changes=changes) == {
        "extract_features_conv_3_1": 4,
        **{f"extract_queries_conv_3_1_{batch}": 1 for batch in ("clean", *PGD)},
        "fit_pca": 2,
        "encode_features_conv_3_1_All": 2,
        "encode_features_conv_3_1_Targeted": 2,
        **searched("clean", *PGD),
        "collect_rows": 1,
    }


def test_another_budget(finished):
    """Table 1 is at the base budget."""
    changes = {"attacks": {"epsilons": [0.04, 0.08, 0.1]}}
    assert finished.would_run(changes=changes) == {
        "make_attack_set": 2,
        "extract_queries_pgd_eps_0_1": 1,
        **searched("pgd_eps_0_1"),
        "evaluate_defense_pgd_eps_0_1": 1,
        "collect_rows": 1,
        "plot_fig5": 1,
    }


def test_another_attack(finished):
    """An attack that is listed with no other has jobs of its own."""
    changes = {"attacks": {"methods": {"pgd": {"steps": 2, "restarts": 1}, "fgsm": {}}}}
    assert finished.would_run("results/accuracy.csv", changes=changes) == {
        "make_attack_set": 4,
        **{f"extract_queries_{batch}": 1 for batch in ("fgsm", "fgsm_eps_0_08")},
        **searched("fgsm", "fgsm_eps_0_08"),
        "evaluate_defense_fgsm": 1,
        "evaluate_defense_fgsm_eps_0_08": 1,
        "collect_rows": 1,
    }


def test_index_factory(finished):
    assert finished.would_run(changes={"index": {"factory": "SQ8"}}) == {
        "train_index": 2,
        "build_index": 4,
        **searched("clean", *PGD),
        **REPORT,
    }


def edit(project, name: str, text: str) -> None:
    """Append to a file of the project."""
    time.sleep(1.1)  # file systems and Snakemake may round times to seconds
    file = project.folder / name
    file.write_text(file.read_text() + text)


def test_comments_docstrings_and_formatting_rerun_nothing(again):
    library = again.folder / "scripts/nndefense"
    for name in ("core/files.py", "report/figures/fig5.py", "attacks/pgd.py", "images/base.py", "attacks/__init__.py"):
        edit(again, f"scripts/nndefense/{name}", "\n\n# a comment\n")
    edit(again, "scripts/vote.py", "# a comment\n")
    base = library / "attacks/base.py"
    base.write_text(base.read_text().replace("import torch\n", "import   torch  # spaced out\n", 1))
    seeds = library / "core/seeds.py"
    text = seeds.read_text()
    seeds.write_text(text.replace('"""', '"""Told otherwise. ', 1))
    assert seeds.read_text() != text
    assert again.would_run() == {}


def test_touched_and_edited_plotting_module(again):
    module = again.folder / "scripts/nndefense/report/figures/fig5.py"
    time.sleep(1.1)
    module.touch()
    assert again.would_run() == {}
    edit(again, "scripts/nndefense/report/figures/fig5.py", "ANOTHER_LOOK = 1\n")
    assert again.would_run() == {"plot_fig5": 1}


def test_edited_code_where_nothing_uses_it(again):
    edit(again, "scripts/nndefense/models/lsh.py", "UNUSED = 1\n")
    edit(again, "scripts/nndefense/images/folder.py", "UNUSED = 1\n")
    assert again.would_run() == {}


def test_edited_attack(again):
    edit(again, "scripts/nndefense/attacks/pgd.py", "UNUSED = 1\n")
    assert set(again.would_run()) == {
        "make_attack_set",
        "extract_queries_pgd",
        "extract_queries_pgd_eps_0_08",
        *searched(*PGD),
        "evaluate_defense_pgd",
        "evaluate_defense_pgd_eps_0_08",
        *REPORT,
    }


def test_budgets_in_one_pack_are_made_together(again):
    """Nested budgets share their jobs, give the same rows, and leave a budget that is added later to itself."""
    rows = (again.folder / "results/accuracy.csv").read_text().splitlines()
    together = {"attacks": {"epsilons": [[0.04, 0.08]]}}
    assert again.would_run(changes=together) == {
        "make_attack_set": 2,
        "extract_queries_pgd": 1,
        **searched("pgd"),
        "evaluate_defense_pgd": 1,
        **REPORT,
    }
    again.run(changes=together)
    assert sorted((again.folder / "results/accuracy.csv").read_text().splitlines()) == sorted(rows)
    added = {"attacks": {"epsilons": [[0.04, 0.08], 0.1]}}
    assert again.would_run(changes=added) == {
        "make_attack_set": 2,
        "extract_queries_pgd_eps_0_1": 1,
        **searched("pgd_eps_0_1"),
        "evaluate_defense_pgd_eps_0_1": 1,
        "collect_rows": 1,
        "plot_fig5": 1,
    }


def lists_in(folder) -> dict:
    """Bytes of all lists of neighbours by their place within a span or the merged ones."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "results/neighbors").rglob("*.npz"))
    }


def test_lists_do_not_depend_on_shards_and_batches(again):
    """Other shards and other batches give the same bytes: merged lists of the base run, and of one cut otherwise."""
    before = {place: content for place, content in lists_in(again.folder).items() if "/merged/" in place}
    changes = {"shard_rows": 50, "index": {"rows_per_job": 70}, "attacks": {"together": [["pgd"]]}}
    again.run("results/accuracy.csv", changes=changes)
    after = lists_in(again.folder)
    assert len(before) == 10
    assert {place: after[place] for place in before} == before


@pytest.mark.slow
def test_overlap_grid(again):
    """Another overlap costs its attack database and its attack set; shares where shards end anyway cut none."""
    white_box = {"pool": "Targeted", "sizes": [60], "overlaps": [0.5], "neighbors": 5}
    attacks = {"methods": {"pgd_fs": {"steps": 1}}, "white_box": white_box}
    again.run("results/fig6.pdf", changes={"attacks": attacks})
    attacks = {"attacks": {**attacks, "white_box": {**white_box, "overlaps": [0, 0.5]}}}
    assert again.would_run("results/fig6.pdf", changes=attacks) == {
        "extract_features": 1,  # the images behind the database that overlap 0 needs: 180-240
        "encode_features_Targeted": 1,
        "search_span_clean": 1,  # clean images in the new shard
        "gather_knowledge": 1,
        "make_attack_set": 1,
        "extract_queries_pgd_fs_eps_0_08_Targeted_120_overlap_0": 1,
        **searched("pgd_fs_eps_0_08_Targeted_120_overlap_0"),
        "evaluate_defense_pgd_fs_eps_0_08_Targeted_120_overlap_0": 1,
        "plot_fig6": 1,
    }


def test_added_layer_leaves_existing_files_alone(again):
    before = {path: path.stat().st_mtime_ns for path in (again.folder / "results").rglob("*.npy")}
    again.run(changes={"features": {"layers": ["conv_4_1", "conv_3_1"]}})
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())
    assert (again.folder / "results/predictions/small/conv_3_1/clean.npz").exists()


def test_other_neighbors_import_no_torch(again):
    """The rerun works with a torch that cannot be imported."""
    broken = again.folder / "scripts/torch.py"
    broken.write_text("raise ImportError('torch was imported')\n")
    again.run(changes={"votes": {"neighbors": [3, 7]}, "base": {"neighbors": 7}})
    rows = (again.folder / "results/accuracy.csv").read_text()
    assert ",7,CBW-D,soft," in rows
    assert ",3,CBW-D,soft," in rows
