"""A recipe class seen as a flat list of fields: what flags, forms and completions are made from."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from workbench.recipes.base import Reads, Recipe, Section


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeField:
    """One leaf of a recipe: `optimizer.learning_rate` is the flag `--learning-rate`."""

    path: str  # dotted key in the YAML file
    flag: str
    type: type  # str, int, float or bool; of the items where `many`
    many: bool  # a list
    required: bool
    default: Any  # None: derived, or none
    description: str
    unit: str
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    artifact: tuple[str, ...]  # kinds of artifact that it may name; none: it names no artifact

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def group(self) -> str:
        """The section it stands in, "" at the top."""
        return self.path.rpartition(".")[0]


def recipe_fields(kind: type[Recipe]) -> list[RecipeField]:
    """The leaves of `kind` in the order of their definition, without `stage`."""
    return [leaf for leaf in _leaves(kind, "", kind.reads) if leaf.path != "stage"]


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"optimizer.learning_rate": 1}` as `{"optimizer": {"learning_rate": 1}}`."""
    result: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return result


def value_at(recipe: Section, path: str) -> Any:
    """The value of a dotted key."""
    value: Any = recipe
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _leaves(kind: type[Section], prefix: str, reads: Mapping[str, Reads]) -> list[RecipeField]:
    leaves = []
    for name, info in kind.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            leaves += _leaves(annotation, f"{prefix}{name}.", {})
        else:
            leaves.append(_leaf(prefix + name, info, reads.get(name, ())))
    return leaves


def _leaf(path: str, info: FieldInfo, artifact: Reads) -> RecipeField:
    base, many, choices = _plain_type(info.annotation)
    minimum = maximum = None
    for bound in info.metadata:
        if isinstance(bound, (Ge, Gt)):
            minimum = float(getattr(bound, "ge", None) if isinstance(bound, Ge) else bound.gt)  # type: ignore[arg-type]
        if isinstance(bound, (Le, Lt)):
            maximum = float(getattr(bound, "le", None) if isinstance(bound, Le) else bound.lt)  # type: ignore[arg-type]
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    default = info.get_default(call_default_factory=True)
    return RecipeField(
        path=path,
        flag=str(extra.get("flag") or "--" + path.rpartition(".")[2].replace("_", "-")),
        type=base,
        many=many,
        required=info.is_required(),
        default=None if default is PydanticUndefined else default,
        description=info.description or "",
        unit=str(extra.get("unit", "")),
        choices=choices,
        minimum=minimum,
        maximum=maximum,
        artifact=(artifact,) if isinstance(artifact, str) else artifact,
    )


def _plain_type(annotation: Any) -> tuple[type, bool, tuple[str, ...]]:
    """(item type, whether a list, choices) of `int`, `float | None`, `list[str]`, `Literal[...]`, …"""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _plain_type(typing.get_args(annotation)[0])
    if origin in (types.UnionType, typing.Union):
        kinds = [item for item in typing.get_args(annotation) if item is not type(None)]
        return _plain_type(kinds[0])
    if origin is Literal:
        choices = typing.get_args(annotation)
        return type(choices[0]), False, tuple(str(choice) for choice in choices)
    if origin in (list, tuple):
        return _plain_type(typing.get_args(annotation)[0])[0], True, ()
    return annotation, False, ()
