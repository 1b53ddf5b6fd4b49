"""Document every configuration key from the schema: `python -m nndefense.document > config/README.md`."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nndefense.config import read_schema

HEAD = """# Configuration

`config.yaml` is the default experiment, on drawn images. Two ways to change it:

- A file that names a `dataset` stands alone; what it leaves out takes the defaults below. The presets are such files:
  `snakemake results/cifar10/fig5.pdf --configfile config/cifar10.yaml --config data=FOLDER`.
- Any other file changes only the keys it names, on top of `config.yaml` or of the file before it:
  `snakemake results/accuracy.csv --configfile config/ablations/neighbors.yaml`.

Numbers on the command line (`--config`) arrive as text within nested keys; use files for anything but `data` and
`seed`. A wrong key, name or value ends with one line that names it and says what is allowed.

This page is made from `schemas/config.schema.yaml` by `make docs`; a test compares them.
"""


def resolve(part: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A part of the schema with its reference replaced by what it points to."""
    if "$ref" in part:
        return {**schema["$defs"][part["$ref"].rsplit("/", 1)[1]], **part}
    return dict(part)


def kind_of(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The allowed values of a key, in words."""
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    kinds = part.get("type", "any")
    kinds = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    if kinds == ["array"]:
        return f"list of {kind_of(resolve(part['items'], schema), schema)}"
    words = {"object": "mapping", "string": "text"}
    text = " or ".join(words.get(kind, kind) for kind in kinds)
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    bounds = [f"{sign} {part[name]}" for name, sign in limits.items() if name in part]
    return f"{text} {', '.join(bounds)}".strip()


def default_of(name: str, part: Mapping[str, Any], parent: Mapping[str, Any]) -> str:
    """The default of a key, or that it is required."""
    if "default" in part:
        return f"`{json.dumps(part['default'])}`"
    return "required" if name in parent.get("required", []) else "—"


def table(prefix: str, parent: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Table rows of an object's keys, and of the keys below them."""
    for name, reference in parent.get("properties", {}).items():
        part = resolve(reference, schema)
        if "const" in part:
            continue
        key = f"{prefix}{name}"
        cells = [f"`{key}`", kind_of(part, schema), default_of(name, part, parent), part.get("description", "")]
        yield f"| {' | '.join(cells)} |"
        yield from table(f"{key}.", part, schema)
        free = part.get("additionalProperties")
        if isinstance(free, dict):
            yield from table(f"{key}.*.", resolve(free, schema), schema)


def document(schema: Mapping[str, Any]) -> str:
    """The configuration page, Markdown."""
    heads = ["| key | values | default | meaning |", "|---|---|---|---|"]
    lines = [HEAD, "## Keys", "", "`*` stands for a name of your choice.", "", *heads, *table("", schema, schema)]
    for name, part in schema["$defs"].items():
        if name.startswith("images_"):
            kind = name.removeprefix("images_")
            lines += ["", f"## Image sets of kind `{kind}`", "", part["description"], "", *heads]
            lines += table("images.*.", part, schema)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    sys.stdout.write(document(read_schema(root / "schemas" / "config.schema.yaml")))
