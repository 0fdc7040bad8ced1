"""What all recipes share: names, resolving, identity, and errors in one sentence."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from workbench.errors import WorkbenchError
from workbench.recipes.nearest import nearest, nearest_key

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# Marks a field that changes how a stage runs or is called but not what it makes: it is no part of the
# artifact's identity.
NOT_IDENTITY: dict[str, Any] = {"identity": False}

# Mark a field that names files. Where they lie does not matter, what is in them does: see Plan.
PATH: dict[str, Any] = {"path": "files", **NOT_IDENTITY}
PATH_OR_NAME: dict[str, Any] = {"path": "file or name"}  # a file, or an artifact where no such file is
FUNCTION: dict[str, Any] = {"path": "function"}  # FILE.py:NAME

PYTHON_DOCS = "python-docs"  # a source that is no path: the documentation inside this Python
HUB = "hf:"  # how a source begins that is no path: hf:ORG/NAME
WEB = ("https://", "http://")  # how others begin that are none

Reads = str | tuple[str, ...]
"""Kind of artifact that a field names, or several that will do."""


class Reference(NamedTuple):
    """One artifact that a recipe names."""

    role: str  # the field; `field.0`, `field.1`, ... where it is a list
    name: str
    kinds: tuple[str, ...]


def check_name(name: str) -> str:
    """A name that is safe as a folder's name everywhere; raises `ValueError` otherwise."""
    if not NAME_PATTERN.fullmatch(name) or name.endswith(".partial"):
        raise ValueError(f"{name!r} cannot be a name: use up to 64 letters, digits, dots, dashes and underscores")
    return name


Name = Annotated[str, AfterValidator(check_name)]

WeightedNames = Annotated[
    list[str],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    PlainSerializer(lambda names: names[0] if len(names) == 1 and "=" not in names[0] else names),
]
"""Artifacts that a field names, each as `name` or `name=weight`; a single one stands without a list."""


