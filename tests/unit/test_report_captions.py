"""Captions say what the rows say; the report's listing and its pages hold together."""

import itertools
import re
from html import unescape

import pytest
from docutils.core import publish_parts
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from nndefense.config import load_config
from nndefense.core.errors import FileFault
from nndefense.evaluation.rows import format_rows
from nndefense.report.claims.catalog import CLAIMS as ALL_CLAIMS
from nndefense.report.claims.judge import COLUMNS, judge
from nndefense.report.claims.verdicts import headlines, verdict_text
from nndefense.report.markup import rst
from nndefense.report.pages.about import about_piece, about_run
from nndefense.report.pages.captions import (
    NO_CLAIM,
    as_rst,
    caption_of,
    captions,
    findings_of,
    piece_of,
    read_claims,
    seen,
)
from nndefense.report.pages.hypertext import html_of, inline, without_title
from nndefense.report.pages.page import Entry, image, overview, single
from nndefense.report.piece import attack_text
from nndefense.report.pieces import every_piece, labels, load_piece

from .config_cases import SMALL
from .synthetic import PARAMS, expected, outcomes

SETTINGS = ["gray_box", "black_box"]
CLAIMS = [claim for claim in ALL_CLAIMS if claim.id[0] not in "GRS"]
RAW = SMALL | {
    "dataset": "drawn_things",
    "images": {
        "test": {"kind": "shapes", "first": 0, "rows": 500},
        "web": {"kind": "folder", "root": "x"},
    },
    "queries": {"images": "test", "count": 400},
    "models": {
        "one": {"architecture": "cifar_resnet20", "train": {"images": "test", "epochs": 1}},
        "two": {"architecture": "resnet18", "pretrained": "IMAGENET1K_V1"},
    },
    "target": "one",
    "surrogate": "two",
    "pools": {
        "All": {"images": ["web"], "tags": "any"},
        "Targeted": {"images": ["web"], "tags": "task", "sizes": [70]},
    },
    "sizes": [500, 4000],
    "features": {"layers": ["conv_3_1", "conv_4_1"]},
    "attacks": {
        "methods": {"pgd": {"steps": 7}, "fgsm": {}},
        "epsilons": [0.02, [0.06, 0.08]],
    },
    "defenses": {"tvm": {"kind": "tv_minimization"}, "crop_ensemble": {"label": "Crops & more"}},
    "base": {"features": "conv_4_1", "epsilon": 0.06},
}
CONFIG = load_config(RAW)
ABOUT = about_run(CONFIG)
# Whatever the configuration has the axes for.
PIECES = {piece.name: about_piece(piece, CONFIG) for piece in every_piece()}


def judged_from(value, n: int = 400) -> list[dict]:
    return judge(CLAIMS, outcomes(value, n), PARAMS, resamples=60)


@pytest.fixture(scope="module")
def judged() -> list[dict]:
    return judged_from(expected)


def rendered(text: str) -> str:
    """reStructuredText as Snakemake renders it: as a Jinja template, then by docutils."""
    template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(text)
    return publish_parts(template.render(snakemake=None, categories={}, files=[]), writer="html")["body"]


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


# -- captions


def test_every_claim_is_about_a_piece_of_its_name():
    for claim in CLAIMS:
        assert claim.where.startswith(PIECES[piece_of(claim.id)]["heading"])
    assert {piece_of(claim.id) for claim in ALL_CLAIMS if claim not in CLAIMS} == {
        "retrievalguard/table",
        "srd/table",
        "table1_racnn",
    }
    assert piece_of("X1.something") is None


def test_captions_hold_the_verdict_effect_and_interval_of_every_comparison(judged):
    told = 0
    for name, piece in PIECES.items():
        text = words(rendered(as_rst(caption_of(piece, judged, ABOUT))))
        assert "system-message" not in text
        for row, singles in headlines(judged):
            if piece_of(row["id"]) == name:
                told += 1
                effect = f"{row['effect']:+.4f} [{row['ci_low']:+.4f}, {row['ci_high']:+.4f}]"
                assert f"Seen here: {verdict_text((row, singles))}. {effect}: " in text
                assert row["claim"] in text
                assert f"n = {row['n']:,}" in text
                if row["pooled"] > 1:
                    assert f"{sum(one['verdict'] == 'supported' for one in singles)} supported" in text
    assert told == len(headlines(judged))


def test_captions_follow_the_data(judged):
    turned = judged_from(lambda cell: 1 - expected(cell))
    for name in ("fig3", "fig6", "table1"):
        assert "contradicted" not in caption_of(PIECES[name], judged, ABOUT).summary
        found = findings_of(name, turned)
        assert {one.verdict for one in found if "saturates" not in one.id} == {"contradicted"}
        assert "contradicted" in caption_of(PIECES[name], turned, ABOUT).summary


