"""What all recipes share: names, resolving, identity, and errors in one sentence."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from workbench.errors import WorkbenchError

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# Marks a field that changes how a stage runs or is called but not what it makes: it is no part of the
# artifact's identity.
NOT_IDENTITY: dict[str, Any] = {"identity": False}


def check_name(name: str) -> str:
    """A name that is safe as a folder's name everywhere; raises `ValueError` otherwise."""
    if not NAME_PATTERN.fullmatch(name) or name.endswith(".partial"):
        raise ValueError(f"{name!r} cannot be a name: use up to 64 letters, digits, dots, dashes and underscores")
    return name


Name = Annotated[str, AfterValidator(check_name)]


class Section(BaseModel):
    """A recipe or a part of one: unknown keys are errors, and so are NaN and infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Recipe(Section):
    """One stage. Subclasses declare what they read and make, and a `stage` literal."""

    produces: ClassVar[str]  # kind of artifact
    reads: ClassVar[Mapping[str, str]] = {}  # field that names an artifact -> its kind
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
        return self.name or self.default_name.format(**self.model_dump())

    def engine_name(self) -> str:
        """Which engine runs it."""
        return getattr(self, "engine", "corpus")

    def uses_accelerator(self) -> bool:
        """Whether it waits for the training device, or runs beside a training."""
        return False

    def identity(self) -> dict[str, Any]:
        """The plain values that decide what is made; references to artifacts count through their own identities."""
        return _identity(self, skip=set(self.reads))

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
    context = first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            known = key_paths(kind)
            what = f"Unknown key {path!r} in the {label(kind)}."
            return WorkbenchError(what, f"{nearest(path, known)}{more}")
        case "missing":
            remedy = f"Set it in the file, or with --{path.split('.')[-1].replace('_', '-')}.{more}"
            return WorkbenchError(f"The {label(kind)} lacks {path!r}.", remedy)
        case "literal_error" | "enum":
            choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            return WorkbenchError(f"{path} cannot be {value!r}.", f"{nearest(str(value), choices)}{more}")
        case "value_error":
            sentence = str(context.get("error", first["msg"]))
            where = f"{path}: " if path else ""
            return WorkbenchError(f"{where}{sentence.rstrip('.')}.", more.strip())
        case _:
            expected = first["msg"].removeprefix("Input should be ")
            return WorkbenchError(f"{path} is {shown(value)}, but should be {expected.rstrip('.')}.", more.strip())


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def label(kind: type[Section]) -> str:
    stage = kind.model_fields.get("stage")
    return f"{stage.default} recipe" if stage is not None and stage.default else kind.__name__


def nearest(given: str, choices: list[str]) -> str:
    """'Did you mean …?' where something is near, else the list of what there is."""
    near = difflib.get_close_matches(given, choices, 1, cutoff=0.5)
    if not near:  # `learning_rate` for `optimizer.learning_rate`
        near = [choice for choice in choices if choice.split(".")[-1] == given.split(".")[-1]]
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(choices)}."


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
