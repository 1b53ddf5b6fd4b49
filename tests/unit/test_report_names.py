"""Names of settings, attacks and defences, and the choice of rows by them."""

import pytest

from nndefense.axes.threat import AttackDatabase
from nndefense.report.grid import row_name
from nndefense.report.names import attack_database, attack_name, defense_name, setting_name
from nndefense.report.paper import counterpart, paper_cells, paper_rows
from nndefense.report.select import layer_depth, swept_pools, table_databases, with_clean

from .synthetic import PARAMS, accuracy_rows


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return accuracy_rows(n=200)


@pytest.mark.parametrize(
    ("setting", "database", "name"),
    [
        ("white_box-Targeted-8000", AttackDatabase("Targeted", 8000), "White box (Targeted-8k)"),
        ("white_box-my_pool-500", AttackDatabase("my_pool", 500), "White box (my_pool-500)"),
        (
            "white_box-All-4000-overlap-0.25",
            AttackDatabase("All", 4000, 0.25),
            "White box (All-4k, overlap 0.25)",
        ),
        ("gray_box", None, "Gray box"),
        ("white_box", None, "White box"),
        ("white_box-Targeted", None, "white_box-Targeted"),
    ],
)
def test_white_box_settings_name_their_database(setting, database, name):
    assert attack_database(setting) == database
    assert setting_name(setting) == name


def test_labels_come_with_the_parameters_and_unknown_names_stay_readable():
    assert [attack_name(name, PARAMS) for name in ("cw", "pgd_fs", "square")] == ["CW-L2", "PGD-FS", "SQUARE"]
    assert [defense_name(name, PARAMS) for name in ("none", "my_defence")] == ["No defence", "my defence"]
    assert (attack_name("pgd", {}), defense_name("alp", {})) == ("PGD", "alp")
    row = {"defense": "alp", "pool": "none", "size": 0, "features": "none"}
    assert row_name(row, PARAMS) == "ALP"
    assert row_name(row | {"pool": "All", "size": 2000, "features": "conv_2_1"}, PARAMS) == "ALP All-2k (conv_2_1)"


def test_white_box_rows_stay_out_of_tables_and_figures_of_unaware_attacks(rows):
    chosen = with_clean(rows, attack="pgd_fs", space="raw01")
    assert {row["setting"] for row in chosen} == {"clean"}


def test_pools_of_several_sizes_in_their_order(rows):
    assert swept_pools(rows) == ["All", "Targeted"]
    assert swept_pools([row for row in rows if row["pool"] == "Train"]) == []


def test_layers_sort_by_depth():
    names = ["conv_10_1", "conv_4_6", "conv_4_10", "conv_2_3"]
    assert sorted(names, key=layer_depth) == ["conv_2_3", "conv_4_6", "conv_4_10", "conv_10_1"]


def test_tables_hold_largest_sizes_with_base_and_rmac_features(rows):
    chosen = table_databases(rows, PARAMS, "weighting", "combination")
    names = {(row["pool"], row["size"], row["features"]) for row in chosen}
    sizes = {"Train": 2000, "All": 4000, "Targeted": 4000}
    assert names == {(pool, size, f"conv_4_1{end}") for pool, size in sizes.items() for end in ("", "-RMAC")}
    assert len(chosen) == len(names) * 3


def test_papers_tables_are_whole():
    assert [len(paper_rows(table)) for table in (1, 2, 3, 4)] == [27, 30, 28, 54]
    table = paper_cells(1, ("setting", "weighting"))
    assert table["IG-1B-Targeted (conv_5_1)"]["gray_box", "CBW-D"] == 0.462
    assert paper_cells(2, ("setting",))["Ensemble adversarial training"] == {("black_box",): 0.051}
    soft = paper_cells(4, ("combination", "setting", "weighting"))
    assert all(soft[name]["soft", *column] == value for name, row in table.items() for column, value in row.items())


@pytest.mark.parametrize(
    ("axes", "name"),
    [
        (("none", "none", "none"), "No defence"),
        (("knn", "Targeted", "conv_4_1"), "IG-1B-Targeted (conv_5_1)"),
        (("knn", "All", "conv_4_1-RMAC"), "IG-50B-All (conv_5_1-RMAC)"),
        (("knn", "Targeted", "conv_4_1-RMAC"), None),
        (("knn", "Elsewhere", "conv_4_1"), None),
        (("image_quilting", "none", "none"), "Image quilting"),
        (("logit_pairing", "none", "none"), "ALP"),
        (("racnn", "none", "none"), "RA-CNN (ResNet-18)"),
        (("my_defence", "none", "none"), None),
    ],
)
def test_rows_have_the_papers_row_of_their_kind(axes, name):
    kind, pool, features = axes
    assert counterpart({"defense": "of_any_name", "pool": pool, "features": features}, kind) == name
