"""Which files are inputs of a rule, what processor a job gets, and what it writes to its log."""

import io
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from nndefense import attacks, defenses, images
from nndefense.config import read_schema, validate_config
from nndefense.devices import claim_device, visible_gpus
from nndefense.progress import Progress, blocks
from nndefense.seeds import derive_seed
from nndefense.sources import LIBRARY, module_file, used_modules
from nndefense.workflow import Plan

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
CONFIG = validate_config(
    yaml.safe_load((ROOT / "config.yaml").read_text()), read_schema(ROOT / "schemas/config.schema.yaml")
)


def names(script: str) -> set[str]:
    return {file.relative_to(LIBRARY).as_posix() for file in used_modules(SCRIPTS / script)}


def test_imports_are_followed_also_inside_of_functions():
    used = names("make_attack_set.py")
    assert {"attacks/space.py", "models/checkpoint.py", "models/build.py", "files.py"} <= used
    assert "attacks/pgd.py" not in used  # it comes with the attack's name, and with it what it imports
    with_attack = Plan(CONFIG, ROOT).modules("make_attack_set", attacks.ATTACKS["pgd"])
    assert {"attacks/pgd.py", "attacks/base.py", "attacks/budget.py"} <= {
        (Path.cwd() / file).resolve().relative_to(LIBRARY).as_posix() for file in with_attack
    }
    assert not any(name.startswith(("report/", "images/")) for name in used)


def test_scripts_that_build_networks_use_the_configured_architectures():
    plan = Plan(CONFIG, ROOT)
    for name in ("train_model", "extract_features", "make_attack_set", "evaluate_defense"):
        files = {Path(file).name for file in plan.modules(name)}
        assert "cifar_resnet.py" in files
        assert "torchvision_nets.py" not in files
    assert "cifar_resnet.py" not in {Path(file).name for file in plan.modules("vote")}


def test_registry_entries_name_modules():
    for entry in [*attacks.ATTACKS.values(), *defenses.DEFENSES.values(), *images.KINDS.values()]:
        assert module_file(entry.partition(":")[0])


def test_packages_hold_no_code_that_rules_would_miss():
    for package in LIBRARY.rglob("__init__.py"):
        assert "def " not in package.read_text(), package


@pytest.mark.parametrize(
    "script",
    [
        "collect_accuracy",
        "gather_knowledge",
        "make_claims",
        "make_pages",
        "make_table1",
        "make_table1_racnn",
        "make_table2",
        "make_table3",
        "make_table4",
        "merge_neighbors",
        "plot_fig2",
        "plot_fig3",
        "plot_fig4",
        "plot_fig5",
        "plot_fig6",
        "plot_fig_racnn",
        "plot_training",
        "vote",
        "write_captions",
    ],
)
def test_scripts_after_the_search_import_no_torch_and_no_faiss(script):
    code = f"import sys; sys.argv = ['x']; sys.path.insert(0, {str(SCRIPTS)!r}); import {script}\n"
    code += "assert not {'torch', 'faiss', 'pandas'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_parsing_the_workflow_imports_nothing_heavy():
    code = "import sys; import nndefense.workflow, nndefense.config\n"
    code += "assert not {'torch', 'faiss', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(SCRIPTS)})


def test_packages_import_only_those_before_them():
    order = ["images", "models", "features", "database", "attacks", "defenses", "retrieval", "report"]
    for place, package in enumerate(order):
        for file in (LIBRARY / package).glob("*.py"):
            found = re.findall(r"(?:from|import) nndefense\.(\w+)", file.read_text())
            later = set(found) & set(order[place + 1 :])
            assert not later, f"{file} imports {later}"


def test_every_rule_has_a_script_of_its_name():
    text = "\n".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    used = set(re.findall(r'PLAN\.script\("(\w+)"\)', text))
    assert set(re.findall(r"^rule (\w+):", text, re.M)) <= used
    assert used == {path.stem for path in SCRIPTS.glob("*.py")} - {"verify"}


def test_cpu_mode_hides_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert claim_device(0)[0] == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_no_gpu_means_cpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    assert visible_gpus() == []
    assert claim_device(1) == ("cpu", "computes on the CPU (no GPU found)")


def test_jobs_share_out_the_gpus_that_the_scheduler_granted(tmp_path):
    """Three processes at once on two devices: the first two claim one each, the third shares."""
    program = textwrap.dedent("""
        import sys
        from nndefense.devices import claim_device
        print(*claim_device(1), sep="|", flush=True)
        sys.stdin.read()
    """)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "4,7", "TMPDIR": str(tmp_path), "PYTHONPATH": str(SCRIPTS)}
    processes, answers = [], []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        answers.append(process.stdout.readline().strip())
    for process in processes:
        process.communicate(timeout=30)
    assert answers[:2] == ["cuda|computes on GPU 4", "cuda|computes on GPU 7"]
    assert re.fullmatch(r"cuda\|shares GPU [47] \(all 2 are claimed\)", answers[2])


def test_progress_says_rate_and_time_left():
    log = io.StringIO()
    with Progress("attack", 100, "images", log) as progress:
        progress.advance(100)
    assert re.search(r"attack: 100/100 images, [\d,.]+/s, 0 s so far, ETA 0 s, done", log.getvalue())


def test_blocks_cover_everything_once():
    covered = [place for block in blocks(10, 4) for place in range(block.start, block.stop)]
    assert covered == list(range(10))


def test_seeds_depend_on_every_name():
    seeds = {derive_seed(1), derive_seed(2), derive_seed(1, "a"), derive_seed(1, "b"), derive_seed(1, "a", 1)}
    assert len(seeds) == 5
    assert derive_seed(1, "a") == derive_seed(1, "a")
    assert all(0 <= seed < 2**63 for seed in seeds)
