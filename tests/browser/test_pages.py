"""Pages in a browser: nothing asked of others, nothing cut, all within reach of a keyboard, readable in the dark.

SCREENSHOTS=FOLDER in the environment keeps pictures of all pages there.
"""

import os
from pathlib import Path

import pytest

from .conftest import PAGES

WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
# Contrast of text and of what marks the focus, WCAG 2.2 (1.4.3, without its exception for large text, and 1.4.11).
TEXT, MARK = 4.5, 3.0


def violations(tab) -> list[str]:
    """Rules of axe-core that a page breaks, and where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab).response["violations"]
    return [f"{rule['id']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]]


def faint(tab) -> list[dict]:
    return [one for one in tab.evaluate("look.contrasts()") if one["ratio"] < TEXT]


def hidden_stops(tab) -> list[str]:
    """What Tab does not reach in its order, or where the focus cannot be seen, and why."""
    expected, found = tab.evaluate("look.stops()"), []
    for place, what in enumerate(expected):
        tab.keyboard.press("Tab")
        seen = tab.evaluate("look.focus()")
        if seen["place"] != place:
            found.append(f"{seen['what']} instead of {what}")
        elif seen["outline"] < MARK or not seen["uncovered"]:
            found.append(f"{what}: {'outline' if seen['uncovered'] else 'covered'}")
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_readable(name, width, pages, open_page):
    with open_page(pages[name], width) as tab:
        assert tab.evaluate("look.cut()") == []
        assert [one["what"] for one in tab.evaluate("look.scrollers()") if not one["named"]] == []
        assert len(tab.evaluate("look.contrasts()")) > 10
        papers = set()
        for scheme in SCHEMES:
            tab.emulate_media(color_scheme=scheme)
            papers.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert faint(tab) == []
            if folder := os.environ.get("SCREENSHOTS"):
                shot = Path(folder, f"{name.replace('/', '_')}-{width}-{scheme}.png")
                tab.screenshot(path=shot, full_page=True)
        assert len(papers) == len(SCHEMES)
        assert tab.asked[0] == pages[name].as_uri()
        assert [address[:80] for address in tab.asked[1:] if not address.startswith("data:")] == []
        assert tab.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_what_axe_looks_for(name, pages, open_page):
    """Alternative texts, language, title, headings in their order, names of regions and links, and some 90 more."""
    with open_page(pages[name], 390) as tab:
        assert violations(tab) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_keyboard_reaches_everything(name, width, pages, open_page):
    with open_page(pages[name], width, "light" if width == 390 else "dark") as tab:
        assert hidden_stops(tab) == []


def test_a_table_scrolls_and_details_open_by_keys(pages, open_page):
    with open_page(pages["retrievalguard/table"], 390) as tab:
        wide = tab.locator(".wide").first
        wide.focus()
        tab.keyboard.press("ArrowRight")
        tab.wait_for_function("document.activeElement.scrollLeft > 0")
        tab.locator("summary").focus()
        tab.keyboard.press("Enter")
        assert tab.locator("details li").first.is_visible()
        assert tab.evaluate("look.cut()") == []
        assert faint(tab) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_link_of_the_navigation_shows_its_heading(width, pages, open_page):
    with open_page(pages["overview"], width) as tab:
        for link in tab.locator("nav a").all():
            link.click()
            heading = tab.locator(f"[id='{link.get_attribute('href')[1:]}'] h2")
            box = heading.bounding_box()
            assert 0 <= box["y"] < 800
            at = [box["x"] + 5, box["y"] + 5]
            assert heading.evaluate("(one, at) => one.contains(document.elementFromPoint(...at))", at)


GOOD = (
    "<!doctype html><html lang='en'><title>t</title>"
    "<style>html, :focus {{ color: #000; background: #fff }} {style}</style>"
    "<main><h1>heading</h1>{body}</main></html>"
)


def made(body: str = "", style: str = "") -> str:
    return GOOD.format(body=body, style=style)


@pytest.mark.parametrize(
    ("body", "style"),
    [
        ("<p style='width: 500px'>wide</p>", ""),
        ("<p style='position: relative; left: -50px'>left</p>", ""),
        ("<p style='width: 50px'>unbreakable_word</p>", ""),
        ("<p style='width: 50px; overflow: hidden'>unbreakable_word</p>", ""),
        ("<p style='height: 9px; overflow: hidden'>text</p>", ""),
    ],
)
def test_the_look_for_what_is_cut_finds_it(body, style, open_page):
    with open_page(made("<p>text</p>"), 390) as tab:
        assert tab.evaluate("look.cut()") == []
    with open_page(made(body, style), 390) as tab:
        assert tab.evaluate("look.cut()")


def test_the_look_at_contrasts_knows_its_backgrounds(open_page):
    body = "<div style='background: #000'><p style='color: #767676'>one</p><p style='color: #fff8'>two</p></div>"
    with open_page(made(f"{body}<p style='color: #767676'>three</p>")) as tab:
        ratios = {one["text"]: one["ratio"] for one in tab.evaluate("look.contrasts()")}
    # #767676 is the known grey that is just enough on white; white of 0x88 / 255 on black is #888888.
    assert ratios == pytest.approx({"heading": 21, "one": 4.62, "two": 5.92, "three": 4.54}, abs=0.01)


@pytest.mark.parametrize(
    ("body", "style", "why"),
    [
        ("<a href='#x'>one</a>", "", []),
        ("<a href='#x'>one</a>", "a:focus { outline: none }", ["outline"]),
        ("<a href='#x'>one</a>", "a:focus { outline: 2px solid #ccc }", ["outline"]),
        ("<a href='#x'>one</a><div></div>", "div { position: fixed; inset: 0 }", ["covered"]),
        ("<a href='#x' tabindex='0'>one</a> <a href='#y' tabindex='1'>two</a>", "", ["instead", "instead"]),
    ],
)
def test_the_walk_by_tab_finds_what_is_not_seen(body, style, why, open_page):
    with open_page(made(body, f"a:focus {{ outline: 2px solid #000 }} {style}")) as tab:
        found = hidden_stops(tab)
        assert len(found) == len(why)
        assert all(word in text for word, text in zip(why, found, strict=True))


def test_requests_complaints_and_broken_rules_are_noticed(open_page):
    with open_page(made("<img src='https://example.org/x.png'><script>console.warn('w'); nothing()</script>")) as tab:
        assert "https://example.org/x.png" in tab.asked
        assert {"warning: w", "error: nothing is not defined"} <= set(tab.complaints)
        assert [one.partition(":")[0] for one in violations(tab)] == ["image-alt"]
    scroller = "<div style='overflow-x: auto; width: 50px'>unbreakable_word</div>"
    with open_page(made(scroller)) as tab:
        assert [one["named"] for one in tab.evaluate("look.scrollers()")] == [False]
