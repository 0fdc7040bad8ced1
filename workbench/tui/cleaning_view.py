"""What cleaning did to a corpus, in the form in which it is shown. No Textual here; what reads files belongs on a
thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import figures
from workbench.errors import WorkbenchError
from workbench.tui.records import Part
from workbench.wording import agreeing, amount

if TYPE_CHECKING:
    from workbench.corpus.looking import ChangedDocument, RejectedDocument
    from workbench.corpus.trial import Effect, Fate

BAR = 10  # columns
AROUND = 2_000  # characters before the first offending place


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """What a step made of the documents that came to it; or, with a `reason`, how many it rejected for that."""

    step: str
    reason: str
    came: int
    rejected: int
    changed: int
    bytes: int  # of text that it left

    @property
    def shows_rejected(self) -> bool:
        """Whether its examples are rejected documents, not changed ones."""
        return bool(self.reason) or (self.rejected > 0 and not self.changed)


def funnel(report: Mapping[str, Any]) -> list[FunnelRow]:
    """Each step in order, and below it its reasons, the most frequent first; nothing for older imports."""
    rows = []
    for step in report.get("funnel") or ():
        rows.append(FunnelRow(step["step"], "", step["in"], step["rejected"], step["changed"], step["bytes_out"]))
        rows += [FunnelRow(step["step"], reason, 0, count, 0, 0) for reason, count in step["reasons"].items()]
    return rows


def steps_in_short(report: Mapping[str, Any], *, ascii: bool) -> list[tuple[str, str, str]]:
    """(step, a bar of what it left with the number and the share that it took, style name)."""
    steps = [row for row in funnel(report) if not row.reason]
    most = max((row.came for row in steps), default=0) or 1
    found = []
    for row in steps:
        took = f" -{row.rejected / row.came:.1%}" if row.rejected else ""
        line = f"{bar((row.came - row.rejected) / most, ascii=ascii)} {figures.count(row.came - row.rejected):>6}{took}"
        found.append((row.step, line, "warn" if row.rejected > 0.5 * row.came else "text"))
    return found


def histogram(counts: Mapping[str, int], *, ascii: bool) -> list[tuple[str, str]]:
    """(what, a bar and the number)."""
    most = max(counts.values(), default=0) or 1
    return [(name, f"{bar(count / most, ascii=ascii)} {count:>9,}") for name, count in counts.items()]


def languages(report: Mapping[str, Any]) -> dict[str, int]:
    """Language -> documents; nothing where no language was told."""
    told = {name or "not told": item["documents"] for name, item in (report.get("by_language") or {}).items()}
    return told if set(told) - {"not told"} else {}


def lengths(report: Mapping[str, Any]) -> dict[str, int]:
    """Characters, from so many on -> documents."""
    return {f"{figures.count(int(least))} on": count for least, count in (report.get("lengths") or {}).items()}


def bar(share: float, *, ascii: bool) -> str:
    """A share from 0 to 1 as a bar of `BAR` columns; what is more than nothing shows."""
    filled = max(round(BAR * share), share > 0)
    return ("#" if ascii else "█") * filled + ("." if ascii else "░") * (BAR - filled)


# --------------------------------------------------------------------------- examples


def examples(folder: Path, row: FunnelRow) -> list[tuple[Part, ...]]:
    """Kept examples of what was rejected for the row's reason, or of what its step changed, each to be read.

    Where the step changed nothing, of what it rejected for any reason.

    Raises `WorkbenchError` if they cannot be read.
    """
    from workbench.corpus import looking

    if row.shows_rejected:
        return [_rejected(found) for found in looking.rejects(folder, step=row.step, reason=row.reason or None)]
    return [_changed(found) for found in looking.changes(folder, row.step)]


def _changed(example: ChangedDocument) -> tuple[Part, ...]:
    place = f"{example.source}, number {example.position}"
    return (
        Part(f"{example.step}: {example.reason or 'changed'}", place, "muted"),
        Part("before", example.before),
        Part("after", example.after, "good"),
    )


def _rejected(example: RejectedDocument) -> tuple[Part, ...]:
    """What the rule measured, and the text with the offending places marked."""
    says = numbers(example.value, example.limit, example.parameter)
    text, spans = example.text, example.spans
    if spans and spans[0][0] > AROUND:
        begin = spans[0][0] - AROUND
        text, spans = "…" + text[begin:], tuple((start - begin + 1, stop - begin + 1) for start, stop in spans)
    place = f"{example.source}, number {example.position}"
    return (
        Part(f"{example.step}: {example.reason}", says or "without a number", "warn"),
        Part(place, text or "(empty)", spans=spans),
    )


def numbers(value: float | None, limit: float | None, parameter: str) -> str:
    """What was measured, and the limit that it passed."""
    if value is None:
        return ""
    return f"measured {value:.6g}" + (f"; {parameter} is {limit:.6g}" if limit is not None else "")


# --------------------------------------------------------------------------- thresholds


def limit_of(folder: Path, row: FunnelRow) -> str:
    """The parameter that decided, and its value, as `settings` takes it; "" where none did."""
    from workbench.corpus import looking

    if not row.rejected:
        return ""
    found = looking.rejects(folder, step=row.step, reason=row.reason or None)
    decided = next((item for item in found if item.parameter and item.limit is not None), None)
    return f"{decided.parameter}={decided.limit:.6g}" if decided is not None else ""


def settings(step: str, text: str) -> dict[str, Any]:
    """`{"step.parameter": value}` of "parameter=value" or "step.parameter=value".

    Raises `WorkbenchError` for anything else.
    """
    import yaml

    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise WorkbenchError(f"{text!r} sets nothing.", "Write PARAMETER=VALUE, such as min_words=20.")
    try:
        plain = yaml.safe_load(value)
    except yaml.YAMLError:
        plain = value.strip()
    return {key if "." in key else f"{step}.{key}": plain}


def effect_in_words(moved: Mapping[str, Any], effect: Effect) -> list[tuple[str, str]]:
    """(sentence, style name) of what another threshold does to the sample."""
    what = ", ".join(f"{key} = {value}" for key, value in moved.items())
    change = effect.kept_after - effect.kept_before
    kept = f"{effect.kept_after:,} {agreeing(effect.kept_after, 'are')} kept"
    sample = f"of {amount(effect.documents, 'sampled documents')} {kept}, {change:+,}"
    lines = [(f"{what}: {sample}", "strong")]
    lines += [
        (f"{step} rejects {after:,} instead of {before:,}", "text")
        for step, (before, after) in effect.funnel.items()
        if before != after
    ]
    return lines


def fate_parts(fate: Fate, *, now_kept: bool) -> tuple[Part, ...]:
    """A document whose fate another threshold changes."""
    verdict = fate.verdict
    assert verdict is not None
    label = "kept now; it was rejected" if now_kept else "rejected now"
    says = f"{fate.step}: {verdict.reason}. {numbers(verdict.value, verdict.limit, verdict.parameter)}".rstrip(". ")
    place = f"{fate.document.source}, number {fate.document.position}"
    return (
        Part(label, says, "good" if now_kept else "bad"),
        Part(place, fate.document.text, spans=verdict.spans),
    )


# --------------------------------------------------------------------------- near duplicates


@dataclass(frozen=True, slots=True)
class Member:
    """One document of a cluster."""

    source: str
    position: int
    kept: bool
    similarity: float  # to the one that stands for the cluster, estimated
    text: str


def clusters(folder: Path) -> list[list[Member]]:
    """Near duplicates that belong together, those of the largest cluster first; the kept one is its first.

    Raises `WorkbenchError` if they cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "clusters.parquet"
    if not path.is_file():
        return []
    try:
        rows = pq.read_table(path, use_threads=False).to_pylist()
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise WorkbenchError(f"The clusters of {folder.name} cannot be read: {why}.", "Import it again.") from None
    found: dict[int, list[Member]] = {}
    for row in rows:
        member = Member(row["source"], row["position"], row["kept"], row["similarity"], row["text"])
        found.setdefault(row["cluster"], []).append(member)
    for members in found.values():
        members.sort(key=lambda member: (not member.kept, -member.similarity))
    return sorted(found.values(), key=len, reverse=True)
