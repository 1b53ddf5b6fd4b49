"""Options of a component: declared once, as annotated fields of its class.

`steps: Annotated[Count, Field(description="Gradient steps.")] = 10` is checked when an object is made, read from the
class's source by the configuration (which thus imports neither torch nor FAISS), and documented in config/README.md.
"""

import ast
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from nndefense.core.errors import ConfigError
from nndefense.core.sources import named, package_of, source_tree

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

# What annotations and defaults may name besides constants of the modules.
KNOWN: dict[str, Any] = {one.__name__: one for one in (bool, dict, float, int, list, object, str, tuple)}
KNOWN |= {"Annotated": Annotated, "Any": Any, "Field": Field, "Literal": Literal, "Mapping": Mapping, "None": None}
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
LENGTHS = ("min_length", "max_length")


class Options:
    """Base of the frozen dataclasses whose fields are options; `noun` is what messages call them."""

    noun: ClassVar[str] = "component"
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __post_init__(self) -> None:
        own: type = type(self)
        model = _model_of(own)
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        try:
            model.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            wanted = allowed(model.model_fields[name])
            raise ConfigError(f"{self.noun} option {name} is {values[name]!r}; allowed: {wanted}") from None


@cache
def _model_of(cls: type) -> type[BaseModel]:
    hints = get_type_hints(cls, include_extras=True)
    found: dict[str, Any] = {one.name: (hints[one.name], ...) for one in fields(cls) if one.init}
    return create_model(cls.__name__, __config__=STRICT, **found)


# -- in words


def allowed(field: Any, quote: str = "") -> str:
    """What values a pydantic field allows, in words: an integer >= 1; sign, l2. quote: around words to be typed."""
    return _words(field.annotation, field.metadata, quote)


def _words(annotation: Any, metadata: Any = (), quote: str = "") -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [part for one in arguments[1:] for part in getattr(one, "metadata", [one])]
        return _words(arguments[0], [*inner, *metadata], quote)
    if origin in (Union, UnionType):
        first, *others = dict.fromkeys(_words(one, metadata, quote) for one in arguments if one is not NoneType)
        others = ["a list of such" if one == f"a list, each {first}" else one for one in others]
        return " or ".join([first, *others, *(["null"] if NoneType in arguments else [])])
    if origin is Literal:
        return ", ".join(f"{quote}{'null' if one is None else one}{quote}" for one in arguments)
    bounds = [
        f"{sign} {getattr(one, name):g}" for one in metadata for name, sign in SIGNS.items() if hasattr(one, name)
    ]
    if origin in (list, tuple):
        return _list_words(arguments, metadata, quote)
    if patterns := [one.pattern for one in metadata if getattr(one, "pattern", None)]:
        return f"text of the form {quote}{patterns[0].removeprefix('^').removesuffix('$')}{quote}"
    names = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
    if annotation in names:
        return " and ".join([f"{names[annotation]} {bounds[0]}", *bounds[1:]]) if bounds else names[annotation]
    return "anything" if annotation is Any else "a mapping"


def _list_words(arguments: tuple[Any, ...], metadata: Any, quote: str) -> str:
    least, most = (next((getattr(one, name) for one in metadata if getattr(one, name, 0)), 0) for name in LENGTHS)
    several = f" of {least}{'' if least == most else ' or more'}" if least > 1 else ""
    words = _words(arguments[0], quote=quote) if arguments else ""
    if get_origin(arguments[0] if arguments else None) is Literal and not several:
        return f"a list of {words}"
    return f"a list{several}{f', each {words}' if words else ''}"


# -- from the source


@cache
def read_options(target: str) -> dict[str, Any]:
    """Options of the class "module:Class" from its source: name -> (annotation, default), `...` where required.

    Fields of a dataclass, those of its bases before, without fields of `init=False`; or the arguments of `__init__`.
    """
    module, _, name = target.partition(":")
    return _class_options(module, _find(module, name))


@cache
def read_summary(target: str) -> str:
    """First paragraph of the docstring of "module:Class", from its source."""
    module, _, name = target.partition(":")
    text = ast.get_docstring(_find(module, name)) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _find(module: str, name: str) -> ast.ClassDef:
    for node in source_tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    raise ConfigError(f"registry: module {module!r} has no class {name!r}")


def _class_options(module: str, node: ast.ClassDef) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for base in reversed(node.bases):
        if isinstance(base, ast.Name) and (place := _place_of(module, base.id)):
            found |= _class_options(place[0], _find(*place))
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return _argument_options(module, part.args)
        if not isinstance(part, ast.AnnAssign) or "ClassVar" in ast.unparse(part.annotation):
            continue
        if not isinstance(part.target, ast.Name):
            continue
        name = part.target.id
        default = ... if part.value is None else _default(module, part.value)
        if default is SKIPPED:
            found.pop(name, None)
        else:
            found[name] = (_value(module, part.annotation), default)
    return found


SKIPPED = object()


def _default(module: str, node: ast.expr) -> Any:
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "field"):
        return _value(module, node)
    given = {one.arg: one.value for one in node.keywords}
    if "init" in given:
        return SKIPPED
    if "default_factory" in given:
        return _value(module, given["default_factory"])()
    return _value(module, given["default"]) if "default" in given else ...


def _argument_options(module: str, arguments: ast.arguments) -> dict[str, tuple[Any, Any]]:
    plain = arguments.args[1:]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + arguments.defaults
    pairs = [*zip(plain, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return {
        one.arg: (
            Any if one.annotation is None else _value(module, one.annotation),
            ... if default is None else _value(module, default),
        )
        for one, default in pairs
    }


def _place_of(module: str, name: str) -> tuple[str, str] | None:
    """Module and name of a class that a module defines, or imports by `from`: from this library, or its own package."""
    for node in source_tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, name
        if isinstance(node, ast.ImportFrom) and (source := _followed(node, module)):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _place_of(source, alias.name)
    return None


def _followed(node: ast.ImportFrom, module: str) -> str | None:
    """The module that an import of another module names, where that is of this library or of the same package."""
    source = named(node, package_of(module)) if node.level else node.module or ""
    return source if source.partition(".")[0] in ("nndefense", module.partition(".")[0]) else None


def _value(module: str, node: ast.expr) -> Any:
    """An expression's value; names are those of KNOWN, or constants of the module or of those it imports them from."""
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    scope = {name: KNOWN[name] if name in KNOWN else _constant(module, name) for name in names}
    code = compile(ast.Expression(node), f"<{module}>", "eval")
    return eval(code, {"__builtins__": {}}, scope)


@cache
def _constant(module: str, name: str) -> Any:
    """What a module calls `name`: a constant, or a class of options that another's option consists of."""
    for node in source_tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            told, options = ast.get_docstring(node), dict[str, Any](_class_options(module, node))
            return create_model(name, __config__=STRICT, __doc__=told, **options)
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return _value(module, node.value)
        if isinstance(node, ast.ImportFrom) and any((one.asname or one.name) == name for one in node.names):
            original = next(one.name for one in node.names if (one.asname or one.name) == name)
            if source := _followed(node, module):
                return _constant(source, original)
    raise ConfigError(f"{module}: an option's declaration names {name!r}, which is no constant of the library")
