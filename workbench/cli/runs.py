"""`workbench runs`: what is going on and what went on."""

from __future__ import annotations

import time
from typing import Any

import click

from workbench.cli.errors import no_such_verb
from workbench.cli.follow import follow, remaining
from workbench.cli.output import answer, common, complete_run, note, open_current, table, when
from workbench.errors import WorkbenchError
from workbench.figures import count, duration
from workbench.runs import submit
from workbench.store import events
from workbench.store import runs as store
from workbench.store.catalog import Catalog
from workbench.store.project import Project

HISTORY_LINES = 8  # of a run's past, when one begins to watch it
COLUMNS = (
    "id, stage, name, engine, state, reason, remedy, created, started, ended, produces, artifact, "
    "step, total_steps, unit, tokens, loss, eval_loss, tokens_per_second, phase, "
    # Of a method that learns on its own answers the loss says nothing.
    "CASE WHEN stage IN ('ppo', 'grpo') THEN (SELECT value FROM metrics WHERE run = runs.id AND name = 'reward_mean' "
    "ORDER BY step DESC LIMIT 1) END AS reward_mean"
)


class RunsVerbs(click.Group):
    """The verbs of `workbench runs`."""

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise no_such_verb("runs", args[0], list(self.commands))
        return super().resolve_command(ctx, args)


