"""A recipe while it is being typed: texts by key, and what is wrong with them. No Textual here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from workbench.errors import WorkbenchError
from workbench.recipes.base import PATH_OR_NAME, Recipe, Section, explain, weighted
from workbench.recipes.fields import RecipeField, nested, recipe_fields, value_at
from workbench.recipes.load import STAGES
from workbench.tui import actions
from workbench.tui.stages import absolute_sources

FIRST = {
    "import": ("sources", "clean", "name"),
    "tokenizer": ("corpus", "kind", "vocab_size", "name"),
    "pretrain": ("corpus", "tokenizer", "model.size", "schedule.max_steps", "name"),
    "export": ("model", "quantization", "name"),
    "benchmark": ("model", "panel", "tasks", "limit", "name"),
}
"""The keys that stand at the top of a stage's form; the rest is folded away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Fields that stand together; `key` is the section's name in the file, "" for those at the recipe's top."""

    key: str
    title: str
    help: str
    fields: tuple[RecipeField, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the texts amount to. `recipe` is None while something is wrong."""

    errors: Mapping[str, WorkbenchError] = field(default_factory=dict)  # by key
    problem: WorkbenchError | None = None  # of the whole: a combination that cannot be
    recipe: Recipe | None = None  # resolved
    derived: Mapping[str, Any] = field(default_factory=dict)  # key -> what an empty field stands for

    @property
    def first_error(self) -> WorkbenchError | None:
        return next(iter(self.errors.values()), self.problem)


class Draft:
    """`texts` holds what was typed, by dotted key; a key that is missing or empty takes its default."""

    def __init__(self, stage: str, texts: Mapping[str, str] | None = None):
        self.stage = stage
        self.kind = STAGES[stage]
        self.fields = {item.path: item for item in recipe_fields(self.kind)}
        self.texts = dict(texts or {})
        self._derived: Mapping[str, Any] = {}

    def first(self) -> tuple[RecipeField, ...]:
        """The fields that matter most."""
        return tuple(self.fields[path] for path in self.first_keys())

    def first_keys(self) -> tuple[str, ...]:
        required = (*(path for path, item in self.fields.items() if item.required), "name")
        return FIRST.get(self.stage, required)

    def groups(self) -> list[Group]:
        """The other fields, by section."""
        shown = {item.path for item in self.first()}
        groups: dict[str, list[RecipeField]] = {}
        for item in self.fields.values():
            if item.path not in shown:
                groups.setdefault(item.group, []).append(item)
        return [
            Group(key=key, title=key or "more", help=self._help_of(key), fields=tuple(items))
            for key, items in sorted(groups.items(), key=lambda pair: pair[0] == "")
        ]

    def _help_of(self, group: str) -> str:
        kind: Any = self.kind
        for part in filter(None, group.split(".")):
            kind = kind.model_fields[part].annotation
        return (kind.__doc__ or "").strip() if group else "The rest of the recipe."

    def set_in(self, group: Group) -> int:
        """How many fields of the group were given a value."""
        return sum(bool(self.texts.get(item.path, "").strip()) for item in group.fields)

    def takes_files(self, item: RecipeField) -> bool:
        """Whether it may name files beside artifacts of the project."""
        found = self.kind.model_fields.get(item.path)
        extra = found.json_schema_extra if found is not None else None
        return isinstance(extra, dict) and extra.get("path") == PATH_OR_NAME["path"]

    def values(self) -> dict[str, Any]:
        """What was typed as values by dotted key, still unchecked."""
        found: dict[str, Any] = {}
        for path, text in self.texts.items():
            item = self.fields[path]
            if not text.strip():
                continue
            if item.name == "sources":
                found[path] = absolute_sources(text)
            elif item.many:
                found[path] = [line for line in text.splitlines() if line]
            else:
                found[path] = text.strip()
        return found

    def check(self) -> Checked:
        """The recipe, or what is wrong, in the words of the command line."""
        try:
            values = self.values()
        except WorkbenchError as error:  # a quotation mark that is not closed
            return Checked(errors={"sources": error}, derived=self._derived)
        try:
            given: Recipe = self.kind.model_validate(nested(values))
        except ValidationError as error:
            errors = _by_key(error, self.kind)
            return Checked(errors=errors, derived=self._derive(values, set(errors)))
        if errors := self._wrong_weights(values):
            return Checked(errors=errors, derived=self._derived)
        try:
            recipe = given.resolved()
        except WorkbenchError as problem:
            return Checked(problem=problem, derived=self._derived)
        self._derived = self._read(recipe)
        return Checked(recipe=recipe, derived=self._derived)

    def _wrong_weights(self, values: Mapping[str, Any]) -> dict[str, WorkbenchError]:
        """Of mixtures: what stands behind a name's = and is no weight."""
        found = {}
        for path, item in self.fields.items():
            try:
                for text in values.get(path, ()) if item.many and item.artifact else ():
                    weighted(text)
            except WorkbenchError as error:
                found[path] = error
        return found

    def _derive(self, values: Mapping[str, Any], wrong: set[str]) -> Mapping[str, Any]:
        """What follows from the values that are right; the newest that is known where nothing follows."""
        usable = {path: value for path, value in values.items() if path not in wrong}
        lacking = {path for path, item in self.fields.items() if item.required and path not in usable}
        for path in lacking:
            usable[path] = [path] if self.fields[path].many else path
        try:
            recipe = self.kind.model_validate(nested(usable)).resolved()
        except (ValidationError, WorkbenchError):
            return self._derived
        hidden = lacking | ({"name"} if lacking and self.kind.reads else set())
        self._derived = {path: value for path, value in self._read(recipe).items() if path not in hidden}
        return self._derived

    def _read(self, recipe: Recipe) -> dict[str, Any]:
        return {path: value_at(recipe, path) for path in self.fields} | {"name": recipe.title()}


def _by_key(error: ValidationError, kind: type[Section]) -> dict[str, WorkbenchError]:
    """Each key's own sentence; `explain` speaks of the first thing only."""
    found: dict[str, WorkbenchError] = {}
    for item in error.errors(include_url=False):
        path = ".".join(part for part in item["loc"] if isinstance(part, str))
        if path in found:
            continue
        if item["type"] == "missing":
            found[path] = WorkbenchError(explain(_single(error, item), kind).what)
        else:
            found[path] = explain(_single(error, item), kind)
    return found


def _single(error: ValidationError, item: Any) -> ValidationError:
    kept: Any = {key: item[key] for key in ("type", "loc", "input", "ctx") if key in item}
    return ValidationError.from_exception_data(error.title, [kept])


def texts_of(stage: str, recipe: Mapping[str, Any]) -> dict[str, str]:
    """What a form of `stage` is filled with to ask for `recipe` (a run's, resolved) again: all that neither is the
    default nor follows from the rest."""
    draft = Draft(stage)
    given = {path: shown_value(value) for path in draft.fields if (value := _at(recipe, path)) is not None}
    draft.texts = {
        path: text for path, text in given.items() if path == "name" or text != shown_value(draft.fields[path].default)
    }
    for path in [path for path in draft.texts if not draft.fields[path].required and path not in draft.first_keys()]:
        text = draft.texts.pop(path)
        checked = draft.check()
        if shown_value(checked.derived.get(path)) != text:
            draft.texts[path] = text
    return draft.texts


def _at(recipe: Mapping[str, Any], path: str) -> Any:
    value: Any = recipe
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def shown_value(value: Any) -> str:
    """A value as it is typed into a field."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n".join(str(item) for item in value)
    return str(value)


def title_of(stage: str) -> str:
    """What a stage is called where it stands alone: "Pretrain", "Import chat", "DPO"."""
    action = actions.BY_ACTION.get(f"everywhere.{stage}")
    if action is not None:
        return action.title
    return stage.upper() if len(stage) <= len("GRPO") else stage.replace("-", " ").capitalize()


def about(item: RecipeField) -> list[str]:
    """What a field takes, and what it is called in the file and on the command line."""
    default = "" if item.artifact or item.many else shown_value(item.default).strip()
    return [text for text in (f"default {default}" if default else "", _bounds(item), item.path, item.flag) if text]


def _bounds(item: RecipeField) -> str:
    low, high = item.minimum, item.maximum
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    return f"from {_number(low)}" if low is not None else f"up to {_number(high)}" if high is not None else ""


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:g}"
