"""Pages of HTML that stand for themselves: a table, the claims, or every figure and table with its caption."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nndefense.report.markup import html
from nndefense.report.pages.captions import LEGEND, Caption, Finding, by_claim, seen
from nndefense.report.pages.hypertext import html_of, without_title

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b6169; --paper: #fff; --sheet: #f5f6f7; --line: #dcdfe3;
  --shade: #0003; --link: #0b57b5; --yes: #17693b; --no: #a8261c; --maybe: #7a5400; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --soft: #a4abb4; --paper: #16181b; --sheet: #202327;
  --line: #383d44; --shade: #fff4; --link: #86b7f7; --yes: #7fd6a2; --no: #f59a90; --maybe: #e6c06a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55; overflow-wrap: break-word;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
a { color: var(--link); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 3px; }
main { min-width: 0; max-width: 76rem; margin: 0 auto; padding: 1.5rem 1.25rem 5rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.4rem 0 1rem; }
h2 { font-size: 1.25rem; margin: 3.2rem 0 0.4rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 0.3rem; }
p, li, dl { max-width: 70ch; }
.soft { color: var(--soft); font-size: 0.93rem; }
nav { border-bottom: 1px solid var(--line); }
nav ul { display: flex; flex-wrap: wrap; gap: 0.1rem 0.9rem; list-style: none; margin: 0; padding: 0.7rem 1.25rem;
  font-size: 0.9rem; }
nav li { min-width: 0; }
nav a { display: inline-block; padding: 0.15rem 0; }
@media (min-width: 60rem) {
  .beside { display: grid; grid-template-columns: 13rem minmax(0, 1fr); }
  .beside nav { position: sticky; top: 0; max-height: 100vh; overflow-y: auto; align-self: start; border: 0; }
  .beside nav ul { display: block; padding: 1.5rem 0.5rem 1.5rem 1.25rem; }
  .beside main { margin: 0; }
}
section { border-top: 1px solid var(--line); margin-top: 2.6rem; }
section h2 { margin-top: 1.4rem; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; padding: 0.6rem; }
/* A shade at the sides where more is to be seen: what scrolls along covers it at either end. */
.wide { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line); border-radius: 6px; background:
  linear-gradient(to right, var(--paper) 40%, transparent) left / 2.5rem 100% no-repeat local,
  linear-gradient(to left, var(--paper) 40%, transparent) right / 2.5rem 100% no-repeat local,
  linear-gradient(to right, var(--shade), transparent) left / 1rem 100% no-repeat scroll,
  linear-gradient(to left, var(--shade), transparent) right / 1rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.65rem; border-bottom: 1px solid var(--line); }
td:first-child { min-width: 9rem; }
thead { background: var(--sheet); }
tbody tr:last-child td { border-bottom: 0; }
code { font-size: 0.92em; background: var(--sheet); padding: 0.05em 0.3em; border-radius: 3px; }
.claim { border-left: 3px solid var(--line); padding: 0.1rem 0 0.1rem 0.9rem; margin: 0.9rem 0; max-width: 72ch; }
.claim p { margin: 0.2rem 0; }
.verdict { font-weight: 650; }
.supported { color: var(--yes); } .contradicted { color: var(--no); } .inconclusive { color: var(--maybe); }
.tested { color: var(--soft); }
.files a { display: inline-block; padding: 0.15rem 0; margin-right: 1rem; }
details { margin: 0.8rem 0; } summary { cursor: pointer; }
@media print { nav { display: none; } .beside { display: block; } section { break-inside: avoid; } }
"""
MARKS = {"supported": "✓", "contradicted": "✗", "inconclusive": "~", "not tested": "–"}
MIME = {"png": "image/png", "csv": "text/csv", "pdf": "application/pdf"}


@dataclass(frozen=True)
class Entry:
    """A figure or table on the page: its caption, its content as HTML, and files to download by name."""

    caption: Caption
    content: str
    files: Mapping[str, bytes] = field(default_factory=dict)


