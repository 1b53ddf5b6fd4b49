"""Each escape alone, on any text; and what reaches a terminal or a log."""

import argparse
import io
import subprocess
import sys
from html import unescape
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from docutils.core import publish_parts
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment
from matplotlib.text import Text

from nndefense.commands.images import in_columns, tell_skipped
from nndefense.core.command import Job
from nndefense.core.command import run as run_job
from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.core.progress import Progress
from nndefense.core.skipped import check_skipped
from nndefense.core.text import one_line, visible, visible_lines
from nndefense.report.markup import html, latex, latex_comment, markdown, markdown_table, rst
from nndefense.report.pages.hypertext import html_of
from nndefense.report.sheet import choose_rows
from nndefense.report.style import figure_bytes, new_figure

from .text_cases import HOSTILE, SHOWN

# Letters that begin something somewhere, and others; text of them, with ends of lines.
SIGNS = st.text(alphabet="\\`*_{}[]<>()#+-.!|~$&%^=:/'\" \n\r\t1aé", max_size=30)


def bare(text: str) -> str:
    """Text as documents have it, which do not tell several blanks from one."""
    return " ".join(text.split())


@given(st.text())
def test_visible_text_is_one_line_without_commands(text):
    found = visible(text)
    assert len(found.splitlines()) <= 1
    assert all(letter.isprintable() or letter in "\u200c\u200d" or letter.isspace() for letter in found)
    assert not set(found) & set(map(chr, [*range(32), *range(127, 160), 0x2028, 0x2029]))
    assert visible(found) == found
    assert found.encode().decode() == found
    assert len(one_line(text).splitlines()) <= 1


def test_what_is_written_as_python_does():
    assert visible("a\x1b[31m\x07\n\udc80\u202eb") == "a\\x1b[31m\\x07\\n\\udc80\\u202eb"
    assert visible("né 猫 👩\u200d👧 می\u200cخواهم\u00a0x") == "né 猫 👩\u200d👧 می\u200cخواهم\u00a0x"
    assert one_line("a  b\n\n  c\x1b") == "a  b c\\x1b"
    assert visible_lines("a\x1b\nb\tc") == "a\\x1b\nb\\tc"


@settings(max_examples=150, deadline=None)
@given(SIGNS)
def test_markdown_comes_back_from_the_page(text):
    wanted = bare(text)
    page = html_of(markdown(text))
    assert bare(unescape(page.removeprefix("<p>").removesuffix("</p>"))) == wanted
    page = html_of("\n".join(markdown_table(["h", "h"], [[text, "x"], [text, text]])))
    cells = page.split("<td>")[1:]
    assert [bare(unescape(cell.partition("</td>")[0]).replace("\u00a0", " ")) for cell in cells] == [
        wanted,
        "x",
        wanted,
        wanted,
    ]


@settings(max_examples=150, deadline=None)
@given(SIGNS)
def test_restructured_text_comes_back_from_the_page(text):
    """Alone in a paragraph, and within a sentence; Jinja is asked before."""
    if not text.strip():
        return
    for source, told in ((rst(text.strip()), ""), (f"- Data: {rst(text.strip())}.", "Data: ")):
        rendered = Environment().from_string(source).render()
        body = publish_parts(rendered, writer_name="html", settings_overrides={"report_level": 1})["body"]
        assert "System Message" not in body
        found = bare(unescape("".join(part.partition(">")[2] for part in f">{body}".split("<"))))
        # A bullet list of one, or a paragraph.
        assert found.removeprefix(told).removesuffix("." if told else "") == bare(one_line(text.strip()))


@given(SIGNS)
def test_html_and_latex_have_nothing_that_acts(text):
    assert unescape(html(text)) == one_line(text)
    assert not set("<>\"'") & set(html(text))
    found = latex(text)
    words = [f"\\text{name}{{}}" for name in ("backslash", "bar", "less", "greater")]
    words += [f"\\textascii{name}{{}}" for name in ("tilde", "circum", "grave")]
    for word in (*words, "{[}", "{*}", "-{}-", *(f"\\{sign}" for sign in "&%$#_{}")):
        found = found.replace(word, "")
    assert not set("\\~^<>|`&%$#_{}\n\r") & set(found)
    assert latex(text)[:1] not in ("[", "*")
    assert len(latex_comment(text).splitlines()) == 1


@settings(max_examples=12, deadline=None)
@given(SIGNS)
def test_figures_draw_any_text(text):
    figure, (axes,) = new_figure(2, 2)
    axes.set_title(text)
    axes.plot([0], [0], label=f"{text}.")
    axes.legend(title=text)
    axes.set_xticks([0], [text])
    figure.text(0, 0, text)
    figure_bytes(figure, "svg")
    plt.close(figure)
    assert not any(one.get_parse_math() for one in figure.findobj(Text) if one.get_text())


def test_tags_of_a_contact_sheet_are_one_line():
    import numpy as np

    ((tag, _),) = choose_rows(np.array([HOSTILE]), 1, 1)
    assert tag == visible(HOSTILE)


# -- terminals and logs


def test_errors_are_one_line_whatever_they_name():
    for kind in (ConfigError, InputError, FileFault):
        assert str(kind(f"file {HOSTILE}: bad")) == f"file {SHOWN}: bad"
    assert str(FileFault(OSError(2, "No such file", "a\x1bb"))) == "[Errno 2] No such file: 'a\\x1bb'"
    with pytest.raises(Exception, match="1 of 1") as caught:
        check_skipped({0: HOSTILE}, 1, 0.0)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_jobs_log_visible_text(tmp_path, capsys):
    log = tmp_path / "log"

    def main(arguments, job):
        job.say(f"class {HOSTILE}")
        with Progress(f"list {HOSTILE}", 1, "images", job.log) as progress:
            progress.advance(1, HOSTILE)
        raise ValueError(HOSTILE)

    with pytest.raises(SystemExit):
        run_job(main, argparse.Namespace(log=str(log), threads=1))
    for text in (log.read_text(encoding="utf-8"), capsys.readouterr().err):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "Traceback" in log.read_text(encoding="utf-8")
    said = io.StringIO()
    Job(said, 0, 1).say("two\nlines")
    assert said.getvalue() == "two\nlines\n"


def test_answers_stay_in_their_columns(capsys):
    text = in_columns([("image", "class"), (HOSTILE, "x"), ("猫", HOSTILE)])
    assert len(text.splitlines()) == 3
    assert "\x1b" not in text
    tell_skipped({Path("a\x1b[31m\n\udc80"): f"cannot be read {HOSTILE}"}, 1)
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert told.splitlines()[0].startswith("a\\x1b[31m\\n\\udc80: cannot be read")
    assert len(told.splitlines()) == 2


def test_the_command_tells_of_a_file_in_visible_text(tmp_path):
    command = [sys.executable, "-m", "nndefense.cli", "plan", "--configfile", str(tmp_path / "a\x1b[31m\nb.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
