"""`workbench corpus`: what came in, what was thrown away and why, what is in it, what another threshold would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from workbench.cli.classifier import mark
from workbench.cli.errors import WrongUsage, no_such_verb
from workbench.cli.output import answer, common, complete_artifact, note, open_current, table
from workbench.errors import WorkbenchError
from workbench.figures import size
from workbench.safe_text import strip_controls
from workbench.store.artifacts import Artifact, folder_of, resolve
from workbench.store.project import Project

REASONS = 3  # of a step, in its line; `corpus show --json` has all
SHOWN_CHARACTERS = 400
BEFORE_SPAN = 100
BAR = 30


class CorpusVerbs(click.Group):
    """The verbs of `workbench corpus`."""

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise no_such_verb("corpus", args[0], list(self.commands))
        return super().resolve_command(ctx, args)


@click.group(
    "corpus",
    cls=CorpusVerbs,
    epilog="\b\nExamples:\n  workbench corpus show web\n  workbench corpus rejects web --step gopher-quality\n"
    "  workbench corpus documents web --search 'golden retriever'\n"
    "  workbench corpus try web --set gopher-quality.min_words=20",
)
def corpus() -> None:
    """Look into a corpus: its funnel, its rejects, its documents; try other thresholds."""


@corpus.command("show")
@click.argument("name", shell_complete=complete_artifact("corpus"))
@common
def show(as_json: bool, name: str) -> None:
    """Show what came in, what each step made of it, and what the corpus holds."""
    project, made = _open(name)
    report = dict(made.report)
    if as_json:
        answer({"corpus": made.id, "path": str(folder_of(project, made)), **report})
        return
    click.echo(f"{made.id}: {_documents(report.get('documents', 0))}, {size(report.get('bytes'))}\n")
    if funnel := report.get("funnel"):
        _print_funnel(funnel)
    else:
        _print_counts("dropped", report.get("dropped", {}))
    languages = {name or "not told": counts["documents"] for name, counts in report.get("by_language", {}).items()}
    if set(languages) != {"not told"}:
        _print_counts("language", languages)
    _print_counts("source", report.get("by_source", {}) if len(report.get("by_source", {})) > 1 else {})
    _print_counts("characters", {f"{int(least):,}…": count for least, count in report.get("lengths", {}).items()})
    if report.get("dropped"):
        note(f"Examples of what was left out: workbench corpus rejects {name}")


@corpus.command("rejects")
@click.argument("name", shell_complete=complete_artifact("corpus"))
@click.option("--reason", metavar="REASON", help="Only what was rejected for this.")
@click.option("--step", metavar="STEP", help="Only what this step rejected; reading is the step 'read'.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Show at most this many.")
@common
def rejects(as_json: bool, name: str, reason: str | None, step: str | None, limit: int) -> None:
    """Show examples of what was left out, each with its reason, the rule's numbers, and the place that it is about."""
    from workbench.corpus import looking

    project, made = _open(name)
    found = list(looking.rejects(folder_of(project, made), step=step, reason=reason))
    if as_json:
        answer([one.plain() for one in found[:limit]])
        return
    for one in found[:limit]:
        numbers = _numbers(one.value, one.limit, one.parameter)
        click.secho(strip_controls(f"{one.step}: {one.reason}{numbers}"), bold=True)
        click.echo(strip_controls(f"  {one.source}, number {one.position}"))
        click.echo(_marked(one.text, one.spans) + "\n")
    if not found:
        note("Nothing was rejected.")
    elif len(found) > limit:
        note(f"{len(found) - limit:,} more of the examples: --limit {len(found)} shows them.")


@corpus.command("documents")
@click.argument("name", shell_complete=complete_artifact("corpus"))
@click.option("--search", default="", metavar="TEXT", help="Only documents that hold this, in whatever case.")
@click.option("--language", default="", metavar="CODE", help="Only documents of this language.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Show at most this many.")
@common
def documents(as_json: bool, name: str, search: str, language: str, limit: int) -> None:
    """List documents, all or those that hold a text or are of a language."""
    from workbench.corpus import looking

    project, made = _open(name)
    found = looking.find_documents(folder_of(project, made), search=search, language=language, limit=limit)
    if as_json:
        answer(asdict(found))
        return
    for one in found.documents:
        told = ", ".join(filter(None, [one.language, one.licence, f"{one.characters:,} characters"]))
        click.secho(strip_controls(f"{one.number:,}  {one.source}, number {one.position} ({told})"), bold=True)
        click.echo(_marked(one.excerpt, [one.hit] if one.hit else [], blanks=False) + "\n")
    note(f"{len(found.documents):,} of {_documents(found.total)}.")


