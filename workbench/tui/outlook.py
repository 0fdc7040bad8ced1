"""What a recipe will take and make, in words, before it is started. No Textual here."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from workbench import figures
from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe, validate, weighted
from workbench.recipes.benchmark import BenchmarkRecipe
from workbench.recipes.estimate import Estimate, estimate
from workbench.recipes.export import ExportRecipe
from workbench.recipes.mixture import MANY_EPOCHS, whole_shares
from workbench.recipes.preference import KtoRecipe, PreferenceRecipe
from workbench.recipes.pretrain import PretrainRecipe
from workbench.recipes.reinforcement import ReinforcementRecipe
from workbench.recipes.sft import ContinueRecipe, SftRecipe
from workbench.recipes.tokenizer import TokenizerRecipe
from workbench.recipes.tuning import TuningRecipe
from workbench.recipes.tuning_estimate import Shape, TuningEstimate, shape_of, tuning_estimate
from workbench.runs.plan import Step
from workbench.store.project import Project
from workbench.tui import safe
from workbench.tui.live import ArtifactRow
from workbench.tui.model_tree import BITS_A_WEIGHT

COMPUTE_OPTIMAL = 20  # tokens a parameter (Hoffmann et al. 2022)
TIGHT = 0.8  # of the free memory
MOST_NAMED = 4  # tasks without data
K_BLOCK = 256  # weights that llama.cpp's K formats quantise together: rows of another width fall back


@dataclass(frozen=True, slots=True)
class Fact:
    """`more` is what there is room for on wide screens only; `style` the name of a component class of `Painted`."""

    what: str
    value: str
    more: str = ""
    style: str = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a finished training was; `run` says which."""

    flops_per_second: float
    run: str


def free_memory_bytes() -> int | None:
    """What processes can still have of this machine's main memory; None where a GPU will do the training."""
    if shutil.which("nvidia-smi"):
        return None
    import psutil

    return psutil.virtual_memory().available


def named(artifacts: Iterable[ArtifactRow], kind: str, reference: str) -> ArtifactRow | None:
    """The artifact that a recipe means: a name is its newest version."""
    of_kind = [item for item in artifacts if item.kind == kind]
    newest = [item for item in of_kind if item.name == reference]
    return max(newest, key=lambda item: item.version) if newest else next(
        (item for item in of_kind if item.id == reference), None
    )  # fmt: skip


def expect(
    recipe: Recipe, artifacts: Sequence[ArtifactRow], free_bytes: int | None, project: Project | None = None
) -> list[Fact]:
    """What is known of the resolved recipe's run beforehand; of tuning a model only with its `project`."""
    if isinstance(recipe, TuningRecipe) and project is not None:
        return _tuning(recipe, artifacts, free_bytes, project)
    if isinstance(recipe, PretrainRecipe):
        return _training(recipe, artifacts, free_bytes)
    if isinstance(recipe, ExportRecipe):
        return _export(recipe, artifacts)
    if isinstance(recipe, TokenizerRecipe):
        return _tokenizer(recipe, artifacts)
    return []


def measured_speed(artifacts: Sequence[ArtifactRow], engine: str) -> Speed | None:
    """Of the project's newest finished pretraining by `engine`: MLX on a CPU takes 20 times as long as PyTorch."""
    for item in reversed(artifacts):
        rate = item.report.get("tokens_per_second")
        if item.stage != "pretrain" or item.recipe.get("engine") != engine or not rate:
            continue
        vocabulary = _vocabulary(artifacts, item.inputs.get("tokenizer", ("", ""))[1])
        try:
            recipe = validate(PretrainRecipe, item.recipe)
        except WorkbenchError:  # of another version of this program
            continue
        if vocabulary is not None:
            return Speed(flops_per_second=estimate(recipe, vocabulary).flops_per_token * rate, run=item.run or item.id)
    return None