def test_untested_claims_and_pieces_without_claims_say_so():
    rows = judge(CLAIMS, {}, PARAMS, resamples=10)
    caption = caption_of(PIECES["fig5"], rows, ABOUT)
    assert caption.summary == "3 comparisons of 3 claims: 3 not tested."
    assert all(seen(one).startswith("This run has no rows for it") for one in caption.findings)
    assert caption.differences[0].startswith("Images: test images of drawn_things")
    assert caption_of(PIECES["fig2"], rows, ABOUT).summary == NO_CLAIM


def test_whole_run_is_counted(judged):
    summary = caption_of(PIECES["claims"], judged, ABOUT).summary
    assert summary.startswith(f"{len(headlines(judged))} comparisons of {len(CLAIMS)} claims: ")


def test_verdicts_on_average_are_told_in_captions_and_on_the_page():
    def value(cell):
        return expected(cell) + 0.05 * ((cell.pool, cell.weighting) == ("Train", "UW"))

    rows = judged_from(value, 1000)
    caption = caption_of(PIECES["table1"], rows, ABOUT)
    words_of = "supported on average; 6 of 18 comparisons contradicted"
    assert [one.judged for one in caption.findings if one.id.startswith("T1.cbwd")][1] == words_of
    assert "supported (1 of them only on average)" in caption.summary
    assert f"Seen here: {words_of}." in words(rendered(as_rst(caption)))
    assert f"{words_of}</span>" in single(Entry(caption, ""))


def test_captions_set_the_configuration_beside_the_papers(judged):
    texts = caption_of(PIECES["fig5"], judged, ABOUT).differences
    assert "400 test images of drawn_things (synthetic images, 10 classes)" in texts[0]
    assert "one (cifar_resnet20, trained here on test, 1 epoch)" in texts[1]
    assert "two (resnet18, torchvision's IMAGENET1K_V1)" in texts[1]
    assert "All, 500 to 4k images of web (image files); Targeted, 70 images of web (image files) whose tag" in texts[2]
    assert "PGD (steps 7); FGSM; budgets Δ of 0.02, 0.06, 0.08, on raw01 pixels" in texts[3]
    assert "Other defences: TV minimisation (tvm), Crops & more." in texts[4]
    held = caption_of(PIECES["fig5"], judged, ABOUT).shows
    assert held.endswith("Held fixed: conv_4_1 features, K = 50, CBW-D, soft combination.")


def test_captions_are_of_what_the_configuration_has_the_axes_for(judged):
    found = captions(ABOUT, judged)
    assert {"fig1", "fig5", "attacks", "fig9", "table2", "training", "claims"} <= set(found)
    assert not {"fig6", "fig10", "table1_racnn", "fig_racnn"} & set(found)
    assert next(iter(found)) == "fig1"


@given(st.text(st.sampled_from("aA1 *_`|{}%#[]<>\\:.-+'\"Δ"), min_size=1).map(str.split).map(" ".join).filter(bool))
def test_escaped_text_reaches_the_page_unchanged(text):
    assert words(rendered(f"x {rst(text)} x")) == words(f"x {text.replace('<', '&lt;').replace('>', '&gt;')} x")


def test_claims_are_read_as_they_were_written(judged, tmp_path):
    path = tmp_path / "claims.csv"
    rows = judged + judge(CLAIMS[:1], {}, PARAMS, resamples=10)
    path.write_text(format_rows(rows, COLUMNS))
    found = read_claims(path)
    assert [row["verdict"] for row in found] == [row["verdict"] for row in rows]
    assert found[-1]["effect"] == ""
    assert found[0]["effect"] == pytest.approx(rows[0]["effect"], abs=1e-6)
    assert [len(singles) for _, singles in headlines(found)] == [len(singles) for _, singles in headlines(rows)]


@pytest.mark.parametrize("text", ["", "id,where\n", f"{','.join(COLUMNS)}\n{'x,' * (len(COLUMNS) - 1)}x\n"])
def test_damaged_claims_are_one_line(text, tmp_path):
    path = tmp_path / "claims.csv"
    path.write_text(text)
    with pytest.raises(FileFault, match=r"claims\.csv: .*delete it and rerun"):
        read_claims(path)


# -- how the report lists them


def switches(entries: list[dict[str, str]]) -> list[str]:
    """Labels that Snakemake's page turns into a switch (abstract_results.js, getData)."""
    found = []
    for label in list(entries[0])[1:]:
        values = [entry[label] for entry in entries]
        if len(set(values)) == 2 and all(values.count(value) == len(values) / 2 for value in values):
            found.append(label)
    return found if len(found) == 1 else []


