"""Numbers of jobs at scale, from dry runs: no file of a database is made."""

import pytest

from .conftest import TINY, Project, by_script

pytestmark = pytest.mark.xdist_group("workflow")

MILLION = 1 << 20
LAYERS = ["conv_2_1", "conv_3_1", "conv_4_1", "conv_4_1-RMAC"]


def scaled(shards: int, **more: object) -> dict:
    """Two pools of so many shards, four layers, 49 query sets: three attacks, four budgets, two boxes and spaces."""
    rows = shards * MILLION
    return {
        "images": {"web": {**TINY["images"]["web"], "rows": 4 * rows}},
        "sizes": [[rows // 1000, rows // 100, rows // 10, rows]],
        "features": {"layers": [LAYERS], "keep": False, "pca_samples": 100000},
        "attacks": {
            "methods": {"fgsm": {}, "pgd": {}, "cw": {}},
            "epsilons": [[0.02, 0.04, 0.06, 0.08]],
            "spaces": ["raw01", "standardized"],
        },
        **more,
    }


@pytest.mark.parametrize(("shards", "most"), [(100, 3500), pytest.param(1000, 20000, marks=pytest.mark.slow)])
def test_jobs_follow_shards_plus_searches_not_their_product(tmp_path, shards: int, most: int) -> None:
    project = Project.create(tmp_path / "project")
    jobs = project.would_run("results/accuracy.csv", changes=scaled(shards))
    assert sum(jobs.values()) <= most
    found = by_script(jobs)
    # The sample of the PCA, and the first size where it is smaller, are shards of their own.
    assert found["extract_codes_All"] in range(shards, shards + 4)
    spans = -(-shards * MILLION // (1 << 25))
    # Clean images, and each attack in each of the two spaces, in four layers of two pools.
    assert found["search_span"] in range(7 * 8 * spans, 7 * 8 * (spans + 2))


@pytest.mark.slow
def test_what_is_added_at_a_hundred_shards(tmp_path) -> None:
    """Jobs of a larger experiment, without those of the smaller one: dry runs from nothing, subtracted."""
    project = Project.create(tmp_path / "project")

    def jobs(changes: dict) -> dict[str, int]:
        return project.would_run("results/accuracy.csv", changes=changes)

    def added(changes: dict) -> dict[str, int]:
        more = jobs(changes)
        return {name: count - before.get(name, 0) for name, count in more.items() if count != before.get(name, 0)}

    base = scaled(100)
    before = jobs(base)
    budget = added({**base, "attacks": {**base["attacks"], "epsilons": [[0.02, 0.04, 0.06, 0.08], 0.1]}})
    assert by_script(budget) == {
        "make_attack_set": 12, "extract_queries": 6, "search_span": 6 * 8 * 4, "merge_neighbors": 6 * 8, "vote": 6 * 4,
        "evaluate_defense": 6,
    }  # fmt: skip
    rows = 100 * MILLION
    size = added({**base, "sizes": [*base["sizes"], rows + 4 * MILLION]})
    assert by_script(size) == {"extract_codes_All": 4, "extract_codes_Targeted": 4, "search_span": 7 * 8}
    layer = added({**base, "features": {**base["features"], "layers": [LAYERS, "conv_3_1-RMAC"]}})
    assert not {"extract_features", "extract_codes_All", "extract_queries_clean"} & set(layer)
    assert layer["extract_codes_conv_3_1_RMAC_All"] == before["extract_codes_All"]
    assert by_script(layer)["search_span"] == 7 * 2 * 4
