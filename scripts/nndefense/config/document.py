"""The page that documents every configuration key, and the JSON schema, both made from the sections."""

import json
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from nndefense.config.attacks import ATTACK_OPTIONS
from nndefense.config.base import Section
from nndefense.config.defenses import DEFENSE_KINDS, DefenseSection
from nndefense.config.images import IMAGE_KINDS, ImageSection
from nndefense.config.models import METHODS, Recipe
from nndefense.config.sections import Config
from nndefense.core.options import allowed

HEAD = """# Configuration

`config.yaml` is the default experiment, on synthetic images. Two ways to change it:

- A file that names a `dataset` stands alone; what it leaves out takes the defaults below. The presets are such files:
  `snakemake results/cifar10/fig5.pdf --configfile config/cifar10.yaml --config data=FOLDER`.
- Any other file changes only the keys it names, on top of `config.yaml` or of the file before it:
  `snakemake results/accuracy.csv --configfile config/ablations/neighbors.yaml`.

Numbers on the command line (`--config`) arrive as text within nested keys; use files for anything but `data` and
`seed`. A wrong key, name or value ends with one line that names it and says what is allowed.

This page and `schemas/config.schema.json`, which editors can check a file against, are made from the code by
`make docs`; a test compares them.

## Keys

`*` stands for a name of your choice. The keys below `attacks.methods.NAME`, and further ones below `images.*`,
`models.*.train` and `defenses.*`, depend on the attack, kind or method, and follow in sections of their own.
"""
TABLE = ["| key | values | default | meaning |", "|---|---|---|---|"]
# Sections with kinds, by their variants: what they have in common.
COMMON: list[tuple[dict[str, type[Section]], type[Section]]] = [
    (METHODS, Recipe),
    (IMAGE_KINDS, ImageSection),
    (DEFENSE_KINDS, DefenseSection),
]


def document() -> str:
    """The configuration page, Markdown."""
    lines = [HEAD, *TABLE, *_table("", Config)]
    lines += _chapter("Image sets of kind", IMAGE_KINDS, "images.*.", ImageSection)
    lines += _chapter("Training by method", METHODS, "models.*.train.", Recipe)
    lines += _chapter("Attack", ATTACK_OPTIONS, "attacks.methods.{}.", Section)
    lines += _chapter("Defence of kind", DEFENSE_KINDS, "defenses.*.", DefenseSection)
    return "\n".join(lines) + "\n"


def schema() -> str:
    """The JSON schema of the configuration."""
    found = Config.model_json_schema()
    # A defence's kind is its name where it is left out, which a schema cannot say.
    for kinds in found["properties"]["defenses"]["patternProperties"].values():
        kinds["anyOf"] = kinds.pop("oneOf")
        kinds.pop("discriminator")
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _chapter(title: str, models: Mapping[str, type[Section]], prefix: str, common: type[Section]) -> Iterator[str]:
    """A section for each of these models, about the keys that they do not have in common."""
    for name, model in models.items():
        shared = [key for key, field in common.model_fields.items() if _shares(model, key, field)]
        rows = list(_table(prefix.format(name), model, without=shared))
        yield from ["", f"## {title} `{name}`", "", (model.__doc__ or "").strip()]
        yield from ["", *(TABLE + rows if rows else ["No keys of its own."])]


def _shares(model: type[Section], key: str, field: Any) -> bool:
    return key == model.discriminator or model.model_fields[key].annotation == field.annotation


def _table(prefix: str, model: type[Section], without: Sequence[str] = ()) -> Iterator[str]:
    """Table rows of a section's keys, and of the keys below them."""
    for name, field in model.model_fields.items():
        if name in without:
            continue
        key = f"{prefix}{name}"
        cells = [f"`{key}`", _values(model, name), _default(model, name), field.description or ""]
        escaped = [cell.replace("|", "\\|") for cell in cells]
        yield f"| {' | '.join(escaped)} |"
        stars, below = _below(field.annotation)
        if below is not None:
            yield from _table(f"{key}.{stars}", below)


def _variants(model: type[Section], name: str) -> Mapping[str, type[Section]]:
    """The sections that a key tells apart; none for most keys."""
    return next((kinds for kinds, common in COMMON if common is model and common.discriminator == name), {})


def _values(model: type[Section], name: str) -> str:
    if kinds := _variants(model, name):
        return ", ".join(f"`{one}`" for one in kinds)
    return allowed(model.model_fields[name], quote="`").replace(">=", "≥").replace("<=", "≤")


def _default(model: type[Section], name: str) -> str:
    field: Any = model.model_fields[name]
    default = field.default_factory() if field.default_factory else field.default
    if default is PydanticUndefined:
        optional = [one for one in _variants(model, name).values() if not one.model_fields[name].is_required()]
        return "its name" if optional else "required"
    return f"`{json.dumps({} if isinstance(default, BaseModel) else to_jsonable_python(default))}`"


def _below(annotation: Any) -> tuple[str, type[Section] | None]:
    """The section that a value, or each of a mapping's values, is: what all of its kinds have in common."""
    found, arguments = get_origin(annotation), get_args(annotation)
    if found is Annotated:
        return _below(arguments[0])
    if found is dict:
        stars, below = _below(arguments[1])
        return f"*.{stars}", below
    for variants, common in COMMON:
        if set(arguments) == set(variants.values()):
            return "", common
    others = [one for one in arguments if one is not NoneType]
    if len(others) == 1 and len(arguments) == 2:
        return _below(others[0])
    return "", annotation if hasattr(annotation, "model_fields") else None
