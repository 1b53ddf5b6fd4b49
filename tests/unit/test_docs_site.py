"""The documentation: links lead somewhere, pages load nothing from elsewhere, commands and examples work."""

import argparse
import importlib.util
import json
import posixpath
import re
import shlex
import subprocess
import sys
import types
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

from nndefense.cli import COMMANDS, FORWARDING, main, parsed
from nndefense.commands.run import snakemake_words
from nndefense.models.build import build_model
from nndefense.models.weights import network_state
from tests.unit.certify_case import make_retrieval
from tests.unit.deployed_case import LAYERS, call
from tests.unit.rescore_case import FACTS, WORST, make_run

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "config/README.md"])
# Where addresses stand that a browser asks for by itself, and the only ones that it follows no further.
LOADING = {"src", "srcset", "poster", "data", "href"}
FOLLOWED = {"a", "area"}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Page(HTMLParser):
    """What a page of HTML links to, loads, is linked by, and shows outside of code."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loaded, self.anchors, self.texts, self.silent = [], [], set(), [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.silent += tag in ("code", "script", "style")
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag in FOLLOWED:
            self.links += filter(None, [values.get("href")])
        else:
            self.loaded += [value for name, value in values.items() if name in LOADING]

    def handle_endtag(self, tag):
        self.silent -= tag in ("code", "script", "style")

    def handle_data(self, data):
        self.texts += [data] if not self.silent else []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed; pip install 'nndefense[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Pages by their path in the site."""
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def target(page, address):
    """Path in the site, and anchor, that an address on a page means."""
    parts = urlsplit(address)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path)))
    return (page if not parts.path else path), unquote(parts.fragment)


def test_every_page_is_on_the_site(pages):
    expected = {path.relative_to(ROOT).with_suffix(".html").as_posix() for path in PAGES}
    expected = {re.sub("README.html$", "index.html", one) for one in expected}
    assert expected | {"404.html"} == set(pages)


def test_every_link_and_anchor_leads_somewhere(site, pages):
    lost = []
    for page, found in pages.items():
        # Of the page for what is not found the addresses start at the root of a server.
        for address in found.links if page != "404.html" else []:
            if urlsplit(address).scheme:
                continue
            path, anchor = target(page, address)
            there = pages[path].anchors if path in pages else set()
            if not (site / path).is_file() or (anchor and anchor not in there):
                lost.append((page, address))
    assert not lost


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for page, found in pages.items():
        assert found.loaded
        assert not [one for one in found.loaded if urlsplit(one).netloc], page
    for path in site.rglob("*.css"):
        loaded = re.findall(r"""(?:url\(|@import)\s*["']?([^"')\s]+)""", path.read_text())
        assert not [one for one in loaded if urlsplit(one).netloc], path


def test_what_a_page_loads_is_there(site, pages):
    for page, found in pages.items():
        for address in found.loaded if page != "404.html" else []:
            assert (site / target(page, address)[0]).is_file(), (page, address)


def test_no_markdown_is_left_in_the_text(pages):
    marks = re.compile(r"\*\*|`|\]\(|^\s*\||\n\s*[-|] |\n\d\. ")
    for page, found in pages.items():
        assert not [one for one in found.texts if marks.search(one)], page


def test_headings_have_the_anchors_of_github(site):
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs/hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert hooks.slug("The worst case: what's left & why", "-") == "the-worst-case-whats-left--why"
    assert hooks.slug("`init_run` über Δ", "-") == "init_run-über-δ"
    # But for these, which the theme's scripts stop at.
    assert hooks.slug("0.1.0", "-") == "_010"


# -- commands


def commands(text):
    """Command lines `nndefense …` of a page's blocks."""
    blocks = [block for language, block in FENCED.findall(text) if language in ("", "sh", "console")]
    lines = "\n".join(blocks).splitlines() + re.findall(r"^    (.*)$", FENCED.sub("", text), re.MULTILINE)
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("nndefense ")]
    return [words[1:] for words in found]


def options(command):
    """Options of a command, by its parser's help."""
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[command]).add_arguments(parser)
    return set(re.findall(r"--[a-z][a-z-]*", parser.format_help()))