@click.group(
    "runs",
    cls=RunsVerbs,
    invoke_without_command=True,
    epilog="\b\nExamples:\n  workbench runs --json\n  workbench runs watch pretrain-3\n  workbench runs stop base\n"
    "  workbench runs resume pretrain-3\n\nRUN is an id, a number, or the name of what it makes.",
)
@common
@click.pass_context
def runs(ctx: click.Context, as_json: bool) -> None:
    """List the project's runs, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    project, catalog = open_current()
    catch_up(project, catalog)
    rows = [with_seconds(project, row) for row in catalog.rows(f"SELECT {COLUMNS} FROM runs ORDER BY number DESC")]
    if as_json:
        answer(rows)
    elif not rows:
        click.echo("No runs yet. Begin with: workbench import SOURCE --name NAME", err=True)
    else:
        table(
            ("run", "makes", "state", "progress", "loss, reward", "tokens/s", "took", "reason"),
            [_row(row) for row in rows],
            right=("progress", "loss, reward", "tokens/s", "took"),
        )


def _row(row: dict[str, Any]) -> list[str]:
    progress = _progress(row)
    return [
        row["id"],
        f"{row['produces']}/{row['artifact'] or row['name']}",
        row["state"],
        progress,
        _learning(row),
        count(row["tokens_per_second"]) if row["tokens_per_second"] else "",
        duration(row["seconds"]) if row["seconds"] else "",
        row["reason"] if row["state"] not in ("stopped",) else "",
    ]


def _learning(row: dict[str, Any]) -> str:
    if row["reward_mean"] is not None:
        return f"reward {row['reward_mean']:.2f}"
    return "" if row["loss"] is None or row["stage"] in ("ppo", "grpo") else f"{row['loss']:.3f}"


def with_seconds(project: Project, row: dict[str, Any]) -> dict[str, Any]:
    """The row and how long its engines have worked, over all attempts."""
    try:
        _, state = store.read(project, row["id"])
    except WorkbenchError:  # its files are damaged or gone
        return row | {"seconds": None}
    going = state.state not in store.ENDED and store.alive(state)
    return row | {"seconds": store.seconds(state, time.time() if going else None)}


def _progress(row: dict[str, Any]) -> str:
    done, total = row["step"] or 0, row["total_steps"]
    if total and row["unit"] == "steps":
        return f"{done}/{total}"
    if row["state"] == "finished":  # the last event may be of 95%, and some stages cannot count
        return "100%"
    return f"{done / total:.0%}" if total else ""


def catch_up(project: Project, catalog: Catalog) -> None:
    """Index what running supervisors have not yet: they do it a few times a second."""
    if not catalog.read_only:
        for row in catalog.rows("SELECT id FROM runs WHERE state IN ('running', 'stopping')"):
            events.index_events(project, catalog, row["id"])


run_argument = click.argument("run", metavar="RUN", shell_complete=complete_run)


@runs.command("show")
@run_argument
@common
def show(as_json: bool, run: str) -> None:
    """Everything about one run."""
    project, catalog = open_current()
    catch_up(project, catalog)
    run_id = store.resolve(project, run)
    spec, state = store.read(project, run_id)
    row = with_seconds(project, catalog.rows(f"SELECT {COLUMNS} FROM runs WHERE id = ?", (run_id,))[0])
    going = row["state"] in ("running", "stopping") and row["unit"] == "steps"
    left = remaining(row["step"], row["total_steps"], row["tokens"], row["tokens_per_second"]) if going else None
    folder = store.folder_of(project, run_id)
    last = {
        name: found[0]["value"]
        for name in events.metric_names(catalog, run_id)
        if (
            found := catalog.rows(
                "SELECT value FROM metrics WHERE run = ? AND name = ? ORDER BY step DESC LIMIT 1", (run_id, name)
            )
        )
    }
    checkpoints = [path.name for path in store.checkpoints(project, run_id)]
    if as_json:
        answer(
            row
            | {
                "identity": spec.identity,
                "inputs": {role: dict(item) for role, item in spec.inputs.items()},
                "after": list(spec.after),
                "attempts": state.attempts,
                "seconds_left": left,
                "skipped": bool(state.more.get("skipped")),
                "path": str(folder),
                "recipe": (folder / "recipe.yaml").read_text(encoding="utf-8"),
                "metrics": last,
                "checkpoints": checkpoints,
            }
        )
        return
    lines = [
        ("state", f"{state.state}  {state.reason}".rstrip()),
        ("what to do", state.remedy),
        ("makes", f"{spec.produces}/{state.artifact or spec.name}"),
        ("from", ", ".join(f"{item['kind']}/{item['name']}" for item in spec.inputs.values())),
        ("created", when(spec.created)),
        ("started", when(state.started) if state.started else ""),
        ("took", _took(row, state)),
        ("left", duration(left) if left is not None else ""),
        ("progress", _progress(row)),
        ("checkpoints", ", ".join(checkpoints)),
        *((name, f"{value:.6g}") for name, value in last.items()),
        ("folder", str(folder)),
    ]
    for label, text in lines:
        if text:
            click.echo(f"{label:>18}  {text}")
    click.echo()
    click.echo((folder / "recipe.yaml").read_text(encoding="utf-8").rstrip())


def _took(row: dict[str, Any], state: store.RunState) -> str:
    if not row["seconds"]:
        return ""
    return duration(row["seconds"]) + (f", in {state.attempts} attempts" if state.attempts > 1 else "")


@runs.command("watch")
@run_argument
@common
def watch(as_json: bool, run: str) -> None:
    """Follow a run to its end. Ctrl-C stops watching, not the run."""
    project, catalog = open_current()
    run_id = store.resolve(project, run)
    (state,) = follow(project, catalog, [run_id], stop_on_interrupt=False, history=HISTORY_LINES)
    if as_json:
        answer({"run": run_id, "state": state.state, "reason": state.reason})
    if state.state != "finished":
        raise SystemExit(1)


@runs.command("stop")
@run_argument
@click.option("--kill", is_flag=True, help="Do not wait for a checkpoint: what came after the last one is lost.")
@common
def stop(as_json: bool, run: str, kill: bool) -> None:
    """Stop a run: it writes a checkpoint and ends within one step."""
    project, catalog = open_current()
    run_id = store.resolve(project, run)
    submit.stop(project, catalog, run_id, kill=kill)
    state = submit.wait(project, run_id)
    if as_json:
        answer({"run": run_id, "state": state.state})
    else:
        click.echo(f"{run_id} is {state.state}. {state.remedy}".rstrip())


@runs.command("resume")
@run_argument
@click.option("--detach", is_flag=True, help="Do not wait for its end.")
@common
def resume(as_json: bool, run: str, detach: bool) -> None:
    """Go on with a stopped, failed or lost run from its last checkpoint."""
    project, catalog = open_current()
    run_id = store.resolve(project, run)
    submit.resume(project, catalog, run_id)
    if detach:
        answer({"run": run_id, "state": "queued"}) if as_json else click.echo(run_id)
        return
    (state,) = follow(project, catalog, [run_id], stop_on_interrupt=True)
    if as_json:
        answer({"run": run_id, "state": state.state, "reason": state.reason, "artifact": state.artifact})
    if state.state != "finished":
        raise SystemExit(1)


@runs.command("checkpoint")
@run_argument
@common
def checkpoint(as_json: bool, run: str) -> None:
    """Ask a running run to write a checkpoint now."""
    project, _ = open_current()
    run_id = store.resolve(project, run)
    submit.checkpoint_now(project, run_id)
    answer({"run": run_id, "requested": "checkpoint"}) if as_json else click.echo(
        f"{run_id} was asked for a checkpoint."
    )


@runs.command("log")
@run_argument
@click.option("--lines", "-n", default=50, show_default=True, help="How many of the last lines; 0 prints all.")
@common
def log(as_json: bool, run: str, lines: int) -> None:
    """The end of a run's log: what its engine printed."""
    from workbench.safe_text import strip_controls

    project, _ = open_current()
    run_id = store.resolve(project, run)
    path = store.folder_of(project, run_id) / "log.txt"
    try:
        text = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        raise WorkbenchError(f"The run {run_id} has no log.", "It is written once the run starts.") from None
    chosen = text[-lines:] if lines else text
    if as_json:
        answer({"run": run_id, "path": str(path), "lines": chosen})
    elif not chosen:
        note(f"Its engine has printed nothing. Its progress and samples: workbench runs watch {run_id}")
    else:
        click.echo("\n".join(strip_controls(line) for line in chosen))


COMMANDS = {"runs": runs}
