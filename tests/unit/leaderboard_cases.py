"""Entries of a leaderboard for tests."""

from html.parser import HTMLParser

import yaml

from nndefense.evaluation.intervals import wilson_interval

GOOD = {
    "system": "Nearest neighbours",
    "network": "ResNet-8",
    "data": "Drawn images",
    "attacker": "adaptive",
    "ball": "raw01",
    "epsilon": 0.06,
    "n": 200,
    "clean": {"right": 137, "accuracy": 0.685},
    "worst_case": {"right": 22, "accuracy": 0.11, "interval": [0.074, 0.161]},
    "commit": "c81b70f",
    "stated": "docs/results.md",
    "measured": {"by": "somebody", "date": "2026-11-28"},
    "rescored": None,
    "reproduce": "snakemake results/worst_case.md",
}
# Every letter of it can be printed, or a file with it would be refused.
HOSTILE = "<script>alert(1)</script> | **b** `c` [l](javascript:x) \\ &lt; '\" <img src=x> {{ 7*7 }} # _u_"


def changed(**changes):
    """A good entry with other values; a name with a dot is a key of a mapping, `...` takes a key away."""
    entry = yaml.safe_load(yaml.safe_dump(GOOD))
    for name, value in changes.items():
        *outer, key = name.split("__")
        place = entry[outer[0]] if outer else entry
        place[key] = value
        if value is ...:
            del place[key]
    return entry


def scored(n, clean, worst, **changes):
    """A good entry of these counts."""
    interval = [round(one, 3) for one in wilson_interval(worst, n)]
    counts = {"clean": {"right": clean, "accuracy": round(clean / n, 3)},
              "worst_case": {"right": worst, "accuracy": round(worst / n, 3), "interval": interval}}  # fmt: skip
    return changed(n=n, **counts, **changes)


def write(folder, name, entry):
    """The file of an entry."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(entry if isinstance(entry, str) else yaml.safe_dump(entry), encoding="utf-8")
    return path


class Seen(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.texts.append(data)