@corpus.command("try")
@click.argument("name", shell_complete=complete_artifact("corpus"))
@click.option(
    "--set", "settings", multiple=True, required=True, metavar="STEP.PARAMETER=VALUE",
    help="The other value. Repeat it for several.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(0), default=5, show_default=True, help="Show at most this many of each.")
@common
def try_settings(as_json: bool, name: str, settings: tuple[str, ...], limit: int) -> None:
    """Run the steps again on the corpus' sample with other parameters: what would be kept instead."""
    from workbench.corpus.trial import Fate, Trial

    project, made = _open(name)
    entries = made.recipe.get("clean")
    if not isinstance(entries, list):
        raise WorkbenchError(f"The corpus {name} was imported without steps of cleaning.", "Import it again.")
    effect = Trial(folder_of(project, made), entries).move(_settings(settings))

    def plain(fate: Fate) -> dict[str, Any]:
        assert fate.verdict is not None
        verdict, document = fate.verdict, fate.document
        return {
            "step": fate.step, "reason": verdict.reason, "value": verdict.value, "limit": verdict.limit,
            "parameter": verdict.parameter, "source": document.source, "position": document.position,
            "text": document.text[:SHOWN_CHARACTERS],
        }  # fmt: skip

    if as_json:
        funnel = {step: {"rejected_before": old, "rejected_after": new} for step, (old, new) in effect.funnel.items()}
        answer(
            {
                "documents": effect.documents, "sampled": effect.sampled, "kept_before": effect.kept_before,
                "kept_after": effect.kept_after, "funnel": funnel,
                "now_kept": [plain(fate) for fate in effect.now_kept],
                "now_rejected": [plain(fate) for fate in effect.now_rejected],
            }
        )  # fmt: skip
        return
    of = "" if effect.documents == effect.sampled else f" (of {effect.sampled:,}: the others take more than a second)"
    verb = "is" if effect.kept_after == 1 else "are"
    click.echo(f"Of {_documents(effect.documents, 'sampled ')}{of} {effect.kept_after:,} {verb} kept, ", nl=False)
    click.echo(f"before {effect.kept_before:,}.\n")
    rows = [[step, f"{old:,}", f"{new:,}", f"{new - old:+,}"] for step, (old, new) in effect.funnel.items()]
    table(("step", "rejected before", "after", "change"), rows, right=("rejected before", "after", "change"))
    for title, fates in (("Kept now", effect.now_kept), ("Rejected now", effect.now_rejected)):
        for fate in fates[:limit]:
            verdict = fate.verdict
            assert verdict is not None
            numbers = _numbers(verdict.value, verdict.limit, verdict.parameter)
            was = "was " if title == "Kept now" else ""
            click.secho(strip_controls(f"\n{title} ({was}{fate.step}: {verdict.reason}{numbers})"), bold=True)
            click.echo(strip_controls(f"  {fate.document.source}, number {fate.document.position}"))
            click.echo(_marked(fate.document.text, verdict.spans))


def _documents(number: int, kind: str = "") -> str:
    return f"{number:,} {kind}document{'s' if number != 1 else ''}"


def _open(name: str) -> tuple[Project, Artifact]:
    project, catalog = open_current()
    return project, resolve(project, catalog, "corpus", name)


def _settings(given: Sequence[str]) -> dict[str, Any]:
    import yaml

    settings = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or "." not in key:
            raise WrongUsage(f"--set {text} does not say what to set.", "Write it as --set STEP.PARAMETER=VALUE.")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            settings[key] = value
    return settings


def _print_funnel(funnel: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for step in funnel:
        reasons = [f"{reason} {count:,}" for reason, count in step["reasons"].items()]
        more = f", {len(reasons) - REASONS} more" if len(reasons) > REASONS else ""
        share = f"{step['rejected'] / step['in']:.1%}" if step["in"] else ""
        rows.append(
            [
                step["step"], f"{step['in']:,}", f"{step['kept']:,}", f"{step['changed']:,}", f"{step['rejected']:,}",
                share, size(step["bytes_out"]), ", ".join(reasons[:REASONS]) + more,
            ]
        )  # fmt: skip
    right = ("in", "kept", "changed", "rejected", "", "left")
    table(("step", "in", "kept", "changed", "rejected", "", "left", "what"), rows, right=right)


def _print_counts(title: str, counts: Mapping[str, int]) -> None:
    if not counts:
        return
    click.echo()
    most = max(counts.values()) or 1
    rows = [
        [str(name), f"{count:,}", "█" * max(round(BAR * count / most), count > 0)] for name, count in counts.items()
    ]
    table((title, "documents", ""), rows, right=("documents",))


def _numbers(value: float | None, limit: float | None, parameter: str) -> str:
    if value is None:
        return ""
    against = f", {parameter} is {limit:.6g}" if limit is not None else ""
    return f" ({value:.6g}{against})"


def _marked(text: str, spans: Sequence[tuple[int, int]], *, blanks: bool = True) -> str:
    """The text around the first span, every span in reverse, or in brackets where there is no terminal."""
    begin = max(0, spans[0][0] - BEFORE_SPAN) if spans else 0
    end = begin + SHOWN_CHARACTERS
    parts, place = [], begin
    for start, stop in sorted(spans):
        start, stop = max(start, place), min(stop, end)
        if start >= stop:
            continue
        parts += [strip_controls(text[place:start]), click.style(f"⟦{strip_controls(text[start:stop])}⟧", reverse=True)]
        place = stop
    parts.append(strip_controls(text[place:end]))
    shown = "".join(parts)
    if not blanks:
        shown = " ".join(shown.split())
    return "  " + ("…" if begin else "") + shown.replace("\n", "\n  ") + ("…" if end < len(text) else "")


corpus.add_command(mark)

COMMANDS = {"corpus": corpus}
