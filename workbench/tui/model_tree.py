"""Models and exports as a tree, and what is worth knowing of one of them. No Textual here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench import figures
from workbench.recipes.export import MLX
from workbench.tui import records, safe
from workbench.tui.live import ArtifactRow

KINDS = ("model", "reward", "export")
Fact = tuple[str, str]  # what, value

BITS_A_WEIGHT = {
    "f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5, "q6_k": 6.56, "q5_k_m": 5.67, "q4_k_m": 4.83, "q4_0": 4.5,
    "mlx-8bit": 8.5, "mlx-4bit": 4.5,
}  # fmt: skip
"""Formats with their scales; llama.cpp's mixed ones (K_M) as measured on Llama models."""


@dataclass(frozen=True, slots=True)
class Node:
    """A row of the tree. `last` says for each level above, from the root on, whether it has no further sibling."""

    artifact: ArtifactRow
    last: tuple[bool, ...] = ()

    def guide(self, *, ascii: bool) -> str:
        """The lines that lead to it from its parent."""
        if not self.last:
            return ""
        through, end, between, blank = ("|  ", "`- ", "|- ", "   ") if ascii else ("│  ", "└─ ", "├─ ", "   ")
        return "".join(blank if last else through for last in self.last[1:-1]) + (end if self.last[-1] else between)


def key(artifact: ArtifactRow) -> tuple[str, str]:
    return artifact.kind, artifact.id


def tree(artifacts: Sequence[ArtifactRow]) -> list[Node]:
    """Models, the newest first, each with what was made from it below, the oldest first: models that were trained
    further, reward models, exports."""
    shown = [item for item in artifacts if item.kind in KINDS]
    there = {key(item) for item in shown}
    children: dict[tuple[str, str], list[ArtifactRow]] = {}
    roots = []
    for item in shown:
        parents = [made for made in item.inputs.values() if made in there]
        # Trained from its base, even where a reward model was its teacher.
        parent = min(parents, key=lambda made: KINDS.index(made[0]), default=None)
        if parent is None:
            roots.append(item)
        else:
            children.setdefault(parent, []).append(item)

    def below(item: ArtifactRow, last: tuple[bool, ...]) -> Iterator[Node]:
        yield Node(item, last)
        under = children.get(key(item), [])
        for place, child in enumerate(under):
            yield from below(child, (*(last or (True,)), place == len(under) - 1))

    return [node for root in reversed(roots) for node in below(root, ())]


def _container(artifact: ArtifactRow) -> str:
    return "MLX" if number_format(artifact).startswith(MLX) else "GGUF"


def number_format(artifact: ArtifactRow) -> str:
    """In what its weights are kept."""
    if artifact.kind == "export":
        return str(artifact.report.get("quantization", ""))
    return "f32" if artifact.stage == "pretrain" else ""


def bits_per_byte(artifact: ArtifactRow) -> str:
    """On held-out text: a model's own; of an export how many more than its checkpoint, on the check's text."""
    if artifact.kind == "export":
        check = artifact.report.get("check")
        ours = check.get("bits_per_byte") if isinstance(check, Mapping) else None
        theirs = check.get("checkpoint_bits_per_byte") if isinstance(check, Mapping) else None
        # Adding zero turns a rounded -0.0 into 0.0.
        return f"{round(ours - theirs, 4) + 0.0:+.4f}" if ours is not None and theirs is not None else ""
    found = artifact.report.get("eval_bits_per_byte")
    return f"{found:.3f}" if found is not None else ""


def gist(artifact: ArtifactRow) -> str:
    """One figure that says most: "18,342 documents", "5.77M parameters"."""
    report = artifact.report
    if artifact.kind == "export":
        return f"{number_format(artifact)}, {figures.size(report.get('bytes', artifact.bytes))}"
    if (
        artifact.kind in records.KINDS
        and artifact.kind != "corpus"
        and (held := records.counts(artifact.kind, report).split(", ")[0])
    ):
        return held
    for name, unit in (("parameters", "parameters"), ("tokens", "tokens"), ("vocab_size", "tokens"),
                       ("documents", "documents")):  # fmt: skip
        if isinstance(report.get(name), int):
            return figures.counted(report[name], unit)
    return figures.size(artifact.bytes)


# --------------------------------------------------------------------------- facts


def _own_answers(report: Mapping[str, Any]) -> bool:
    """Whether the method learns from answers of the model's own, as PPO and GRPO do."""
    return {"eval_kl", "eval_reward_mean"} <= report.keys()


def _validation(report: Mapping[str, Any]) -> str | None:
    """The loss on held-out data; where answers are the model's own, its reward says more."""
    if report.get("eval_loss") is None or _own_answers(report):
        return None
    unit = "" if "eval_reward_accuracy" in report else " nats per token"  # a loss of pairs is per pair
    return f"{_change(report, 'eval_loss')}{unit}"


def _pairs_right(report: Mapping[str, Any]) -> str | None:
    right, by_length = report.get("eval_reward_accuracy"), report.get("length_only_accuracy")
    if right is None:
        return None
    return f"{right:.1%}" + (f", by length alone {by_length:.1%}" if by_length is not None else "")


def _change(report: Mapping[str, Any], name: str) -> str:
    """A figure before and after the training: 5.402 → 3.419."""
    before = report.get(f"{name}_before")
    was = f"{figures.loss(before)} → " if before is not None else ""
    return f"{was}{figures.loss(report[name])}"