def _training(recipe: PretrainRecipe, artifacts: Sequence[ArtifactRow], free_bytes: int | None) -> list[Fact]:
    vocabulary = _vocabulary(artifacts, recipe.tokenizer)
    if vocabulary is None:
        return [Fact("parameters", "known once the tokenizer is made", style="muted")]
    found = estimate(recipe, vocabulary)
    optimum = f"({COMPUTE_OPTIMAL} is compute-optimal)"
    facts = [
        Fact("parameters", figures.count(found.parameters)),
        Fact("trains on", f"{figures.count(found.tokens)} tokens", f"({figures.count(found.tokens_per_step)} a step)"),
        Fact("tok/param", f"{found.tokens_per_parameter:.3g}", optimum),
    ]
    return [
        *facts,
        *_passes(recipe, artifacts, found),
        Fact("compute", f"{found.flops:.2g} FLOPs"),
        _memory(found.memory_bytes, free_bytes),
        _time(found, measured_speed(artifacts, recipe.engine)),
    ]


def _tuning(
    recipe: TuningRecipe, artifacts: Sequence[ArtifactRow], free_bytes: int | None, project: Project
) -> list[Fact]:
    base = named(artifacts, "model", recipe.base)
    if base is None:
        return [Fact("parameters", "known once the base model is made", style="muted")]
    whole = _without_adapters(base, artifacts)
    shape = _shape(str(project.folder(whole.kind) / whole.id / "config.json"))
    parameters = whole.report.get("parameters")
    if shape is None:
        known = figures.count(parameters) if isinstance(parameters, int) else "not known"
        return [Fact("parameters", known), Fact("memory", "not known for this architecture", style="muted")]
    given = _rows(recipe, artifacts)
    found = tuning_estimate(
        recipe, shape, rows=given[0], parameters=parameters if isinstance(parameters, int) else None
    )
    share = found.trained / found.parameters
    adapted = recipe.adapter.lora_rank is not None
    facts = [
        Fact("parameters", figures.count(found.parameters)),
        Fact("trained", f"{figures.count(found.trained)} ({share:.2%})" if adapted else "all of them"),
    ]
    if given[0] is not None:
        what = given[1].removesuffix("s") if given[0] == 1 else given[1]
        facts.append(Fact("data", f"{figures.count(given[0])} {what}"))
    if found.steps is not None:
        most = "" if recipe.schedule.max_steps else "at most "
        what = "answers" if isinstance(recipe, ReinforcementRecipe) else "sequences"
        facts.append(Fact("steps", f"{most}{figures.count(found.steps)}", f"(of {found.sequences} {what})"))
    facts.append(Fact("length", f"{found.length:,} tokens", "(longer ones are cut)"))
    return [*facts, _memory(found.memory_bytes, free_bytes), _tuning_time(recipe, found, artifacts)]


def _without_adapters(model: ArtifactRow, artifacts: Sequence[ArtifactRow]) -> ArtifactRow:
    """The whole model below it: an adapter's folder holds no config."""
    there = {(item.kind, item.id): item for item in artifacts}
    while dict(model.recipe.get("adapter") or {}).get("lora_rank") and model.inputs.get("base") in there:
        model = there[model.inputs["base"]]
    return model


@cache
def _shape(path: str) -> Shape | None:
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError):
        return None
    return shape_of(config) if isinstance(config, dict) else None


def _rows(recipe: TuningRecipe, artifacts: Sequence[ArtifactRow]) -> tuple[int | None, str]:
    """(how many rows there are to learn from, what they are); None where one of the sets is not made yet."""
    names = {"conversations": "rows", "pairs": "pairs", "marks": "marks", "documents": "documents"}
    if isinstance(recipe, SftRecipe):
        what, kind, sets = "conversations", "chats", [weighted(text)[0] for text in recipe.data]
    elif isinstance(recipe, ContinueRecipe):
        what, kind, sets = "documents", "corpus", [recipe.corpus]
    elif isinstance(recipe, PreferenceRecipe):
        what = "marks" if isinstance(recipe, KtoRecipe) else "pairs"
        kind, sets = "preferences", [recipe.preferences]
    else:
        return None, ""
    total = 0
    for name in sets:
        made = named(artifacts, kind, name)
        count = made.report.get(names[what]) if made is not None else None
        if not isinstance(count, int):
            return None, what
        total += count
    return total, what