def test_commands_that_pages_name_are_commands_with_such_options():
    named = {}
    for path in PAGES:
        text = path.read_text()
        spans = re.findall(r"`nndefense ([^`]*)`", FENCED.sub("", text))
        for words in [*commands(text), *(one.split() for one in spans)]:
            assert words[0] in {*COMMANDS, "--version"}, (path, words)
            named.setdefault(words[0], set()).update(one.partition("=")[0] for one in words if one.startswith("--"))
    assert {"init", "doctor", "plan", "predict", "rescore", "compare", "certify"} <= set(named)
    for command, given in named.items():
        if command in COMMANDS and command not in FORWARDING:
            assert given <= options(command), command


def draw(folder, names, count):
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.full((32, 32, 3), 40 * number % 256, np.uint8)).save(folder / name / f"{number}.png")


def test_the_tutorial_can_be_typed(tmp_path, monkeypatch, capsys):
    """Its first command is run; of all others the arguments are parsed, configurations and targets checked."""
    text = (ROOT / "docs/tutorial.md").read_text()
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "pictures/test", ("cat", "dog"), 3)
    draw(tmp_path / "pictures/train", ("cat", "dog"), 60)
    state = network_state(build_model("cifar_resnet8", 2, [0.5] * 3, [0.25] * 3))
    torch.save(state, "mine.pth")
    first, *others = commands(text)
    assert main(first) == 0
    for language, block in FENCED.findall(text):
        if language == "yaml":
            path = re.match(r"# (\S+\.yaml)", block)[1]
            (tmp_path / path).write_text(block)
    assert {first[0], *(words[0] for words in others)} == set(COMMANDS) - {"certify", "fork", "leaderboard"}
    for words in others:
        if words[0] in FORWARDING:
            assert "--snakefile" in snakemake_words(words[1:])
        else:
            assert callable(parsed(words).command)


# -- code


def test_blocks_of_python_are_python():
    for path in PAGES:
        for language, block in FENCED.findall(path.read_text()):
            # A workflow's language has keywords of its own.
            if language == "python" and not re.search(r"^(module|configfile|use rule)", block, re.MULTILINE):
                compile(block, str(path), "exec")


def test_the_notebook_was_executed_from_its_first_cell_to_its_last():
    cells = json.loads((ROOT / "docs/first-look.ipynb").read_text())["cells"]
    coded = [one for one in cells if one["cell_type"] == "code"]
    assert [one["execution_count"] for one in coded] == list(range(1, len(coded) + 1))
    for one in coded:
        compile("".join(one["source"]), "docs/first-look.ipynb", "exec")
        assert {output["output_type"] for output in one["outputs"]} <= {"stream", "execute_result", "display_data"}
        assert {output.get("name", "stdout") for output in one["outputs"]} == ({"stdout"} if one["outputs"] else set())
    assert sum("image/png" in output.get("data", {}) for one in coded for output in one["outputs"]) == 2


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder whose `results` is a small run, and one whose `results` has a retrieval with certificates."""
    pytest.importorskip("foolbox")
    run, guarded = (tmp_path_factory.mktemp(name) for name in ("run", "guarded"))
    make_run(run / "results")
    make_retrieval(guarded / "results")
    answers = run / "results/predictions/net"
    call(
        "collect_rows",
        parts=[answers / system / f"{name}.npz" for system in ("none", LAYERS[0]) for name in ("clean", WORST)],
        facts=json.dumps({"dataset": FACTS["dataset"], "seed": FACTS["seed"]}),
        target="nndefense.evaluation.accuracy:ACCURACY",
        output=run / "results/accuracy.csv",
    )
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for folder in (run, guarded):
        Image.fromarray(pixels).save(folder / "photo.png")
    return run, guarded


def test_examples_of_the_library_run(runs, monkeypatch, capsys):
    run, guarded = runs
    module = types.ModuleType("examples")
    monkeypatch.setitem(sys.modules, "examples", module)
    blocks = [block for language, block in FENCED.findall((ROOT / "docs/api.md").read_text()) if language == "python"]
    assert len(blocks) == 12
    for block in blocks:
        monkeypatch.chdir(guarded if "guarded" in block else run)
        exec(compile(block, "docs/api.md", "exec"), module.__dict__)
    assert module.about.dataset == "shapes"
    assert {"none", "knn"} == set(module.frame["defense"])
    assert module.result.delta.max() <= module.epsilon * (1 + 1e-6)
    printed = capsys.readouterr().out
    assert "soft retrieval leaves" in printed
