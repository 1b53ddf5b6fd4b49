"""Names that would act in a document come out of every figure, table and page as they are."""

from html.parser import HTMLParser
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import yaml
from docutils.core import publish_parts
from jinja2 import Environment
from matplotlib.text import Text

from nndefense.report.markup import latex
from nndefense.report.pages.about import about_run, report_words
from nndefense.report.pages.captions import as_rst, captions
from nndefense.report.pages.hypertext import html_of
from nndefense.report.pages.page import Entry, image, overview, single
from nndefense.report.style import figure_bytes

from .test_index_report import measured  # noqa: F401
from .test_report_certified import path  # noqa: F401
from .test_report_dictionaries import files  # noqa: F401
from .test_report_dictionary_figures import answers, compared  # noqa: F401
from .test_report_pieces import DEFAULT, ROOT, illustrated  # noqa: F401
from .text_cases import HOSTILE, NAMES, PLAIN, SHOWN, SHOWN_SHORT, Cases

FIGURES = [piece for piece in NAMES if piece.partition("/")[2] in ("fig", "clusters", "dictionaries")]
FIGURES += [piece for piece in NAMES if piece.startswith("fig") or piece in ("attacks", "poisoning", "training")]
TAGS = {
    "h1",
    "h2",
    "h3",
    "h4",
    "p",
    "ul",
    "li",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "code",
    "strong",
    "em",
}
HOSTILE_RUN = DEFAULT.model_copy(
    update={
        "dataset": HOSTILE,
        "defenses": {name: one.model_copy(update={"label": HOSTILE}) for name, one in DEFAULT.defenses.items()},
    }
)


class Read(HTMLParser):
    """The elements of a page, its text, and what attributes say."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.text, self.said = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.said += " ".join(value or "" for _, value in attributes)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def cases(tmp_path, request) -> Cases:
    return Cases(tmp_path, request)


@pytest.mark.parametrize("name", FIGURES)
def test_figures(name, cases):
    figure = cases.make(name).figure
    assert figure_bytes(figure, "svg")
    # Those of ticks that are not drawn have no text.
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert not any(text.get_parse_math() for text in texts)
    together = "\n".join(text.get_text() for text in texts)
    assert "\x1b" not in together
    assert SHOWN in together or SHOWN_SHORT in together or name in PLAIN


@pytest.mark.parametrize("name", [piece for piece in NAMES if piece not in FIGURES])
def test_tables(name, cases):
    made = cases.make(name)
    whole = html_of(made.markdown)
    page = Read(whole)
    assert set(page.tags) <= TAGS
    # Wherever the names stand, none of their signs has become markup.
    assert not any(marked in whole for marked in ("<strong>b<", "<em>i<", "<code>c<"))
    assert SHOWN in page.text.replace("\u00a0", " ")
    # Each table's rows have as many cells as its head, so that no bar has made another.
    for block in made.markdown.split("\n\n"):
        if block.startswith("|"):
            rows = html_of(block).split("<tr>")[1:]
            assert len({row.count("<td>") + row.count("<th ") for row in rows}) == 1
    assert "\x1b" not in made.markdown + made.latex
    assert latex(HOSTILE) in made.latex or SHOWN in made.latex
    # Comments take anything; elsewhere its signs are words of LaTeX.
    lines = [line for line in made.latex.splitlines() if not line.startswith("%")]
    assert not any(sign in line for line in lines for sign in ("<script>", "$x^", "_u_"))


def published(text: str) -> Read:
    """What docutils makes of reStructuredText; its complaints are in the page, too."""
    return Read(publish_parts(text, writer_name="html", settings_overrides={"report_level": 1})["body"])


def test_captions_and_pages():
    about = about_run(HOSTILE_RUN)
    found = captions(about, [])
    assert list(found) == [name for name in NAMES if name != "fig_encoders"]
    for caption in found.values():
        page = published(Environment().from_string(as_rst(caption)).render())
        assert SHOWN in page.text.replace("\n", " ")
        assert "System Message" not in page.text
        assert not {"script", "em", "code", "tt"} & (set(page.tags) - {"em"})
        read = Read(single(Entry(caption, image(caption, "x.png", b""))))
        assert SHOWN in read.text
        assert "script" not in read.tags
    read = Read(overview(about["title"], found["claims"], [Entry(one, "") for one in found.values()]))
    assert SHOWN in read.text
    assert "script" not in read.tags


def test_the_description_of_the_report():
    snakemake = SimpleNamespace(config={"dataset": "not this", "report": report_words(HOSTILE_RUN)})
    text = (ROOT / "report/workflow.rst").read_text(encoding="utf-8")
    page = published(Environment().from_string(text).render(snakemake=snakemake, categories={}))
    assert SHOWN in page.text.replace("\n", " ")
    assert "System Message" not in page.text


def test_hostile_names_are_those_that_act():
    """Without escapes, the same text is a formula, a directive, a link and markup."""
    figure = plt.figure()
    figure.text(0, 0, "$x^{$")
    with pytest.raises(ValueError, match="Expected"):
        figure.canvas.draw()
    assert "System Message" in published(f"Dataset {HOSTILE}").text
    assert {"strong", "em", "code"} <= set(Read(html_of(HOSTILE)).tags)
    assert yaml.safe_load(yaml.safe_dump(HOSTILE)) == HOSTILE
