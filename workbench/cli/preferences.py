"""`workbench preferences`: what was judged, as rows for others, and what it has come to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from workbench.cli.errors import no_such_verb
from workbench.cli.output import answer, common, complete_artifact, note, open_current, table, when
from workbench.errors import WorkbenchError
from workbench.preferences.sets import candidate_set, candidate_sets, progress
from workbench.safe_text import strip_controls
from workbench.store import artifacts
from workbench.store.catalog import Catalog
from workbench.store.project import Project
from workbench.wording import amount

SHOWN = 8  # raters or tags
FORMATS = ("trl", "trl-implicit", "kto", "hh-rlhf", "messages")

name_argument = click.argument("name", shell_complete=complete_artifact("candidates", "preferences"))


class PreferencesVerbs(click.Group):
    """The verbs of `workbench preferences`."""

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise no_such_verb("preferences", args[0], list(self.commands))
        return super().resolve_command(ctx, args)


@click.group(
    "preferences",
    cls=PreferencesVerbs,
    epilog="\b\nExamples:\n  workbench preferences list\n  workbench preferences stats mine\n"
    "  workbench preferences export mine --format trl > mine.jsonl",
)
def preferences() -> None:
    """What was judged: list it, sum it up, hand it on."""


@preferences.command("list")
@common
def list_all(as_json: bool) -> None:
    """List the sets of answers with what was judged in them, and the preferences."""
    project, catalog = open_current()
    found: list[dict[str, Any]] = []
    for item in candidate_sets(project, catalog):
        known = progress(item)
        found.append(
            {"kind": "candidates", "id": item.id, "created": item.created, "run": item.run, **asdict(known)}
        )  # fmt: skip
    for row in catalog.rows("SELECT id, created, report FROM artifacts WHERE kind = 'preferences' ORDER BY created"):
        report = json.loads(row["report"])
        kept = {key: report.get(key) for key in ("prompts", "pairs", "marks")}
        found.append({"kind": "preferences", "id": row["id"], "created": row["created"], **kept})
    if as_json:
        answer(found)
    elif not found:
        note("Nothing was judged yet. Have answers written: workbench candidates --model MODEL --prompts FILE")
    else:
        table(
            ("kind", "id", "made", "prompts", "pairs", "judged", "by"),
            [
                [
                    item["kind"], item["id"], when(item["created"]), _number(item["prompts"]), _number(item["pairs"]),
                    _number(item.get("judged")), ", ".join(item.get("raters", ())),
                ]
                for item in found
            ],
            right=("prompts", "pairs", "judged"),
        )  # fmt: skip


@preferences.command("export")
@name_argument
@click.option("--format", "form", type=click.Choice(FORMATS), default="trl", show_default=True, help="How rows look.")
@click.option("--rater", metavar="NAME", help="Only what this person judged.")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="A folder of Hugging Face's datasets.")
@common
def export(as_json: bool, name: str, form: str, rater: str | None, output: Path | None) -> None:
    """Print what was judged in NAME, a set of candidates or preferences, as JSON lines.

    trl: prompt, chosen and rejected as messages. trl-implicit: the prompt stands in both. kto: single answers, good or
    bad. hh-rlhf: two texts. messages: conversations to imitate, with the rewritten answers of a set.
    """
    from workbench.preferences.export import rows_of_folder, rows_of_set, save_dataset

    project, catalog = open_current()
    if _is_set(project, catalog, name):
        rows = list(rows_of_set(candidate_set(project, catalog, name.removeprefix("candidates/")), form, rater))
    else:
        made = artifacts.resolve(project, catalog, "preferences", name.removeprefix("preferences/"))
        rows = list(rows_of_folder(artifacts.folder_of(project, made), form, rater))
    if not rows:
        who = f" by {rater}" if rater else ""
        what = "No answer was rewritten" if form == "messages" else "Nothing was judged"
        raise WorkbenchError(f"{what} in {name}{who}.", f"Rank it: workbench rank {name}")
    if output is not None:
        save_dataset(rows, output.expanduser())
        if as_json:
            answer({"path": str(output), "rows": len(rows), "format": form})
        else:
            note(f"Wrote {amount(len(rows), 'rows')} to {output}.")
        return
    for row in rows:
        click.echo(json.dumps(row, ensure_ascii=False))


@preferences.command("stats")
@name_argument
@common
def stats(as_json: bool, name: str) -> None:
    """Sum up NAME: the judgements on a set of candidates, or what a set of preferences holds.

    Of candidates: agreement, biases, and how strong the models are. What was judged only to compare models (workbench
    rank NAME --eval) stands below, as win rates. Of preferences: pairs and marks, by whom, and how often the longer
    answer was chosen.
    """
    from workbench.preferences.arena import INTERVAL_WIDTH, standing
    from workbench.preferences.candidates import Candidates
    from workbench.preferences.judgements import Book
    from workbench.preferences.win_rates import win_rates

    project, catalog = open_current()
    if not _is_set(project, catalog, name):
        made = artifacts.resolve(project, catalog, "preferences", name.removeprefix("preferences/"))
        _set_stats(made, artifacts.folder_of(project, made), as_json=as_json)
        return
    item = candidate_set(project, catalog, name.removeprefix("candidates/"))
    candidates, evaluations = Candidates(item.candidates), Book(item.evaluations)
    found = standing(candidates, Book(item.judgements))
    rates = win_rates(candidates, evaluations)
    kappa, repeats = found.self_agreement
    alpha, shared = found.rater_agreement
    plain = {
        "candidates": item.id,
        "judged": found.judged,
        "by_rater": dict(found.by_rater),
        "left_over": found.left_over,
        "seconds": found.seconds,
        "self_agreement": {"kappa": kappa, "repeats": repeats},
        "rater_agreement": {"alpha": alpha, "pairs": shared},
        "left_won": _share(found.left_won),
        "longer_won": _share(found.longer_won),
        "models": [asdict(model) for model in found.models],
        "to_go": found.to_go,
        "edits": found.edits,
        "flags": found.flags,
        "evaluation": {
            "judged": sum(1 for _ in evaluations.pairs()),
            "raters": sorted({said.rater for said in evaluations.judgements.values()}),
            "win_rates": [asdict(rate) for rate in rates],
        },
    }
    if as_json:
        answer(plain)
        return
    raters = ", ".join(f"{rater} {number:,}" for rater, number in found.by_rater.items())
    lines = [
        ("judged", f"{found.judged:,}" + (f" ({raters})" if raters else "")),
        ("to go", amount(found.left_over, "pairs")),
        ("a judgement takes", "" if found.seconds is None else f"{found.seconds:.1f} s, the median"),
        (
            "with oneself",
            "" if kappa is None else f"Cohen's kappa {kappa:.2f}, from {amount(repeats, 'hidden repeats')}",
        ),
        (
            "between raters",
            "" if alpha is None else f"Krippendorff's alpha {alpha:.2f}, from {amount(shared, 'pairs')}",
        ),
        ("the left one won", _shown(found.left_won)),
        ("the longer one won", _shown(found.longer_won)),
        ("edited, flagged", f"{amount(found.edits, 'answers')}, {amount(found.flags, 'prompts')}"),
        ("pairs to go", "" if found.to_go is None else f"{found.to_go:,} for intervals of {INTERVAL_WIDTH:g}"),
    ]
    for label, text in lines:
        if text:
            click.echo(f"{label:>18}  {text}")
    if found.models:
        click.echo()
        table(
            ("model", "log odds", "95% interval", "won", "of"),
            [
                [
                    model.name, f"{model.log_odds:+.2f}", f"{model.low:+.2f} to {model.high:+.2f}",
                    f"{model.wins / model.games:.0%}", str(model.games),
                ]
                for model in found.models
            ],
            right=("log odds", "won", "of"),
        )  # fmt: skip
    if rates:
        click.echo("\nJudged only to compare models; ties count half:")
        table(
            ("model", "wins against", "share", "95% interval", "of"),
            [
                [
                    rate.first, rate.second, f"{rate.share.value:.0%}",
                    f"{rate.share.low:.0%} to {rate.share.high:.0%}", f"{rate.share.n:,}",
                ]
                for rate in rates
            ],
            right=("share", "of"),
        )  # fmt: skip


def _set_stats(made: artifacts.Artifact, folder: Path, *, as_json: bool) -> None:
    from workbench.preferences.set_figures import set_figures

    found, ties = set_figures(folder), made.report.get("ties")
    if as_json:
        plain = asdict(found) | {"longer_chosen": _share(found.longer_chosen), "ties": ties}
        answer({"preferences": made.id, **plain})
        return
    raters = [f"{strip_controls(rater) or 'nobody named'} {number:,}" for rater, number in found.by_rater.items()]
    most = f", up to {found.most_of_a_prompt:,} of one" if found.most_of_a_prompt > 1 else ""
    lines = [
        ("pairs", f"{found.pairs:,} of {amount(found.prompts, 'prompts')}{most}" if found.pairs else ""),
        ("marked answers", f"{found.good:,} good, {found.marks - found.good:,} bad" if found.marks else ""),
        ("judged by", ", ".join(raters[:SHOWN]) + (f" and {len(raters) - SHOWN} more" if raters[SHOWN:] else "")),
        ("the longer one won", _shown(found.longer_chosen)),
        ("typical length", "" if found.chosen_length is None or found.rejected_length is None else
         f"{found.chosen_length:,.0f} characters the better, {found.rejected_length:,.0f} the worse answer"),
        ("with a margin", f"{found.with_margin:,}" if found.with_margin else ""),
        ("contradicted", f"{found.contradicted:,}: the same pair is there the other way round" if found.contradicted
         else ""),
        ("ties left out", f"{ties:,}" if ties else ""),
        ("tags", ", ".join(f"{strip_controls(tag)} {number:,}" for tag, number in list(found.tags.items())[:SHOWN])),
    ]  # fmt: skip
    for label, text in lines:
        if text:
            click.echo(f"{label:>18}  {text}")


def _is_set(project: Project, catalog: Catalog, name: str) -> bool:
    """Whether a set of candidates is meant. Raises `WorkbenchError` if the name could mean both."""
    kind, slash, _ = name.partition("/")
    if slash:
        return kind == "candidates"
    as_set = any(name in (item.id, item.name, item.run) for item in candidate_sets(project, catalog))
    rows = catalog.rows("SELECT 1 FROM artifacts WHERE kind = 'preferences' AND ? IN (name, id) LIMIT 1", (name,))
    if as_set and rows:
        raise WorkbenchError(
            f"{name!r} is the name of candidates and of preferences.", f"Say candidates/{name} or preferences/{name}."
        )
    return as_set or not rows


def _share(share: Any) -> dict[str, Any]:
    low, high = share.interval()
    return {"share": share.value, "low": low, "high": high, "of": share.total}


def _shown(share: Any) -> str:
    if share.value is None:
        return ""
    low, high = share.interval()
    return f"{share.value:.0%} ({low:.0%} to {high:.0%}) of {share.total:,}"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


COMMANDS = {"preferences": preferences}
