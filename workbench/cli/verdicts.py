"""`workbench verdicts`: what a judge said of the answers of one or two models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from workbench.benchmarks.judging.outcomes import Outcome, outcomes
from workbench.benchmarks.judging.people import agreement
from workbench.benchmarks.judging.verdicts import Verdict, read_verdicts
from workbench.cli.output import answer, common, complete_artifact, note, open_current, table, when
from workbench.errors import WorkbenchError
from workbench.recipes.base import nearest
from workbench.safe_text import strip_controls
from workbench.store import artifacts
from workbench.store.catalog import Catalog
from workbench.wording import amount

SHOWN_CHARACTERS = 60  # of a reason, in a table


@click.command(
    "verdicts",
    epilog="\b\nExamples:\n  workbench verdicts\n  workbench verdicts tuned-judged --items\n"
    "  workbench verdicts tuned-judged --question 81",
)
@click.argument("name", required=False, shell_complete=complete_artifact("verdicts"))
@click.option("--items", is_flag=True, help="List every verdict with the beginning of its reason.")
@click.option("--question", metavar="ID", help="Show one question with the answers and all that was said of them.")
@common
def verdicts(as_json: bool, name: str | None, items: bool, question: str | None) -> None:
    """Show what a judge said: who won how often, how far that can be trusted, and the reasons. Without a NAME: list
    what was judged.

    The agreement with people is that with all judgements that there are now.
    """
    project, catalog = open_current()
    if name is None:
        if items or question is not None:
            raise WorkbenchError("Of which verdicts is not said.", "Name them; workbench verdicts lists what there is.")
        _list(catalog, as_json)
        return
    made = artifacts.resolve(project, catalog, "verdicts", name)
    said = read_verdicts(artifacts.folder_of(project, made))
    report = dict(made.report)
    models = list(made.recipe["models"])
    if report["judging"] == "pairwise":
        report["agreement"] = agreement(project, catalog, outcomes(said, models))
    if question is not None:
        known = list(dict.fromkeys(item.question for item in said))
        said = [item for item in said if item.question == question]
        if not said:
            raise WorkbenchError(f"{made.id} has no question {question!r}.", nearest(question, known))
    if as_json:
        listed = {"items": [asdict(item) for item in said]} if items or question is not None else {}
        answer({"verdicts": made.id, "models": models, **report, **listed})
    elif question is not None:
        _show_question(said)
    else:
        _show_figures(report, models)
        if items:
            click.echo()
            _show_items(said, models)


def _list(catalog: Catalog, as_json: bool) -> None:
    """All verdicts, newest first."""
    rows = catalog.rows(
        "SELECT id, created, recipe, report FROM artifacts WHERE kind = 'verdicts' ORDER BY created DESC"
    )
    found = [
        {"verdicts": row["id"], "created": row["created"], "models": json.loads(row["recipe"])["models"]}
        | json.loads(row["report"])
        for row in rows
    ]
    if as_json:
        answer(found)
    elif not found:
        note(f"There are no verdicts yet. {artifacts.HOW_TO_MAKE['verdicts']}")
    else:
        table(
            ("verdicts", "models", "judge", "made", "outcome"),
            [
                [one["verdicts"], " and ".join(one["models"]), one["judge"], when(one["created"]), _in_short(one)]
                for one in found
            ],
        )


def _in_short(report: Mapping[str, Any]) -> str:
    if rate := report.get("win_rate"):
        return f"{rate['of']} wins {_interval(rate)}{': inside the noise' if rate['inside_noise'] else ''}"
    grades = [(model, found["grade"]) for model, found in report.get("grades", {}).items() if found["grade"]]
    return ", ".join(f"{model} {grade['value']:.2f} of 10" for model, grade in grades)


def _show_figures(report: Mapping[str, Any], models: Sequence[str]) -> None:
    lines = [("judge", f"{report['judge']}, {report['verdict']}, replies: {report['replies']:,}")]
    if report["judging"] == "pairwise":
        lines += _pairwise(report)
    else:
        lines += _single(report)
    for model in models:
        found = report["answers"][model]
        more = [f"{found[key]:,} {what}" for key, what in SHORT.items() if found[key]]
        length = f"{found['mean_characters']:,.0f} characters on average" if found["answers"] else ""
        lines.append((f"{model} says", ", ".join([length, *more])))
    lines.append(("no verdict", f"{report['no_verdict']:,}, asked again {report['asked_again']:,}"))
    if report["truncated"]:
        lines.append(("cut off", f"{amount(report['truncated'], 'requests')}: the judge's context is too short"))
    for label, text in lines:
        if text:
            click.echo(f"{label:>20}  {strip_controls(text)}")


SHORT = {"cut_off": "cut off", "no_room": "without room in the context", "empty": "empty"}


def _pairwise(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = []
    if rate := report["win_rate"]:
        noise = ": inside the noise" if rate["inside_noise"] else ""
        counts = f"{rate['wins']:,} won, {report['ties']:,} tied, {rate['losses']:,} lost"
        lines.append((f"{rate['of']} wins", f"{_interval(rate)} against {rate['against']}{noise} ({counts})"))
    lines += [(f"turn {turn}", _interval(found)) for turn, found in report["by_turn"].items()]
    lines += [(name or "no category", _interval(found)) for name, found in report["by_category"].items()]
    if odds := report.get("win_rate_by_log_odds"):
        lines.append(("by log odds", f"{_interval(odds)}, the mean of both orders"))
    lines += [
        ("same in both orders", _share(report["same_in_both_orders"])),
        ("first shown won", _share(report["first_shown_won"])),
        ("the longer one won", _share(report["longer_won"])),
    ]
    if people := report["agreement"]:
        kappa = "" if people["kappa"] is None else f", Cohen's kappa {people['kappa']:.2f}"
        lines.append(("with people", f"{_interval(people['share'])} of {people['judgements']:,}{kappa}"))
        if people["decided"]:
            lines.append(("without ties", f"{_interval(people['decided'])} of {people['decided']['n']:,}"))
    return lines


def _single(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = []
    for model, found in report["grades"].items():
        if found["grade"]:
            lines.append((model, f"{_grade(found['grade'])} of 10, over {found['grade']['n']:,}"))
        lines += [(f"turn {turn}", _grade(part)) for turn, part in found["by_turn"].items()]
        lines += [(name or "no category", _grade(part)) for name, part in found["by_category"].items()]
    if difference := report.get("difference"):
        noise = ": inside the noise" if difference["inside_noise"] else ""
        lines.append(("difference", f"{_grade(difference, '+')}{noise}"))
    if (correlation := report["length_correlation"]) is not None:
        lines.append(("grade and length", f"correlation {correlation:+.2f}"))
    return lines


def _show_items(said: Sequence[Verdict], models: Sequence[str]) -> None:
    pairs = outcomes(said, models)
    if pairs:
        rows = [[item.question, str(item.turn), _outcome(item), _short(item.verdicts[0].reason)] for item in pairs]
        table(("question", "turn", "better", "reason"), rows, right=("turn",))
        return
    rows = [
        [
            item.question,
            str(item.turn),
            item.models[0],
            "none" if item.grade is None else f"{item.grade:g}",
            _short(item.reason),
        ]
        for item in said
    ]
    table(("question", "turn", "model", "grade", "reason"), rows, right=("turn", "grade"))


def _show_question(said: Sequence[Verdict]) -> None:
    first = said[0]
    for message in first.prompt:
        click.echo(f"{message['role']}: {strip_controls(message['content'])}\n")
    turn = 1
    for item in said:
        if item.turn != turn and item.asked:
            click.echo(f"user: {strip_controls(item.asked[-1])}\n")
            turn = item.turn
        shown = " against ".join(item.models)
        click.echo(f"── turn {item.turn}: {shown}")
        for model, texts in zip(item.models, item.answers, strict=True):
            click.echo(f"{model}: {strip_controls(texts[-1]) or '(nothing)'}\n")
        verdict = item.better if len(item.models) == 2 else item.grade
        click.echo(f"judge: {strip_controls(item.reason)}")
        click.echo(f"verdict: {_named(item) if verdict is not None else 'none'}\n")


def _named(item: Verdict) -> str:
    if item.grade is not None:
        return f"{item.grade:g}"
    return {"first": item.models[0], "second": item.models[-1]}.get(item.better or "", "tie")


def _outcome(item: Outcome) -> str:
    if item.score is None:
        return "no verdict"
    if item.score == 0.5:
        return "turns with the order" if item.turned else "tie"
    return item.models[0] if item.score == 1 else item.models[1]


def _short(text: str) -> str:
    line = strip_controls(" ".join(text.split()))
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 3]}..."


def _interval(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.0%} ({found['low']:.0%} to {found['high']:.0%})"


def _grade(found: Mapping[str, Any], sign: str = "") -> str:
    return f"{found['value']:{sign}.2f} ({found['low']:{sign}.2f} to {found['high']:{sign}.2f})"


def _share(found: Mapping[str, Any]) -> str:
    if found["share"] is None:
        return ""
    return f"{found['share']:.0%} ({found['low']:.0%} to {found['high']:.0%}) of {found['of']:,}"


COMMANDS = {"verdicts": verdicts}