def _tuning_time(recipe: TuningRecipe, found: TuningEstimate, artifacts: Sequence[ArtifactRow]) -> Fact:
    """By the newest training of the same stage by this engine on a model of this size, with an adapter or without."""
    adapted = recipe.adapter.lora_rank is not None
    for item in reversed(artifacts):
        report = item.report
        alike = (item.stage, item.recipe.get("engine")) == (recipe.stage, recipe.engine)
        alike = alike and bool(report.get("adapter")) == adapted
        known = report.get("seconds"), report.get("steps"), report.get("parameters")
        if not alike or not all(known) or not 0.5 < report["parameters"] / found.parameters < 2:
            continue
        before = dict(item.recipe.get("batch") or {}).get("batch_size")
        if found.steps is not None and before:
            seconds = report["seconds"] / report["steps"] * found.steps * found.sequences / before
            return Fact("time", f"about {figures.duration(seconds)}", f"(at the speed of {safe.line(item.id)})")
    return Fact("time", "measured at its start")


def _vocabulary(artifacts: Sequence[ArtifactRow], tokenizer: str) -> int | None:
    made = named(artifacts, "tokenizer", tokenizer)
    size = made.report.get("vocab_size") if made else None
    return size if isinstance(size, int) else None


def _passes(recipe: PretrainRecipe, artifacts: Sequence[ArtifactRow], found: Estimate) -> list[Fact]:
    """How often each corpus's tokens are gone through; nothing before they were counted."""
    names = recipe.sources()
    counted = [_tokens(name, recipe.tokenizer, artifacts) for name in names]
    tokens = [number for number in counted if number is not None]
    if len(tokens) < len(names):
        return []
    kept = 1 - recipe.data.validation_fraction
    shares = whole_shares(recipe.mixtures(), names, tokens)
    passes = [found.tokens * share / (number * kept) for share, number in zip(shares, tokens, strict=True)]
    style = "warn" if max(passes) > MANY_EPOCHS else "text"
    if len(names) == 1:
        return [Fact("epochs", f"{passes[0]:.3g}", style=style)]
    each = ", ".join(f"{name} {number:.3g}" for name, number in zip(names, passes, strict=True))
    return [Fact("epochs", safe.line(each), style=style)]


def _tokens(corpus: str, tokenizer: str, artifacts: Sequence[ArtifactRow]) -> int | None:
    """Of a corpus in shards that are made."""
    made_from = named(artifacts, "corpus", corpus), named(artifacts, "tokenizer", tokenizer)
    for item in reversed(artifacts):
        if item.kind == "shards" and made_from[0] and made_from[1]:
            same = item.inputs.get("corpus"), item.inputs.get("tokenizer")
            if same == (("corpus", made_from[0].id), ("tokenizer", made_from[1].id)) and item.report.get("tokens"):
                return int(item.report["tokens"])
    return None


def _memory(needed: int, free: int | None) -> Fact:
    if free is None:
        return Fact("memory", figures.size(needed), "(what the GPU has is looked at when it starts)")
    of = f"({figures.size(free)} are free)"
    if needed > free:
        return Fact("memory", f"{figures.size(needed)}: too much", of, "bad")
    if needed > TIGHT * free:
        return Fact("memory", f"{figures.size(needed)}: tight", of, "warn")
    return Fact("memory", f"{figures.size(needed)}: fits", of, "good")


def _time(found: Estimate, speed: Speed | None) -> Fact:
    if speed is None:
        return Fact("time", "measured first")
    seconds = found.flops / speed.flops_per_second
    return Fact("time", f"about {figures.duration(seconds)}", f"(at the speed of {safe.line(speed.run)})")


