"""An attack of another package is run by the workflow, and runs again when its own code changes."""

from pathlib import Path

import numpy as np
import pytest

from tests.unit.plugin_cases import write_package

from .conftest import Project
from .test_extending import COIN

pytestmark = pytest.mark.xdist_group("workflow")

TARGET = "results/attacks/raw01/gray_box/coin/eps-0.04.npz"
CHANGES = {"attacks": {"methods": {"coin": {"share": 0.5}}}}
SET = {"make_attack_set": 1}


def test_an_attack_of_another_package(again: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    files = {"__init__.py": "", "coin.py": COIN, "other.py": "x = 1\n"}
    write_package(site, {"attacks": {"coin": "theirs.coin:Coin"}}, files)
    refused = again.run(TARGET, "-n", changes=CHANGES, check=False)
    assert "attacks.methods: 'coin' is unknown; allowed: " in refused.stdout + refused.stderr
    monkeypatch.setenv("PYTHONPATH", str(site))
    assert again.would_run() == {}
    assert again.would_run(TARGET, changes=CHANGES) == SET
    again.run(TARGET, changes=CHANGES)
    with np.load(again.folder / TARGET) as stored:
        np.testing.assert_allclose(stored["0.04/delta_raw01"], 0.5 * 0.04, rtol=1e-4)
    assert again.would_run(TARGET, changes=CHANGES) == {}
    for file, reruns in (("other.py", {}), ("coin.py", SET)):
        with (site / "theirs" / file).open("a") as handle:
            handle.write("y = 2\n")
        assert again.would_run(TARGET, changes=CHANGES) == reruns, file
