"""Reads recipe and pipeline files, and finds the recipe class of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.recipes.assess import AssessRecipe
from workbench.recipes.base import Recipe, nearest, validate
from workbench.recipes.benchmark import BenchmarkRecipe
from workbench.recipes.chats import (
    CandidatesRecipe,
    CollectRecipe,
    ImportChatRecipe,
    ImportPreferencesRecipe,
    JudgeRecipe,
)
from workbench.recipes.corpus import ImportRecipe, ShardsRecipe
from workbench.recipes.export import ExportRecipe
from workbench.recipes.fields import nested
from workbench.recipes.instructions import SelfInstructRecipe, TemplateChatRecipe
from workbench.recipes.models import ImportModelRecipe, MergeAdapterRecipe
from workbench.recipes.preference import DpoRecipe, KtoRecipe, OrpoRecipe, RewardRecipe
from workbench.recipes.pretrain import PretrainRecipe
from workbench.recipes.reinforcement import GrpoRecipe, PpoRecipe
from workbench.recipes.sft import ContinueRecipe, SftRecipe
from workbench.recipes.tokenizer import ExtendTokenizerRecipe, ImportTokenizerRecipe, TokenizerRecipe

STAGES: dict[str, type[Recipe]] = {
    "import": ImportRecipe,
    "tokenizer": TokenizerRecipe,
    "import-tokenizer": ImportTokenizerRecipe,
    "extend-tokenizer": ExtendTokenizerRecipe,
    "shards": ShardsRecipe,
    "pretrain": PretrainRecipe,
    "import-chat": ImportChatRecipe,
    "template-chat": TemplateChatRecipe,
    "self-instruct": SelfInstructRecipe,
    "import-preferences": ImportPreferencesRecipe,
    "candidates": CandidatesRecipe,
    "collect": CollectRecipe,
    "judge": JudgeRecipe,
    "ppo": PpoRecipe,
    "grpo": GrpoRecipe,
    "import-model": ImportModelRecipe,
    "sft": SftRecipe,
    "continue": ContinueRecipe,
    "reward": RewardRecipe,
    "dpo": DpoRecipe,
    "orpo": OrpoRecipe,
    "kto": KtoRecipe,
    "merge-adapter": MergeAdapterRecipe,
    "export": ExportRecipe,
    "benchmark": BenchmarkRecipe,
    "assess": AssessRecipe,
}

POSITIONAL = {
    "import": "sources",
    "import-model": "source",
    "import-tokenizer": "source",
    "extend-tokenizer": "tokenizer",
    "merge-adapter": "model",
    "import-chat": "sources",
    "template-chat": "sources",
    "self-instruct": "sources",
    "import-preferences": "sources",
    "judge": "candidates",
    "assess": "models",
    "export": "model",
}  # fmt: skip
"""The key that a stage's verb takes without a flag."""


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """The recipe that plain values (a YAML mapping) describe.

    Raises `WorkbenchError` if the stage is unknown or a value is wrong.
    """
    stage = values.get("stage")
    if stage is None:
        raise WorkbenchError("The recipe does not say its stage.", f"Add one of: stage: {' | '.join(STAGES)}.")
    kind = STAGES.get(str(stage))
    if kind is None:
        raise WorkbenchError(f"There is no stage {stage!r}.", nearest(str(stage), list(STAGES)))
    return validate(kind, values)


def read_recipes(path: Path, settings: Sequence[str] = ()) -> list[Recipe]:
    """The recipes of a YAML file: a mapping is one stage, a list is a pipeline.

    `settings` are `key=value` texts that override keys; in a pipeline `name.key=value` or
    `stage.key=value` says which. Raises `WorkbenchError` naming the file.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkbenchError(
            f"There is no file {str(path)!r}.", "Give the path of a recipe or pipeline in YAML."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise WorkbenchError(f"{path} cannot be read: {error}.", "Give a YAML file in UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is not YAML"
        raise WorkbenchError(f"{path} is not valid YAML{where}: {problem}.", "Mend that line.") from None
    pipeline = isinstance(content, list)
    stages = content if pipeline else [content]
    if not stages or not all(isinstance(stage, dict) for stage in stages):
        raise WorkbenchError(
            f"{path} holds no recipe.", "A recipe is a mapping that begins with `stage:`; a pipeline is a list of them."
        )
    for setting in settings:
        _apply(setting, stages, pipeline)
    try:
        return [recipe_from(stage) for stage in stages]
    except WorkbenchError as error:
        raise WorkbenchError(f"{path}: {error.what}", error.remedy) from None


def _apply(setting: str, stages: list[dict[str, Any]], pipeline: bool) -> None:
    import yaml

    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise WorkbenchError(
            f"--set {setting!r} has no value.", "Write it as key=value, for example optimizer.learning_rate=3e-4."
        )
    chosen = stages
    if pipeline:
        target, _, rest = key.partition(".")
        named = [stage for stage in stages if stage.get("name") == target]  # such as a reward model called "judge"
        chosen = named or [stage for stage in stages if stage.get("stage") == target]
        if not chosen or not rest:
            known = [str(stage.get("name") or stage.get("stage")) for stage in stages]
            raise WorkbenchError(
                f"--set {key}: a pipeline needs the stage in front, and there is none called {target!r}.",
                nearest(target, known),
            )
        key = rest
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    for stage in chosen:
        _merge(stage, nested({key: value}))


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
