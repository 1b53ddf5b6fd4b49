"""Components of somebody else's package: found by entry points, read from their source, part of a job's code."""

import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nndefense.attacks import ATTACKS
from nndefense.axes.queries import Pack
from nndefense.config import load_config
from nndefense.core import fingerprint, plugins, sources
from nndefense.core.errors import ConfigError
from nndefense.flow.needs import NEEDS, check_needs
from nndefense.flow.plan_attacks import PASSES, attack_passes
from tests.unit.config_cases import SMALL
from tests.unit.plugin_cases import FILES, GROUPS, write_package

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def python(folder: Path, code: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run code where the package is installed."""
    environment = {**os.environ, "PYTHONPATH": f"{SCRIPTS}{os.pathsep}{folder}"}
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=folder)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    write_package(folder, GROUPS, FILES)
    return folder


def test_they_stand_wherever_the_others_do_and_nothing_is_imported(place):
    code = """
        import json, sys
        from nndefense.attacks import ATTACKS
        from nndefense.certificates import CERTIFICATES
        from nndefense.config import load_config
        from nndefense.config.document import document, schema
        from nndefense.core.errors import ConfigError
        from nndefense.defenses import DEFENSES, TRAINING
        from nndefense.evaluation import KINDS, SUMMARIES
        from nndefense.flow.models import image_targets
        from nndefense.images import KINDS as IMAGES
        from nndefense.models.architectures import architecture_entry
        from nndefense.report import PIECES
        raw = json.loads(sys.argv[1])
        config = load_config(raw)
        assert config.attacks.methods["coin"].model_dump() == {"restarts": 1, "share": 0.25, "tosses": 3}
        assert config.defenses["mine"].options == {"label_of_mine": "x"}
        assert image_targets(config, "odd") == ["theirs.noise:Noise"]
        assert architecture_entry("tinynet") == "theirs.networks:build"
        assert "A random sign for every pixel." in document() and "Share of the budget." in schema()
        raw["attacks"]["methods"]["coin"]["share"] = 2
        try: load_config(raw)
        except ConfigError as error: refused = str(error)
        assert not {"theirs", "theirs_heavy", "torch"} & set(sys.modules)
        entries = [ATTACKS["coin"], DEFENSES["blend"], CERTIFICATES["always"], KINDS["spread"], TRAINING["lazy"]]
        print(json.dumps([[one.target, one.label, one.needs, one.balls] for one in entries]))
        print(refused, PIECES["fig_mine"], SUMMARIES["mean"].label, IMAGES["noise"].label, sep="|")
    """
    raw = {
        "dataset": "shapes",
        "classes": 10,
        "images": {"train": {"kind": "shapes", "first": 0, "rows": 500}, "odd": {"kind": "noise", "rows": 5}},
        "queries": {"images": "train", "shared": True},
        "models": {"small": {"architecture": "tinynet", "train": {"images": "train", "method": "lazy"}}},
        "target": "small",
        "pools": {"All": {"images": ["train"]}},
        "sizes": [100],
        "features": {"layers": ["conv_4_1"]},
        "attacks": {"methods": {"pgd": {}, "coin": {"share": 0.25}}, "epsilons": [0.06], "settings": ["gray_box"]},
        "defenses": {"mine": {"kind": "blend"}},
        "patches": {"images": "train"},
        "base": {"features": "conv_4_1", "epsilon": 0.06},
    }
    entries, others = python(place, code, json.dumps(raw)).stdout.splitlines()
    every = ["raw01", "standardized", "linf"]
    assert json.loads(entries) == [
        ["theirs.attacks.coin:Coin", "Coin toss", [], ["raw01"]],
        ["theirs.blend:Blend", "Blending", ["patches"], every],
        ["theirs.networks:certify", "Theirs", [], every],
        ["theirs.networks:SPREAD", "Theirs", [], every],
        ["theirs.blend:Lazy", "lazy", [], every],
    ]
    refused, figure, *labels = others.split("|")
    assert refused == "attacks.methods.coin.share: 2 is not allowed; allowed: a number >= 0 and <= 1"
    assert [figure, *labels] == ["theirs.figure:PIECE", "Theirs", "noise"]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installer into a folder of this process: what was read before is forgotten, then and afterwards."""

    def forget():
        for one in (plugins._points, plugins.plugin_packages, sources.source_tree):
            one.cache_clear()
        for one in (fingerprint.facts_of, fingerprint.imported_modules, fingerprint.module_file):
            one.cache_clear()
        fingerprint.used_modules.cache_clear()

    def install(groups, files, name="theirs", folder=tmp_path):
        write_package(folder, groups, files, name)
        monkeypatch.syspath_prepend(folder)
        forget()
        return folder

    yield install
    monkeypatch.undo()
    forget()


def fingerprint_of(target: str = "theirs.attacks.coin:Coin") -> str:
    found = fingerprint.fingerprint(SCRIPTS / "make_attack_set.py", [target])
    assert "theirs" not in sys.modules
    return found


@pytest.mark.parametrize(
    ("file", "text", "counts"),
    [
        ("attacks/coin.py", "# why\n", False),
        ("blend.py", "MORE = 1\n", False),
        ("attacks/coin.py", "MORE = 1\n", True),
        ("helper.py", "MORE = 1\n", True),  # imported with dots
        ("constants.py", "MORE = 1\n", True),  # by what is imported
        ("__init__.py", "MORE = 1\n", True),  # importing the module runs it
        ("attacks/__init__.py", "MORE = 1\n", True),
    ],
)
def test_their_code_is_that_of_jobs_which_use_it(installed, file, text, counts):
    folder = installed(GROUPS, FILES)
    before = fingerprint_of()
    installed(GROUPS, FILES | {file: textwrap.dedent(FILES[file]) + text})
    assert (fingerprint_of() != before) is counts
    installed(GROUPS, FILES, folder=folder / "zz" / "elsewhere")
    assert fingerprint_of() == before


@pytest.mark.parametrize(
    ("groups", "files", "message"),
    [
        (
            {"attacks": {"pgd": "theirs.a:A"}},
            {},
            "in nndefense.attacks of package theirs: the name is taken; allowed: ",
        ),
        ({"attacks": {"a-b": "theirs.a:A"}}, {}, "allowed: a name of 1 to 64 letters, digits and _"),
        ({"attacks": {"mine": "theirs.b:A"}}, {}, "allowed: module:name of a module that is there"),
        ({"attacks": {"mine": "theirs.a"}}, {}, "allowed: module:name of a module that is there"),
        ({"atacks": {"mine": "theirs.a:A"}}, {}, "there is no such group; allowed: nndefense.architectures, "),
        ({"attacks": {"mine": "theirs.a:A"}}, {"a.py": "class A(:\n"}, "registry: module 'theirs.a' cannot be read"),
        (
            {"attacks": {"mine": "theirs.a:A"}},
            {"a.py": "class A:\n    label = NAME\n"},
            "label is NAME; allowed: a text, written out",
        ),
        (
            {"attacks": {"mine": "theirs.a:A"}},
            {"a.py": "class A:\n    needs = 'patches'\n"},
            "needs is 'patches'; allowed: a tuple of names, written out",
        ),
        (
            {"defenses": {"mine": "theirs.a:A"}},
            {"a.py": "class A:\n    needs = ('patch',)\n"},
            "theirs.a:A (mine): needs 'patch'; allowed: answers, ",
        ),
    ],
)
def test_what_is_wrong_is_one_line(installed, groups, files, message):
    installed(groups, {"__init__.py": "", "a.py": "class A:\n    pass\n", **files})

    def read():
        for group in ("attacks", "defenses"):
            check_needs(plugins.plugins(group, ATTACKS), NEEDS)

    with pytest.raises(ConfigError) as caught:
        read()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_packages_may_not_share_a_name(installed):
    files = {"__init__.py": "", "a.py": "class A: ...\n"}
    installed({"images": {"mine": "theirs.a:A"}}, files)
    installed({"images": {"mine": "others.a:A"}}, files, "others")
    with pytest.raises(ConfigError, match=r"the name is taken; allowed: any but folder, mine$"):
        plugins.plugins("images", ["folder"])


def test_what_cannot_be_imported_is_one_line(installed):
    installed(GROUPS, FILES)
    with pytest.raises(ConfigError, match=r"^theirs.attacks.coin:Coin: cannot be imported \(heavy\)$"):
        plugins.plugins("attacks", [])["coin"].load()


def test_the_command_says_so_in_one_line(tmp_path):
    write_package(tmp_path, {"atacks": {"mine": "theirs.a:A"}}, {"__init__.py": ""})
    done = python(tmp_path, "import sys; from nndefense.cli import main; sys.exit(main(['plan']))", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: entry point mine = 'theirs.a:A' in nndefense.atacks of package theirs: ")
    assert done.stderr.count("\n") == 1


def test_a_plan_counts_their_attacks_without_knowing_what_they_cost(monkeypatch):
    config, pack = load_config(SMALL), Pack.parse("raw01/gray_box/pgd/eps-0.06")
    assert attack_passes(config, pack).backward > 0
    monkeypatch.delitem(PASSES, "pgd")
    assert all(map(math.isnan, attack_passes(config, pack)))
