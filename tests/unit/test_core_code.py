"""What code a job depends on, in which order packages import, what processor a job gets, what it writes to its log."""

import ast
import importlib
import io
import os
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import nndefense
from nndefense.attacks import ATTACKS
from nndefense.core.devices import claim_device, visible_gpus
from nndefense.core.fingerprint import LIBRARY, Remembered, code_of, fingerprint, module_file, parsed, used_modules
from nndefense.core.params import Params
from nndefense.core.progress import Progress, blocks
from nndefense.core.registry import Entry
from nndefense.core.seeds import derive_seed

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
ORDER = [
    "core",
    "axes",
    "images",
    "models",
    "features",
    "database",
    "retrieval",
    "dictionaries",
    "attacks",
    "defenses",
    "certificates",
    "evaluation",
    "config",
    "flow",
    "report",
]
NO_RULE = {"verify"}


def names(script: str) -> set[str]:
    return {file.relative_to(LIBRARY).as_posix() for file in used_modules(SCRIPTS / script)}


def test_imports_are_followed_also_inside_of_functions():
    used = names("make_attack_set.py")
    assert {"attacks/batches.py", "models/checkpoint.py", "models/build.py", "core/files.py"} <= used
    # It comes with the attack's name, and with it what it imports.
    assert "attacks/pgd.py" not in used
    assert not any(name.startswith(("report/", "config/")) for name in used)


def test_what_was_parsed_is_remembered_by_content(tmp_path, monkeypatch):
    code, memory = tmp_path / "code.py", tmp_path / "memory" / "facts.json"
    code.write_text("import nndefense.core.files, os\nfrom nndefense.axes import shards\nx = 1\n")
    first = Remembered(memory)
    found = first.of(code)
    assert found.names == ("nndefense.core.files", "os", "nndefense.axes", "nndefense.axes.shards")
    first.save()
    monkeypatch.setattr("nndefense.core.fingerprint.parsed", None)
    assert Remembered(memory).of(code) == found
    moved = tmp_path / "moved.py"
    moved.write_bytes(code.read_bytes())
    assert Remembered(memory).of(moved) == found
    monkeypatch.undo()
    code.write_text(code.read_text() + "y = 2\n")
    assert Remembered(memory).of(code).code != found.code


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": ["b"]}', b"\xff", b"null"])
def test_a_memory_that_cannot_be_used_is_none(tmp_path, content):
    code, memory = tmp_path / "code.py", tmp_path / "facts.json"
    code.write_text("x = 1\n")
    memory.write_bytes(content)
    damaged = Remembered(memory)
    assert damaged.of(code) == parsed(code.read_bytes())
    damaged.save()
    assert Remembered(memory).facts == damaged.facts
    # Nor can it be written below a file.
    elsewhere = Remembered(memory / "facts.json")
    assert elsewhere.of(code) == damaged.of(code)
    elsewhere.save()


def test_a_memory_on_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    code, memory = tmp_path / "code.py", tmp_path / "memory" / "facts.json"
    code.write_text("x = 1\n")
    memory.parent.mkdir()
    (memory.parent / "facts.4711").touch()  # of a process that was killed
    full = Remembered(memory)
    full.of(code)

    def write(path, text):
        path.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as changed:
        changed.setattr(Path, "write_text", write)
        full.save()
    assert list(memory.parent.iterdir()) == []
    Remembered(memory).of(code)


def test_comments_docstrings_and_formatting_are_no_code(tmp_path):
    one, other, edited = (tmp_path / name for name in ("a.py", "b.py", "c.py"))
    one.write_text('"""Does."""\n\n\ndef f(x):\n    """Adds one."""\n    # why\n    return x + 1\n')
    other.write_text("def f( x ):\n    return (x  +  1)\n")
    edited.write_text("def f(x):\n    return x + 2\n")
    assert code_of(one) == code_of(other) != code_of(edited)


def test_a_fingerprint_covers_what_is_found_by_name():
    script = SCRIPTS / "make_attack_set.py"
    assert fingerprint(script) == fingerprint(script)
    attack = fingerprint(script, [ATTACKS["pgd"].target])
    assert len({fingerprint(script), attack, fingerprint(SCRIPTS / "vote.py")}) == 3
    with pytest.raises(ValueError, match="names no module"):
        fingerprint(script, ["nndefense.attacks.nothing:Nothing"])


def registry_targets() -> list[tuple[str, str]]:
    """(package, target) of everything in registries, and of strings that name a module of the library."""
    found = []
    for file in LIBRARY.rglob("*.py"):
        place = file.relative_to(LIBRARY).parts
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += [(place[0], text) for text in re.findall(r"^nndefense[.\w]*:\w+$", node.value)]
    return found


