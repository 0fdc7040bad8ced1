"""Opens the terminal UI."""

from __future__ import annotations

from workbench.errors import WorkbenchError
from workbench.store.project import Project, find


def open_tui(project_path: str | None, *, debug: bool) -> None:
    """The TUI on the current project, or on its start screen where there is none."""
    from workbench.tui.app import run

    project: Project | None
    try:
        project = find(project_path)
    except WorkbenchError:
        if project_path:
            raise
        project = None
    run(project, debug=debug)