def _export(recipe: ExportRecipe, artifacts: Sequence[ArtifactRow]) -> list[Fact]:
    model = named(artifacts, "model", recipe.model)
    if model is None:
        return []
    parameters = model.report.get("parameters")
    if not isinstance(parameters, int):
        return [Fact("the model", figures.size(model.bytes))]
    size = figures.size(parameters * BITS_A_WEIGHT[recipe.quantization] / 8)
    width = dict(model.recipe.get("model") or {}).get("hidden_size") or K_BLOCK
    whole = "_k" not in recipe.quantization or width % K_BLOCK == 0
    more = "" if whole else f"(a width of {width} takes larger formats in part)"
    return [
        Fact("parameters", figures.count(parameters)),
        Fact("the model", figures.size(model.bytes)),
        Fact("the export", f"about {size}" if whole else f"above {size}", more),
    ]


def _tokenizer(recipe: TokenizerRecipe, artifacts: Sequence[ArtifactRow]) -> list[Fact]:
    resolved = recipe.resolved()
    assert resolved.sample_mib is not None
    limit = resolved.sample_mib << 20
    whole = learnt = 0
    weights = sum(weighted(text)[1] for text in recipe.corpus)
    for name, weight in map(weighted, recipe.corpus):
        corpus = named(artifacts, "corpus", name)
        size = corpus.report.get("bytes") if corpus else None
        if not isinstance(size, int):
            return []
        whole += size
        learnt += min(size, int(limit * weight / weights))
    share = "all of it" if learnt == whole else f"{figures.size(learnt)} of it"
    return [
        Fact("the corpus" if len(recipe.corpus) == 1 else "the corpora", figures.size(whole)),
        Fact("learns from", share),
    ]


def questions(recipe: BenchmarkRecipe, project: Project) -> list[Fact]:
    """What a benchmark asks, and which data are not here. Reads the harness's files: not for the screen's thread.

    Raises `WorkbenchError` for a panel or a task that there is not.
    """
    from workbench.benchmarks.asked import chosen
    from workbench.benchmarks.tasks import needs

    needed = needs(chosen(project.root, recipe), project.root)
    facts = [Fact("tasks", f"{len(needed):,}")]
    if absent := [item.task for item in needed if item.lacks == "data"]:
        names = ", ".join(absent[:MOST_NAMED]) + (
            f" and {len(absent) - MOST_NAMED:,} more" if len(absent) > MOST_NAMED else ""
        )
        facts.append(
            Fact("to fetch", f"{safe.line(names)}: their data are not here, and come from the hub", style="warn")
        )
    return facts


def sources(recipe_sources: Sequence[str]) -> list[Fact]:
    """What an import of these sources would read. Walks folders: not for the screen's thread.

    Raises `WorkbenchError` for a source that does not exist or holds nothing to read.
    """
    from workbench.corpus.sources import expand

    found = expand(recipe_sources)
    kinds = Counter(file.kind for file in found.files)
    facts = [
        Fact(
            "files",
            f"{len(found.files):,}",
            "(" + ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()) + ")",
        ),
    ]
    if found.size is not None:  # of what has to be fetched it is not known
        facts.append(Fact("on disk", figures.size(found.size)))
    if found.unreadable:
        name, why = found.unreadable[0]
        more = f" and {len(found.unreadable) - 1:,} more" if len(found.unreadable) > 1 else ""
        facts.append(Fact("unreadable", safe.line(f"{name} ({why}){more}"), style="warn"))
    return facts


def steps_in_words(steps: Sequence[Step], artifacts: Sequence[ArtifactRow]) -> list[tuple[str, str, str]]:
    """(what is made, what happens, style name) of each step of a plan."""
    taken: Mapping[tuple[str, str], int] = Counter((item.kind, item.name) for item in artifacts)
    lines = []
    for step in steps:
        what = f"{step.kind} {safe.line(step.name)}"
        match step.action:
            case "made":
                same = "" if step.artifact is None or step.artifact.id == step.name else f" as {step.artifact.id}"
                lines.append((what, f"made already{safe.line(same)}", "good"))
            case "active":
                lines.append((what, f"is being made by {step.run}", "busy"))
            case "resume":
                lines.append((what, f"{step.run} goes on from its last checkpoint", "busy"))
            case _:
                version = taken.get((step.kind, step.name), 0)
                lines.append((what, f"starts, as version {version + 1}" if version else "starts", "text"))
    return lines
