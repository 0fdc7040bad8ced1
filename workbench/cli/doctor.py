"""`workbench doctor`: what this machine can do, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from typing import Any

import click

from workbench import __version__, registry
from workbench.cli.output import answer, common
from workbench.errors import WorkbenchError
from workbench.figures import size
from workbench.store.catalog import network_file_system, open_catalog
from workbench.store.project import find
from workbench.store.recent import state_folder


@click.command("doctor", epilog="\b\nExample:\n  workbench doctor --json")
@common
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this machine, its engines and the project; exit 1 if something that is needed is missing."""
    import psutil

    memory = psutil.virtual_memory()
    found: dict[str, Any] = {
        "workbench": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "disk_free_bytes": shutil.disk_usage(".").free,
        "state_folder": str(state_folder()),
        "terminal": os.environ.get("TERM", ""),
        "engines": {},
        "problems": [],
    }
    for name, able in registry.capabilities().items():
        found["engines"][name] = {
            "available": able.available, "stages": able.stages, "devices": able.devices, "dtypes": able.dtypes,
            "versions": dict(able.versions), "reason": able.reason, "install": able.install,
            "lacking": dict(able.lacking), "weight_formats": able.weight_formats,
            "lacking_formats": dict(able.lacking_formats),
        }  # fmt: skip
        if not able.available:
            found["problems"].append({"what": able.reason, "remedy": able.install})
        found["problems"] += [{"what": what, "remedy": able.install} for what in able.lacking.values()]
    found["project"], problems = _project((ctx.find_root().obj or {}).get("project"))
    found["problems"] += problems
    if as_json:
        answer(found)
    else:
        _print(found)
    if found["problems"]:
        raise SystemExit(1)


def _project(explicit: str | None) -> tuple[str | None, list[dict[str, str]]]:
    """The project's folder, if there is one, and what is wrong with it."""
    problems = []
    try:
        project = find(explicit)
    except WorkbenchError as error:
        absent = "no project" in error.what
        return None, [] if absent else [{"what": error.what, "remedy": error.remedy}]
    if kind := network_file_system(project.root):
        what = f"The project lies on a network file system ({kind})."
        problems.append({"what": what, "remedy": "It works, with a slower catalog."})
    try:
        with open_catalog(project) as catalog:
            state = catalog.rows("PRAGMA quick_check")[0]
            if "ok" not in state.values():
                raise WorkbenchError("The catalog is damaged.", "Rebuild it: workbench repair")
    except WorkbenchError as error:
        problems.append({"what": error.what, "remedy": error.remedy})
    return str(project.root), problems


def _print(found: dict[str, Any]) -> None:
    click.echo(f"workbench {found['workbench']} on Python {found['python']}, {found['platform']}")
    click.echo(
        f"{found['cpus']} CPUs, {size(found['memory_available_bytes'])} of {size(found['memory_bytes'])} memory free, "
        f"{size(found['disk_free_bytes'])} of disk free here"
    )
    click.echo(f"project: {found['project'] or 'none here (workbench new PATH makes one)'}")
    for name, able in found["engines"].items():
        if able["available"]:
            devices = f" on {', '.join(able['devices'])}" if able["devices"] else ""
            click.echo(f"  ok       {name}: {', '.join(able['stages'])}{devices}")
        else:
            click.echo(f"  missing  {name}: {able['reason']}")
        for what in able["lacking"].values():
            click.echo(f"  missing  {name}: {what}")
        if able["install"]:
            click.echo(f"           {able['install']}")
        for what, remedy in able["lacking_formats"].values():
            click.echo(f"  missing  {name}: {what}\n           {remedy}")
    told = {what for able in found["engines"].values() for what in (able["reason"], *able["lacking"].values())}
    for problem in found["problems"]:
        if problem["what"] not in told:
            click.echo(f"  problem  {problem['what']} {problem['remedy']}")


COMMANDS = {"doctor": doctor}
