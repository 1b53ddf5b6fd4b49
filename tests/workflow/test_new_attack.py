"""An attack is added by one file and one registry line: the workflow runs it, and reruns nothing else."""

import csv
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.xdist_group("workflow")

COIN = '''"""Every pixel up or down by chance: as large as an attack, without looking at the model."""

from dataclasses import dataclass, field

import torch

from nndefense.attacks.base import Attack
from nndefense.attacks.budget import scale_to_budget
from nndefense.attacks.noise import random_offsets


@dataclass(frozen=True, kw_only=True)
class Coin(Attack):
    """A random sign for every pixel."""

    restarts: int = field(default=1, init=False)
    share: float = 1.0

    def perturb(self, problem, restart):
        direction, _ = random_offsets(tuple(problem.z.shape), problem.rows, problem.seed, restart)
        return scale_to_budget(problem.z, direction.sign(), self.share * problem.radius, problem.low, problem.high)
'''


def add_attack(folder: Path) -> None:
    (folder / "scripts/nndefense/attacks/coin.py").write_text(COIN)
    registry = folder / "scripts/nndefense/attacks/__init__.py"
    line = "ATTACKS = {\n"
    assert line in registry.read_text()
    registry.write_text(registry.read_text().replace(line, line + '    "coin": "nndefense.attacks.coin:Coin",\n'))


def test_one_file_and_one_line_add_an_attack(again):
    add_attack(again.folder)
    changes = {"attacks": {"methods": {"coin": {"share": 0.5}}}}
    assert again.would_run() == {}
    planned = again.would_run(changes=changes)
    assert planned["make_attack_set"] == 4
    assert not {"train_model", "extract_features", "build_index", "fit_pca"} & set(planned)
    name = "raw01/gray_box/coin/eps-0.08"
    again.run(f"results/accuracy/small/conv_4_1/{name}.csv", changes=changes)
    delta = np.load(again.folder / f"results/attacks/{name}.npz")["delta_raw01"]
    np.testing.assert_allclose(delta, 0.5 * 0.08, rtol=1e-4)
    rows = list(csv.DictReader((again.folder / f"results/accuracy/small/conv_4_1/{name}.csv").read_text().splitlines()))
    assert {(row["attack"], row["setting"], row["n"]) for row in rows} == {("coin", "gray_box", "40")}


def test_an_attack_without_a_registry_line_is_named(finished):
    done = finished.run("-n", changes={"attacks": {"methods": {"coin": {}}}}, check=False)
    assert done.returncode != 0
    assert "attacks.methods: 'coin' is unknown; allowed: cw, fgsm" in done.stdout + done.stderr
