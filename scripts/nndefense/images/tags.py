"""Tag lists: which words, in a caption or among an image's tags, name which class.

A tag list is a JSON object, an entry a class, in the order of labels: the class's name, which is one of its words, and
the list of its other words, synonyms that may consist of several words: `{"tench": ["Tinca tinca"], "goldfish": []}`.
The shipped list `imagenet` has the names that torchvision's weights give to the classes, and those of several words
also written together, as in hashtags.

As a program: write that list anew.
"""

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nndefense.core.errors import InputError
from nndefense.core.files import write_text
from nndefense.images.classes import same_text

SHIPPED = {"imagenet": Path(__file__).with_name("imagenet.json")}
FORM = 'a JSON object with the words of each class, as {"tench": ["Tinca tinca"], "goldfish": []}'
NO_CLASS = -1
SHOWN = 10


class _Parts(dict[int, int | None]):
    """For `str.translate`: letters, marks and digits of any script stay, all else separates words.

    What is not seen (soft hyphens, joiners) is dropped. Marks count as letters because scripts such as Devanagari write
    vowels with them.
    """

    def __missing__(self, code: int) -> int | None:
        category = unicodedata.category(chr(code))
        self[code] = code if category[0] in "LMN" else None if category == "Cf" else ord(" ")
        return self[code]


_PARTS = _Parts()


def split_words(text: str) -> tuple[str, ...]:
    """Words of a text, so that equal ones are spelled equally: in NFC, case-folded, without punctuation."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return tuple(folded.translate(_PARTS).split())


class TagList:
    """Finds classes by their words.

    Words are found as whole words, longest first (by their number of words, then from the left), and what one has
    taken no other can take: `tiger shark` is no tiger. Punctuation is a space. Neither endings nor misspellings are
    known.

    Attributes:
        names: of the classes, in the order of labels.
        labels: name -> label.

    Raises:
        InputError: a word of a class without a letter or digit, or a class twice.
    """

    def __init__(self, classes: Mapping[str, Sequence[str]]) -> None:
        """classes: name -> further words, in the order of labels."""
        self.names = tuple(map(same_text, classes))
        self.labels = {name: label for label, name in enumerate(self.names)}
        if len(self.labels) < len(self.names):
            twice = next(name for label, name in enumerate(self.names) if self.labels[name] != label)
            raise InputError(f"tag list: class {twice!r} stands there twice, spelled with other code points")
        self.known: dict[tuple[str, ...], set[int]] = {}
        for label, (name, others) in enumerate(classes.items()):
            for word in (name, *others):
                parts = split_words(word)
                if not parts:
                    raise InputError(f"tag list: class {name!r} has the word {word!r}; allowed: letters and digits")
                self.known.setdefault(parts, set()).add(label)
        # First part of a word -> numbers of parts of words that start so.
        self.lengths: dict[str, set[int]] = {}
        for parts in self.known:
            self.lengths.setdefault(parts[0], set()).add(len(parts))

    def find(self, text: str) -> set[int]:
        """Labels of all classes that a text names; a word that classes share names all of them."""
        parts = split_words(text)
        places = [
            (-length, start)
            for start, part in enumerate(parts)
            for length in self.lengths.get(part, ())
            if parts[start : start + length] in self.known
        ]
        found: set[int] = set()
        taken: set[int] = set()
        for length, start in sorted(places):
            span = range(start, start - length)
            if taken.isdisjoint(span):
                taken.update(span)
                found |= self.known[parts[start : start - length]]
        return found

    def class_of(self, texts: Iterable[str]) -> int:
        """Label of the class that texts (a caption, or tags) name; -1 where they name none or several."""
        found = set().union(*(self.find(text) for text in texts))
        return found.pop() if len(found) == 1 else NO_CLASS

    def label_of(self, word: str) -> int:
        """Label of a class by its name, or by a word that is its alone.

        Raises:
            InputError: there is no such class, or several share the word.
        """
        if (name := same_text(word)) in self.labels:
            return self.labels[name]
        labels = sorted(self.known.get(split_words(word), ()))
        if len(labels) == 1:
            return labels[0]
        if labels:
            names = ", ".join(self.names[label] for label in labels)
            raise InputError(f"class {word!r} may be each of {names}; allowed: one of these names")
        some = ", ".join(self.names[:SHOWN]) + (", ..." if len(self.names) > SHOWN else "")
        raise InputError(f"class {word!r} is unknown; allowed: a class of the tag list: {some}")


def read_tag_list(name: str) -> TagList:
    """A shipped tag list by its name, or the one in a file.

    Raises:
        InputError: there is no such list, or the file holds something else.
    """
    path = SHIPPED.get(name, Path(name))
    try:
        classes = json.loads(path.read_bytes(), object_pairs_hook=_once)
    except OSError as error:
        cause = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise InputError(f"tag list {name} {cause}; allowed: {', '.join(SHIPPED)}, or the path of {FORM}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"tag list {name} is damaged ({str(error)[:80]}); allowed: {FORM}") from None
    if not isinstance(classes, dict) or not classes:
        raise InputError(f"tag list {name} holds no classes; allowed: {FORM}")
    for one, words in classes.items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError(f"tag list {name}: class {one!r} has {str(words)[:40]} as words; allowed: {FORM}")
    return TagList(classes)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names stand there once: of others, json would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"twice: {next(name for name in names if names.count(name) > 1)}")
    return found


def imagenet_list() -> str:
    """The list `imagenet` as JSON: ImageNet's 1000 classes by the names that torchvision's weights give them."""
    # Takes seconds with its torch, and reading a list must not.
    from torchvision.models import ResNet50_Weights

    names = ResNet50_Weights.IMAGENET1K_V2.meta["categories"]
    parts = {name: split_words(name) for name in names}
    lines = [f"{json.dumps(name)}: {json.dumps([''.join(one)] if len(one) > 1 else [])}" for name, one in parts.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    write_text(SHIPPED["imagenet"], imagenet_list())