def measured(artifact: ArtifactRow) -> list[Fact]:
    """What its run reported, and its size."""
    report = artifact.report
    found: list[tuple[str, str | None]] = []
    if artifact.kind in ("model", "reward"):
        tokens, parameters = report.get("tokens"), report.get("parameters")
        found = [
            ("parameters", _count(parameters)),
            ("validation", _validation(report)),
            ("pairs right", _pairs_right(report)),
            ("held-out reward", _change(report, "eval_reward_mean") if _own_answers(report) else None),
            ("from the base", f"{report['eval_kl']:.2f} nats an answer" if _own_answers(report) else None),
            ("held-out text", _per_byte(report.get("eval_bits_per_byte"))),
            ("trained on", f"{_count(tokens)} tokens" if tokens else None),
            ("tok/param", f"{tokens / parameters:.3g}" if tokens and parameters else None),
            ("steps", _count(report.get("steps"))),
            ("speed", f"{_count(report.get('tokens_per_second'))} tokens/s"
             if report.get("tokens_per_second") else None),
            ("took", figures.duration(report["seconds"]) if report.get("seconds") else None),
        ]  # fmt: skip
    elif artifact.kind == "export":
        context = report.get("context_length")
        found = [
            ("format", f"{_container(artifact)}, {number_format(artifact)}"),
            ("file", figures.size(report.get("bytes"))),
            ("architecture", report.get("architecture")),
            ("context", f"{_count(context)} tokens" if context else None),
        ]
    else:
        found = [(name.replace("_", " "), figures.value(value)) for name, value in report.items() if _plain(value)]
    found.append(("on disk", figures.size(artifact.bytes)))
    return [(name, safe.line(value)) for name, value in found if value]


def check(artifact: ArtifactRow) -> list[Fact]:
    """How an export compares with the checkpoint that it was made from."""
    found = artifact.report.get("check")
    if not isinstance(found, Mapping):
        return []
    facts: list[tuple[str, str | None]] = []
    if (strings := found.get("strings")) is not None:
        facts.append(("token ids", f"the same on {_count(strings)} texts"))
    if (template := found.get("chat_template")) is not None:
        said = {"none": "none: it continues text", "same": "the same"}
        facts.append(("chat template", said.get(template, f"the same ({safe.line(template)})")))
    if stops := found.get("stop_tokens"):
        facts.append(("stops at", ", ".join(str(stop) for stop in stops)))
    if (agreement := found.get("top1_agreement")) is not None:
        places = found.get("tokens")
        where = f" of {_count(places)} places" if places else " of places"
        facts.append(("same likeliest", f"token at {agreement:.1%}{where}"))
    if (ours := found.get("bits_per_byte")) is not None:
        theirs = found.get("checkpoint_bits_per_byte")
        against = f", checkpoint {theirs:.4f}" if theirs is not None else ""
        facts.append(("bits per byte", f"{ours:.4f}{against}"))
    if (difference := found.get("largest_logit_difference")) is not None:
        facts.append(("logits differ", f"by {difference:.3g} at most"))
    if (divergence := found.get("mean_kl")) is not None:
        facts.append(("KL divergence", f"{divergence:.2g} nats per token"))
    fallbacks = artifact.report.get("fallbacks")
    if isinstance(fallbacks, Mapping) and fallbacks:
        kinds: dict[str, int] = {}
        for kind in fallbacks.values():
            kinds[str(kind)] = kinds.get(str(kind), 0) + 1
        named = ", ".join(f"{number} as {kind}" for kind, number in kinds.items())
        facts.append(("fell back", f"{named}: their widths do not divide"))
    return [(name, safe.line(value)) for name, value in facts if value]


def origin(artifact: ArtifactRow, artifacts: Sequence[ArtifactRow]) -> list[tuple[int, str, str]]:
    """(depth, name, gist) of what it was made from, back to the text; each artifact once."""
    there = {key(item): item for item in artifacts}
    seen: set[tuple[str, str]] = set()

    def above(item: ArtifactRow, depth: int) -> Iterator[tuple[int, str, str]]:
        for kind, id in item.inputs.values():
            if (kind, id) in seen:
                continue
            seen.add((kind, id))
            parent = there.get((kind, id))
            yield depth, f"{kind} {safe.line(id)}", gist(parent) if parent else "removed"
            if parent is not None:
                yield from above(parent, depth + 1)

    return list(above(artifact, 0))


def offspring(artifact: ArtifactRow, artifacts: Sequence[ArtifactRow]) -> list[tuple[int, str, str]]:
    """(depth, name, gist) of all that was made from it, each once: below the first that it was made from."""
    seen = {key(artifact)}

    def below(item: ArtifactRow, depth: int) -> Iterator[tuple[int, str, str]]:
        for child in artifacts:
            if key(item) in child.inputs.values() and key(child) not in seen:
                seen.add(key(child))
                yield depth, f"{child.kind} {safe.line(child.id)}", gist(child)
                yield from below(child, depth + 1)

    return list(below(artifact, 0))


def recipe_lines(recipe: Mapping[str, Any]) -> list[tuple[str, list[Fact]]]:
    """(section, its keys and values), the keys at the top first."""
    top = [(name, figures.value(value)) for name, value in recipe.items()
           if not isinstance(value, Mapping) and value is not None]  # fmt: skip
    sections = [
        (name, [(part, figures.value(item)) for part, item in value.items() if item is not None])
        for name, value in recipe.items()
        if isinstance(value, Mapping)
    ]
    return [("", top), *sections]


def _count(number: Any) -> str | None:
    return figures.count(number) if isinstance(number, int | float) else None


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | str)


def _per_byte(value: Any) -> str | None:
    return f"{value:.4g} bits per byte" if isinstance(value, int | float) else None