def test_registry_entries_can_be_loaded():
    targets = registry_targets()
    assert len(targets) > 30
    for _, target in targets:
        module, _, name = target.partition(":")
        assert module_file(module), target
        assert hasattr(importlib.import_module(module), name), target


def test_packages_import_only_those_before_them():
    """Also by registry strings."""
    for place, package in enumerate(ORDER):
        later = set(ORDER[place + 1 :]) | {"api", "cli", "commands"}
        for file in (LIBRARY / package).rglob("*.py"):
            found = set(re.findall(r"(?:from|import) nndefense\.(\w+)", file.read_text()))
            assert not found & later, f"{file} imports {found & later}"
    for package, target in registry_targets():
        if package in ORDER:
            assert ORDER.index(target.split(".")[1].partition(":")[0]) <= ORDER.index(package), (package, target)


def test_every_package_has_a_place_in_the_order():
    packages = {one.name for one in pkgutil.iter_modules(nndefense.__path__) if one.ispkg}
    assert packages - {"commands"} <= set(ORDER)
    assert {one.name for one in pkgutil.iter_modules(nndefense.__path__) if not one.ispkg} == {"api", "cli"}


def test_packages_hold_no_code_that_rules_would_miss():
    for package in LIBRARY.rglob("__init__.py"):
        text = package.read_text()
        assert package.parent == LIBRARY or "def " not in text, package


@pytest.mark.parametrize(
    "script",
    [
        "certify_queries",
        "certify_votes",
        "collect_rows",
        "describe_retrieval",
        "gather_knowledge",
        "make_pages",
        "make_table",
        "measure_retrieval",
        "merge_neighbors",
        "plot_figure",
        "vote",
        "write_captions",
    ],
)
def test_scripts_after_the_search_import_no_torch_and_no_faiss(script):
    code = f"import sys; sys.argv = ['x']; sys.path.insert(0, {str(SCRIPTS)!r}); import {script}\n"
    code += "assert not {'torch', 'faiss', 'pandas'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_parsing_the_workflow_imports_nothing_heavy():
    code = "import sys; import nndefense.config, nndefense.flow.needs, nndefense.report.pieces as p\n"
    code += "from nndefense.report import PIECES; [p.load_piece(name) for name in PIECES]\n"
    code += "found = {'torch', 'faiss', 'scipy', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
    code += "assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(SCRIPTS)})


def test_every_rule_has_a_script_of_its_name():
    text = "\n".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    used = set(re.findall(r'(?:job|training_job|attack_job|extraction|answering)\(\s*"(\w+)"', text))
    assert set(re.findall(r"^rule (\w+):", text, re.M)) <= used
    assert used == {path.stem for path in SCRIPTS.glob("*.py")} - NO_RULE


def test_rules_files_are_short_and_say_what_they_need_and_make():
    for file in (ROOT / "rules").glob("*.smk"):
        text = file.read_text()
        assert len(text.splitlines()) <= 150, file
        has_rules = re.search(r"^ *(use )?rule\b", text, re.M)
        assert not has_rules or re.match(r'""".+?\n\nNeeds: .+?\nMakes: ', text, re.S), file


def test_library_files_are_short():
    long = {file.name: n for file in SCRIPTS.rglob("*.py") if (n := len(file.read_text().splitlines())) > 300}
    assert not long


def test_params_see_swapped_values_and_code_but_no_order_and_no_place():
    assert repr(Params("s", "c", a=1, b=2)) != repr(Params("s", "c", a=2, b=1))
    assert repr(Params("s", "c", a=True, b=False)) != repr(Params("s", "c", a=False, b=True))
    assert repr(Params("s", "c", a=1)) != repr(Params("s", "d", a=1))
    assert repr(Params("here/s", "c", b=2, a=1)) == repr(Params("there/s", "c", a=1, b=2))


def test_params_are_a_command():
    params = Params(
        "x/do it.py", "code", sizes=[5, 10], name="a b", skip_limit=0.01, none=None, off=False, on=True, empty=[],
        table={"b": 1, "a": None},
    )  # fmt: skip
    expected = "'x/do it.py' --name 'a b' --on --sizes 5 10 --skip-limit 0.01 --table '{\"a\": null, \"b\": 1}'"
    assert str(params) == f"{params}" == expected


def test_an_entry_names_its_module():
    assert Entry("nndefense.attacks.pgd:PGD", "PGD").module == "nndefense.attacks.pgd"


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
        from nndefense.core.devices import claim_device
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
