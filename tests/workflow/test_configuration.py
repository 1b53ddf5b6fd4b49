"""Bad configuration and missing input end with one clear line; a good dry run explains itself."""

import pytest

from .conftest import Project

pytestmark = pytest.mark.xdist_group("workflow")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sises": [1]}, "unknown key 'sises'; allowed: run, base_run, dataset"),
        ({"sizes": [100, "many"]}, "sizes.1: 'many' is not allowed; allowed: an integer >= 1"),
        ({"target": "huge"}, "target: 'huge' is unknown; allowed: small, other"),
        ({"votes": {"neighbors": [31]}}, "votes.neighbors: 31 exceeds index.neighbors = 30"),
        ({"attacks": {"settings": ["pink_box"]}}, "'pink_box' is not allowed; allowed: gray_box, black_box"),
        ({"sizes": [60, 100000]}, "sizes: 100000 exceeds the 600 images of pool All; allowed: at most 600"),
        ({"images": {"web": {"color": 1}}}, "images.web: unknown key 'color'"),
        ({"models": {"small": {"weights": "x.pth"}}}, "models.small: needs exactly one of weights, pretrained, train"),
    ],
)
def test_bad_key_gets_one_line(finished: Project, changes: dict, message: str) -> None:
    done = finished.run("-n", changes=changes, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "configuration:" in line]
    assert done.returncode != 0
    assert len(lines) == 1
    assert message in lines[0]
    assert lines[0].count("configuration") == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_missing_images_say_where_to_put_them(again: Project) -> None:
    folder = {"images": {"mine": {"kind": "folder", "root": "nowhere/mine", "size": 32}}}
    done = again.run(changes={**folder, "queries": {"images": "mine"}}, check=False)
    assert done.returncode != 0
    errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error:")]
    assert errors
    assert "nowhere/mine" in errors[0]


def test_missing_weights_are_named(again: Project) -> None:
    weights = {"models": {"loaded": {"architecture": "cifar_resnet8", "weights": "nowhere.pth"}}}
    done = again.run(changes={**weights, "target": "loaded"}, check=False)
    assert done.returncode != 0
    errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error:")]
    assert errors[0] == "error: data/nowhere.pth: no such file"


def test_every_result_names_its_columns_and_interval(finished: Project) -> None:
    header, *rows = (finished.folder / "results/accuracy.csv").read_text().splitlines()
    assert header == (
        "dataset,seed,pool,size,model,features,neighbors,weighting,combination,defense,attack,setting,space,epsilon,"
        "delta_mean,delta_max,accuracy,ci_low,ci_high,n,idle,voters,copies,near"
    )
    # 5 query sets without a defence, and with 2 pools of 2 sizes, 3 weightings and 2 combinations
    assert len(rows) == 5 + 5 * 2 * 2 * 3 * 2
    columns = header.split(",")
    assert {dict(zip(columns, row.split(","), strict=True))["n"] for row in rows} == {"40"}