@pytest.mark.parametrize("settings", [SETTINGS, ["gray_box"], ["black_box"]])
@pytest.mark.parametrize("category", ["Figures", "Appendix", "Training", "Tables", "Claims"])
def test_the_page_never_has_a_switch(category, settings):
    config = load_config(RAW | {"attacks": RAW["attacks"] | {"settings": settings}})

    def listed(pieces, kinds=("png", "csv")) -> list[dict[str, str]]:
        return [labels(piece, kind, config) for piece in pieces for kind in kinds]

    pieces = [piece for piece in every_piece() if piece.category == category]
    assert pieces
    if category in ("Tables", "Claims"):
        assert not switches(listed(pieces, ("html", "csv")))
    else:
        chosen = [some for count in range(1, len(pieces) + 1) for some in itertools.combinations(pieces, count)]
        assert not any(switches(listed(some)) for some in chosen)
        if category != "Training":
            assert any(switches(listed(some, ("png",))) for some in chosen), "there would be one without the CSV files"


def test_every_piece_is_of_a_known_category():
    known = {"Figures", "Appendix", "Certified retrieval", "Semantic dictionaries", "Training", "Tables", "Claims"}
    assert {piece.category for piece in every_piece()} == known


def test_labels_name_attack_setting_and_what_varies():
    assert labels(load_piece("fig9"), "png", CONFIG) == {
        "what": "Figure \u20079",
        "varies": "N, pool, budget Δ",
        "attack and setting": "FGSM, gray and black box",
        "shown": "figure",
        "file": "PNG",
    }
    assert labels(load_piece("fig10"), "csv", CONFIG)["shown"] == "rows"
    assert labels(load_piece("claims"), "html", CONFIG)["attack and setting"] == "all"
    attacks = {"methods": {"ifgsm": {}}, "epsilons": [0.06], "settings": ["black_box"]}
    other = load_config(RAW | {"attacks": attacks, "base": RAW["base"] | {"attack": "ifgsm"}})
    assert attack_text(load_piece("fig3"), other) == "I-FGSM, black box"
    assert attack_text(load_piece("fig2"), CONFIG) == "PGD, gray box"
    assert attack_text(load_piece("table1"), other) == "I-FGSM, black box"
    assert attack_text(load_piece("table3"), CONFIG) == ""
    assert attack_text(load_piece("fig6"), CONFIG) == "PGD and attacks that know of the defence, white box"


# -- pages


def test_markdown_of_tables_as_html():
    text = "# Title\n\nOne *two* `a_*b*_c` **three**\nmore < 4.\n\n"
    text += "| A | B |\n|---|---|\n| **1 [0, 2]** | *x* |\n| a\\|b | |\n\n- one\n- two\n"
    html = html_of(without_title(text))
    assert "Title" not in html
    assert "<p>One <em>two</em> <code>a_*b*_c</code> <strong>three</strong> more &lt; 4.</p>" in html
    assert "<th scope='col'>A</th><th scope='col'>B</th>" in html
    assert "<tr><td><strong>1 [0,\u00a02]</strong></td><td><em>x</em></td></tr>" in html
    assert "<tr><td>a|b</td><td></td></tr>" in html
    assert "---" not in html
    assert "<ul><li>one</li><li>two</li></ul>" in html
    assert html_of("# A\n## B\n", below=2) == "<h3>A</h3>\n<h4>B</h4>"
    assert inline("2 * 3 * 4 <b>") == "2 * 3 * 4 &lt;b&gt;"


def test_overview_stands_for_itself(judged):
    figure = caption_of(PIECES["fig5"], judged, ABOUT)
    table = caption_of(PIECES["table1"], judged, ABOUT)
    entries = [
        Entry(figure, image(figure, "fig5.png", b"pixels"), {"fig5.csv": b"a,b\n1,2\n"}),
        Entry(table, html_of("| A |\n|---|\n| 1 |\n")),
    ]
    html = overview("A <run>", caption_of(PIECES["claims"], judged, ABOUT), entries)
    assert "<title>A &lt;run&gt;</title>" in html
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", html)
    assert (
        set(re.findall(r'href="#([^"]+)"', html)) == {"run", "fig5", "table1"} == set(re.findall(r'id="(.+?)"', html))
    )
    (alternative,) = re.findall(r'<img [^>]*alt="([^"]+)"', html)
    assert figure.title in alternative
    assert 'download="fig5.csv"' in html
    for caption in (figure, table):
        for one in caption.findings:
            assert one.effect in html
    page = single(entries[1])
    assert table.differences[0] in unescape(page)
    assert "<nav" not in page
