"""Text from outside, such as names of classes and files, on a terminal, in a log, in a message: data, never commands.

What documents and figures need besides is in `nndefense.report.markup` and `nndefense.report.style`.
"""

import re
import unicodedata

# Joiners, without which words of some scripts and emoji fall apart; they start nothing.
_JOINERS = "\u200c\u200d"
_BREAKS = re.compile(r" *[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029][\s\x1c-\x1e\x85]*")


def visible(text: str) -> str:
    """Text on one line in which nothing acts: what cannot be printed is written as Python writes it, `\\x1b`, `\\n`.

    That is what is no letter, mark, number, sign or blank: controls of a terminal, ends of lines, changes of the
    direction of writing, and bytes of file names that are no UTF-8.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """A message as `visible`, but for ends of lines and tabs, which become a blank."""
    return visible(_BREAKS.sub(" ", text))


def visible_lines(text: str) -> str:
    """Several lines, each as `visible`."""
    return "\n".join(map(visible, text.split("\n")))


def _shown(letter: str) -> str:
    if letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs":
        return letter
    return letter.encode("unicode_escape").decode()