def data_uri(name: str, content: bytes) -> str:
    """A file's content as a data URI; the kind is told by the name's suffix."""
    kind = MIME.get(name.rpartition(".")[2], "application/octet-stream")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def image(caption: Caption, name: str, content: bytes) -> str:
    """An image, with what it shows and the verdicts as its alternative text."""
    text = f"{caption.heading}: {caption.title}. {caption.shows} {caption.summary}"
    return f'<img src="{data_uri(name, content)}" alt="{html(text)}">'


def table(caption: Caption, markdown: str) -> str:
    """A table, or several, without the title that the page gives them; markdown: of the table's file."""
    return html_of(without_title(markdown), below=1, label=caption.heading)


def document(title: str, body: str, navigation: Sequence[tuple[str, str]] = ()) -> str:
    """A whole page; navigation: (id, name) of its sections."""
    links = "".join(f'<li><a href="#{html(anchor)}">{html(name)}</a></li>' for anchor, name in navigation)
    bar = f'<nav aria-label="Sections"><ul>{links}</ul></nav>' if links else ""
    beside = ' class="beside"' if links else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{html(title)}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n'
        f"<body{beside}>\n{bar}\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def single(entry: Entry) -> str:
    """A page of one table with its caption and what this run's data are."""
    caption = entry.caption
    heading = f"<h1>{html(f'{caption.heading}. {caption.title}')}</h1>"
    body = f"{heading}\n{_raised(_body(entry))}\n{_differences(caption)}"
    return document(f"{caption.heading}. {caption.title}", body)


def overview(title: str, about: Caption, entries: Sequence[Entry]) -> str:
    """Every figure and table with its caption and verdicts; about: the whole run."""
    parts = [
        f"<h1>{html(title)}</h1>",
        f"<p>{html(about.summary)}</p>",
        f'<p class="soft">{html(LEGEND)}</p>',
        f'<section id="run"><h2>This run and the paper</h2>{_list(about.differences)}</section>',
    ]
    parts += [
        f'<section id="{entry.caption.name}"><h2>{html(f"{entry.caption.heading}. {entry.caption.title}")}</h2>'
        f"{_body(entry)}</section>"
        for entry in entries
    ]
    navigation = [("run", "This run"), *((entry.caption.name, entry.caption.heading) for entry in entries)]
    return document(title, "\n".join(parts), navigation)


def _body(entry: Entry) -> str:
    caption = entry.caption
    claims = "".join(_claim(one, group) for one, group in by_claim(caption.findings))
    links = "".join(
        f'<a href="{data_uri(name, content)}" download="{html(name)}">{html(name)}</a>'
        for name, content in entry.files.items()
    )
    files = f'<p class="files soft">Download: {links}</p>' if links else ""
    paper = f'<p class="soft">The paper’s own: {html(caption.paper)}.</p>' if caption.paper else ""
    return (
        f"<figure>{entry.content}<figcaption><p>{html(caption.shows)}</p>{paper}</figcaption></figure>{files}"
        f"<h3>What the paper claims, and what was seen here</h3><p>{html(caption.summary)}</p>{claims}"
    )


def _raised(body: str) -> str:
    """A section whose own heading is that of the page: the others stand a level higher."""
    return re.sub(r"(</?h)([3-6])>", lambda found: f"{found[1]}{int(found[2]) - 1}>", body)


def _claim(one: Finding, group: Sequence[Finding]) -> str:
    lines = "".join(
        f'<p><span class="verdict {finding.verdict}"><span aria-hidden="true">{MARKS[finding.verdict]}</span> '
        f"{html(finding.judged)}</span> {html(seen(finding))}</p>"
        for finding in group
    )
    note = f'<p class="soft">{html(one.note)}</p>' if one.note else ""
    where = f'<span class="soft">({html(one.where)})</span>'
    return f'<div class="claim"><p>{html(one.claim)} {where}</p>{lines}{note}</div>'


def _differences(caption: Caption) -> str:
    return f"<details><summary>This run’s data and the paper’s</summary>{_list(caption.differences)}</details>"


def _list(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html(text)}</li>' for text in texts)}</ul>"
