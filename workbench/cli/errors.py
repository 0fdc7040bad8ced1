"""How a verb's failure is told: a sentence and its remedy on standard error, and as JSON for `--json`.

Exit status: 0 done, 1 not done, 2 the words typed are no command, 130 interrupted.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence

import click

from workbench.errors import WorkbenchError

FAILED = 1
USAGE = 2
INTERRUPTED = 130


class WrongUsage(WorkbenchError):
    """The words typed are no command: an unknown flag, a value that it cannot have, something lacking."""


class Interrupted(WorkbenchError):
    """A Ctrl-C ended the verb, and it has said so."""


def tell(error: WorkbenchError, status: int, *, as_json: bool, quiet: bool = False) -> None:
    """Print the error (`quiet`: only as JSON) and exit with `status`."""
    from workbench.safe_text import strip_controls

    if as_json:
        click.echo(json.dumps({"error": error.what, "remedy": error.remedy}, ensure_ascii=False, indent=2))
    if not quiet:
        click.secho(f"error: {strip_controls(error.what)}", err=True, fg="red")
        if error.remedy:
            click.echo(f"       {strip_controls(error.remedy)}", err=True)
    sys.exit(status)


def usage(error: click.UsageError) -> WrongUsage:
    """click's finding in our words."""
    verb = error.ctx.command_path if error.ctx else "workbench"
    look = f"{verb} --help shows what it takes."
    match error:
        case click.NoSuchOption():
            return WrongUsage(f"{verb} has no flag {error.option_name}.", _nearest_flag(error, look))
        case click.MissingParameter():
            what = error.param.help if isinstance(error.param, click.Option) else ""
            return WrongUsage(f"{verb} lacks {_name(error)}.", what or look)
        case click.BadParameter():
            return _wrong_value(error, look)
        case click.BadOptionUsage():
            return WrongUsage(f"{error.option_name} needs a value.", f"Write it as {error.option_name} VALUE.")
    if found := re.fullmatch(r"Got unexpected extra arguments? \((.*)\)", error.message):
        return WrongUsage(f"{verb} does not know what to do with {found[1]!r}.", look)
    return WrongUsage(error.message, look)


def no_such_verb(group: str, given: str, verbs: Sequence[str]) -> WrongUsage:
    """For a word where a verb was due."""
    from workbench.recipes.nearest import nearest

    return WrongUsage(f"There is no verb {f'{group} {given}'.strip()!r}.", nearest(given, verbs))


def _nearest_flag(error: click.NoSuchOption, look: str) -> str:
    from workbench.recipes.nearest import near_key

    command = error.ctx.command if error.ctx else None
    flags = [flag for item in (command.params if command else []) for flag in item.opts if flag.startswith("--")]
    names = {flag.removeprefix("--"): flag for flag in flags}
    found = near_key(error.option_name.lstrip("-"), list(names))
    return f"Did you mean {names[found]}?" if found else look


def _wrong_value(error: click.BadParameter, look: str) -> WrongUsage:
    from workbench.recipes.nearest import nearest

    name = _name(error)
    given = found[1] if (found := re.match(r"'(.*?)' is not ", error.message, re.DOTALL)) else ""
    kind = error.param.type if error.param else None
    if given and isinstance(kind, click.Choice):
        return WrongUsage(f"{name} cannot be {given!r}.", nearest(given, [str(choice) for choice in kind.choices]))
    expected = {"integer": "a whole number", "float": "a number", "boolean": "true or false"}.get(
        getattr(kind, "name", "")
    )
    if given and expected:
        return WrongUsage(f"{name} is {given!r}, but should be {expected}.", getattr(error.param, "help", "") or look)
    return WrongUsage(f"{name}: {error.message}", look)


def _name(error: click.BadParameter) -> str:
    if isinstance(error.param, click.Option):
        return error.param.opts[0]
    if error.param is not None:
        return (error.param.metavar or (error.param.name or "").upper()).rstrip(".")
    return error.param_hint if isinstance(error.param_hint, str) else "a value"
