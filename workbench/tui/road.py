"""The road from text to export: what stands at each stage, what is out of date, and the next step.
No Textual here: the map draws it, the text snapshot prints it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench import figures
from workbench.tui import safe
from workbench.tui.live import ArtifactRow, RunRow

StopState = Literal["missing", "making", "made", "stale", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A stage of the road: what it makes, and the verb that makes it."""

    kind: str
    title: str
    stage: str
    what: str


ROAD = (
    Kind(kind="corpus", title="Corpus", stage="import", what="clean text, without duplicates"),
    Kind(kind="tokenizer", title="Tokenizer", stage="tokenizer", what="how text becomes tokens"),
    Kind(kind="shards", title="Shards", stage="shards", what="the corpus as token ids"),
    Kind(kind="model", title="Model", stage="pretrain", what="trained from scratch"),
    Kind(kind="export", title="Export", stage="export", what="GGUF, quantised and checked"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A place on the road. `artifact` is the newest; `run` makes it now, or failed to."""

    kind: Kind
    state: StopState
    artifacts: tuple[ArtifactRow, ...] = ()  # newest first
    run: RunRow | None = None
    why: str = ""  # why it is stale or failed, in a sentence

    @property
    def artifact(self) -> ArtifactRow | None:
        return self.artifacts[0] if self.artifacts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """What to do next: a sentence, and the stage to start with its values, or the run or the screen to look at."""

    sentence: str
    stage: str = ""
    values: Mapping[str, str] = field(default_factory=dict)  # dotted key of the recipe -> text
    run: str = ""
    again: bool = False  # its run is to be started anew, with another recipe
    screen: str = ""

    @property
    def command(self) -> str:
        """The same on the `:` line and, behind `workbench`, in a shell."""
        return as_command(self.stage, self.values) if self.stage else ""


def road(artifacts: Sequence[ArtifactRow], runs: Mapping[str, RunRow]) -> list[Stop]:
    """The stops in their order."""
    out_of_date = stale(artifacts)
    return [_stop(kind, artifacts, runs, out_of_date) for kind in ROAD]


def stale(artifacts: Sequence[ArtifactRow]) -> dict[tuple[str, str], str]:
    """(kind, id) -> why, of those that were made from what has a newer version by now, or from such ones."""
    newest: dict[tuple[str, str], ArtifactRow] = {}
    for item in artifacts:
        other = newest.get((item.kind, item.name))
        if other is None or item.version > other.version:
            newest[(item.kind, item.name)] = item
    there = {(item.kind, item.id): item for item in artifacts}
    found: dict[tuple[str, str], str] = {}
    for item in artifacts:  # oldest first: inputs come before what is made from them
        for kind, made_from in item.inputs.values():
            source = there.get((kind, made_from))
            if source is None:
                continue
            latest = newest[(kind, source.name)]
            if latest.version > source.version:
                found[(item.kind, item.id)] = f"made from {kind} {source.id}; there is {latest.id} now"
            elif (kind, made_from) in found:
                found.setdefault((item.kind, item.id), f"its {kind} {source.id} is stale")
    return found


def _stop(
    kind: Kind,
    artifacts: Sequence[ArtifactRow],
    runs: Mapping[str, RunRow],
    out_of_date: Mapping[tuple[str, str], str],
) -> Stop:
    made = tuple(reversed([item for item in artifacts if item.kind == kind.kind]))
    going = [run for run in runs.values() if run.produces == kind.kind and run.active]
    going.sort(key=lambda run: (run.state == "queued", run.number))
    if going:
        return Stop(kind=kind, state="making", artifacts=made, run=going[0])
    last = next((run for run in runs.values() if run.produces == kind.kind), None)  # newest first
    broken = last is not None and last.state in ("failed", "lost")
    if last is not None and broken and (not made or last.created > made[0].created):
        return Stop(kind=kind, state="failed", artifacts=made, run=last, why=last.reason)
    if not made:
        return Stop(kind=kind, state="missing")
    newest = made[0]
    why = out_of_date.get((newest.kind, newest.id), "")
    return Stop(kind=kind, state="stale" if why else "made", artifacts=made, why=why)


def next_step(stops: Sequence[Stop]) -> NextStep:
    """The one thing that leads on."""
    by_kind = {stop.kind.kind: stop for stop in stops}
    for stop in stops:
        if stop.state == "failed" and stop.run is not None:
            again = stop.run.never_began
            remedy = stop.run.remedy or ("Look at its log." if again else "Look at its log, then resume it.")
            return NextStep(sentence=f"{stop.run.id} {stop.run.state}. {remedy}", run=stop.run.id, again=again)
    for stop in stops:
        if stop.state == "making" and stop.run is not None:
            word = "is waiting" if stop.run.state == "queued" else f"is {stop.run.state}"
            return NextStep(sentence=f"{stop.run.id} {word}: watch it make {stop.run.name}.", run=stop.run.id)
    corpus, tokenizer = by_kind["corpus"].artifact, by_kind["tokenizer"].artifact
    model, export = by_kind["model"].artifact, by_kind["export"].artifact
    if corpus is None:
        return NextStep(sentence="Import text: your files or folders, or python-docs.", stage="import")
    if tokenizer is None:
        return _making("tokenizer", stops, f"Train a tokenizer on {corpus.name}.")
    if model is None:
        return _making("pretrain", stops, f"Pretrain a model on {corpus.name} with {tokenizer.name}.")
    for stop in stops:
        if stop.state == "stale" and stop.artifact is not None:
            item = stop.artifact
            return _making(stop.kind.stage, stops, f"{item.kind} {item.id} is stale: {stop.why}. Make it anew.")
    if export is None:
        return _making("export", stops, f"Export {model.name} to GGUF, quantised and checked.")
    return NextStep(sentence=f"Chat with {export.id}: the road is complete.", screen="chat")


def _making(stage: str, stops: Sequence[Stop], sentence: str) -> NextStep:
    stage = "pretrain" if stage == "shards" else stage  # shards come with the pretraining that needs them
    return NextStep(sentence=sentence, stage=stage, values=making(stage, stops))


def making(stage: str, stops: Sequence[Stop]) -> dict[str, str]:
    """The values that make a stage from the newest of what it needs; the name stays, as a new version."""
    newest = {stop.kind.kind: stop.artifact for stop in stops if stop.artifact is not None}
    kind = next(stop.kind.kind for stop in stops if stop.kind.stage == stage)
    needs = {"tokenizer": ("corpus",), "pretrain": ("corpus", "tokenizer"), "export": ("model",)}.get(stage, ())
    values = {role: newest[role].name for role in needs if role in newest}
    before = newest.get(kind)
    if before is not None:
        model = before.recipe.get("model")
        if stage == "pretrain" and isinstance(model, Mapping):
            values["model.size"] = str(model.get("size", "tiny"))
        values["name"] = before.name
    if stage == "export":
        values["quantization"] = str(before.recipe.get("quantization", "q8_0")) if before is not None else "q8_0"
    return values


def as_command(stage: str, values: Mapping[str, str]) -> str:
    """`pretrain --corpus books --size tiny`; an export's model stands without a flag."""
    words = [stage]
    for path, value in values.items():
        flag = [] if (stage, path) == ("export", "model") else [f"--{path.rpartition('.')[2].replace('_', '-')}"]
        words += [*flag, shlex.quote(value)]
    return " ".join(words) + (" " if stage == "import" else "")


def figures_of(artifact: ArtifactRow) -> list[str]:
    """Two or three figures that say most of it, as short as they can be."""
    report: Mapping[str, Any] = artifact.report
    found: list[str | None]
    match artifact.kind:
        case "corpus":
            dropped = report.get("dropped")
            lost = sum(dropped.values()) if isinstance(dropped, Mapping) else None
            found = [
                _with(report, "documents", "documents"),
                f"{figures.size(report['bytes'])} of text" if _number(report.get("bytes")) else None,
                f"{figures.count(lost)} dropped" if lost else None,
            ]
        case "tokenizer":
            ratio = report.get("bytes_per_token")
            found = [
                _with(report, "vocab_size", "tokens"),
                f"{ratio:.2f} bytes/token" if _number(ratio) else None,
            ]
        case "shards":
            found = [_with(report, "tokens", "tokens"), _with(report, "documents", "documents")]
        case "model":
            bits, loss = report.get("eval_bits_per_byte"), report.get("eval_loss")
            right, reward = report.get("eval_reward_accuracy"), report.get("eval_reward_mean")
            own = _number(reward) and "eval_kl" in report  # answers of its own: its "loss" is minus the reward
            found = [
                _with(report, "parameters", "parameters"),
                f"validation {figures.loss(loss)}" if _number(loss) and not own else None,
                f"{bits:.3f} bits/byte" if _number(bits) else None,
                f"{right:.1%} of pairs" if _number(right) else None,
                f"reward {reward:.2f}" if own else None,
            ]
        case _:
            check = report.get("check")
            agreement = check.get("top1_agreement") if isinstance(check, Mapping) else None
            found = [
                str(report["quantization"]) if "quantization" in report else None,
                figures.size(report.get("bytes", artifact.bytes)),
                f"checked, {agreement:.1%}" if _number(agreement) else None,
            ]
    return [safe.line(item) for item in found if item] or [figures.size(artifact.bytes)]


def _with(report: Mapping[str, Any], key: str, unit: str) -> str | None:
    return figures.counted(report[key], unit) if _number(report.get(key)) else None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