class Section(BaseModel):
    """A recipe or a part of one: unknown keys are errors, and so are NaN and infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    called: ClassVar[str] = "section"  # in errors: what it is to whom wrote it


class Recipe(Section):
    """One stage. Subclasses declare what they read and make, and a `stage` literal."""

    produces: ClassVar[str]  # kind of artifact
    reads: ClassVar[Mapping[str, Reads]] = {}  # field that names an artifact, or a list of them -> its kind
    default_name: ClassVar[str] = ""  # a format string over the recipe's fields

    stage: str
    name: Name | None = Field(
        None,
        description="What to call the result. A name in use gets a new version; the earlier ones stay.",
        json_schema_extra=NOT_IDENTITY,
    )

    def resolved(self) -> Recipe:
        """The recipe with every derived value set. Resolving twice changes nothing.

        Raises `WorkbenchError` for an impossible combination.
        """
        return self

    def title(self) -> str:
        """The name of what it makes, given or by default."""
        if self.name:
            return self.name
        values = self.model_dump()
        for field in self.reads:
            if isinstance(values[field], list):
                values[field] = "-".join(weighted(text)[0] for text in values[field])
        return self.default_name.format(**values)[:64].rstrip("-._")

    def references(self) -> list[Reference]:
        """The artifacts that it names."""
        found = []
        for field, kinds in self.reads.items():
            value = getattr(self, field)
            kinds = (kinds,) if isinstance(kinds, str) else kinds
            if isinstance(value, list):
                found += [Reference(f"{field}.{n}", weighted(text)[0], kinds) for n, text in enumerate(value)]
            elif value is not None:
                found.append(Reference(field, value, kinds))
        return found

    def absolute(self, base: Path) -> Self:
        """The recipe with its files' paths made absolute; relative ones start at `base`."""
        update: dict[str, Any] = {}
        for name, path in _marked(type(self)):
            value = getattr(self, name)
            if isinstance(value, list):
                update[name] = [_absolute(item, base, path) for item in value]
            elif value is not None:
                update[name] = _absolute(value, base, path)
        return self.model_copy(update=update)

    def contents(self) -> list[str]:
        """The files whose contents decide what is made."""
        found: list[str] = []
        for name, path in _marked(type(self)):
            value = getattr(self, name)
            if value is not None and path == "files":
                found += value if isinstance(value, list) else [value]
            elif value is not None and path == "function":
                found.append(value.rpartition(":")[0])
        return found

    def engine_name(self) -> str:
        """Which engine runs it."""
        return getattr(self, "engine", "corpus")

    def model_engine(self) -> str | None:
        """The engine that is to open the models it reads, in place of the usual ones."""
        return None

    def weight_format(self) -> str | None:
        """The number format of weights, as `Capabilities.weight_formats` calls it, that its engine has to know."""
        return None

    def launcher(self) -> str:
        """How its engine's processes are started, as `Capabilities.launchers` calls it."""
        launch = getattr(self, "launch", None)
        return "local" if launch is None else launch.kind

    def uses_accelerator(self) -> bool:
        """Whether it waits for the training device, or runs beside a training."""
        return False

    def identity(self) -> dict[str, Any]:
        """The plain values that decide what is made; references to artifacts count through their own identities."""
        plain = _identity(self, skip=set(self.reads))
        for field in self.reads:
            value = getattr(self, field)
            if isinstance(value, list) and any("=" in text for text in value):
                plain[field] = [weighted(text)[1] for text in value]
        return plain

    def to_yaml(self) -> str:
        import yaml

        plain = self.model_dump(mode="json", exclude_none=True)
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _identity(section: Section, skip: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    plain: dict[str, Any] = {}
    for name, info in type(section).model_fields.items():
        extra = info.json_schema_extra
        if name in skip or (isinstance(extra, dict) and extra.get("identity") is False):
            continue
        value = getattr(section, name)
        plain[name] = _identity(value) if isinstance(value, Section) else json.loads(json.dumps(value, default=str))
    return plain


def weighted(text: str) -> tuple[str, float]:
    """`name=0.7` as the name and its weight, which is 1 if not given.

    Raises `WorkbenchError` if the weight is no positive number.
    """
    name, equals, number = text.partition("=")
    try:
        weight = float(number) if equals else 1.0
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise WorkbenchError(f"{text!r} gives {name} the weight {number!r}.", f"Give a number above 0: {name}=0.5")
    return name, weight


def _marked(kind: type[Section]) -> list[tuple[str, str]]:
    """(field, what its path is) of the fields that name files."""
    return [
        (name, str(info.json_schema_extra["path"]))
        for name, info in kind.model_fields.items()
        if isinstance(info.json_schema_extra, dict) and "path" in info.json_schema_extra
    ]


def _absolute(text: str, base: Path, path: str) -> str:
    if not text.strip():
        raise WorkbenchError("An empty path names no file.", "Give a file or a folder; . is the one that you are in.")
    if text == PYTHON_DOCS or text.startswith((HUB, *WEB)):
        return text
    found = os.path.normpath(base / Path(text).expanduser())
    if path == "file or name" and not os.path.isfile(found):
        return text
    return found


def validate(kind: type[Section], values: Mapping[str, Any]) -> Any:
    """`kind` made from plain values.

    Raises `WorkbenchError` with one sentence about the first thing that is wrong.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise explain(error, kind) from None


def explain(error: ValidationError, kind: type[Section]) -> WorkbenchError:
    """pydantic's findings as one sentence, with the nearest valid choice."""
    # An unknown key first: the value that is "missing" elsewhere is often the one misspelt here.
    found = sorted(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    first = found[0]
    path = ".".join(str(part) for part in first["loc"])
    value = first.get("input")
    more = f" ({len(found) - 1} more after this one.)" if len(found) > 1 else ""
    context = {name: _short(bound) for name, bound in first.get("ctx", {}).items()}
    match first["type"]:
        case "extra_forbidden":
            what = f"Unknown key {path!r} in the {label(kind)}."
            return WorkbenchError(what, f"{nearest_key(path, key_paths(kind))}{more}")
        case "missing":
            flag = f"--{path.split('.')[-1].replace('_', '-')}"
            remedy = f"Set it in the file, or with {flag}." if issubclass(kind, Recipe) else "Add it."
            return WorkbenchError(f"The {label(kind)} lacks {path!r}.", f"{remedy}{more}")
        case "literal_error" | "enum":
            choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            return WorkbenchError(f"{path} cannot be {shown(value)}.", f"{nearest(str(value), choices)}{more}")
        case "value_error":
            sentence = str(context.get("error", first["msg"]))
            where = f"{path}: " if path else ""
            return WorkbenchError(f"{where}{sentence.rstrip('.')}.", more.strip())
        case "model_type" | "model_attributes_type" | "dict_type":
            keys = [key.removeprefix(f"{path}.") for key in key_paths(kind) if key.startswith(f"{path}.")]
            what = f"{path} is {shown(value)}, but should be a section with keys of its own."
            listed = f"Its keys: {', '.join(keys)}." if keys else ""
            return WorkbenchError(what, f"{listed}{more}".strip())
        case fault:
            plain = EXPECTED.get(fault)
            expected = plain.format(**context) if plain else first["msg"].removeprefix("Input should be ").rstrip(".")
            return WorkbenchError(f"{path} is {shown(value)}, but should be {expected}.", more.strip())


# pydantic's type of error -> what the value should be; the names in braces are pydantic's `ctx`.
EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "list_type": "a list, as in [one, two]",
    "tuple_type": "a list, as in [one, two]",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
}


def _short(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def shown(value: Any) -> str:
    """A value as YAML would have it, cut to 60 characters."""
    if value is None or value == []:
        return "empty"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def label(kind: type[Section]) -> str:
    stage = kind.model_fields.get("stage")
    return f"{stage.default} recipe" if stage is not None and stage.default else kind.called


def key_paths(kind: type[Section], prefix: str = "") -> list[str]:
    """All keys of a recipe class, nested ones dotted."""
    paths = []
    for name, info in kind.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            paths += key_paths(annotation, f"{prefix}{name}.")
        else:
            paths.append(prefix + name)
    return paths
