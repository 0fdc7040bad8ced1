"""The start screen: projects that were opened lately, and ways to begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from workbench import figures
from workbench.tui import actions, safe
from workbench.tui.live import Changes
from workbench.tui.screens.base import WorkbenchScreen
from workbench.tui.widgets.empty import Empty
from workbench.tui.widgets.painted import Painted
from workbench.tui.widgets.table import Column, Table


class Welcome(Painted, Static):
    """The name and what it is for."""

    DEFAULT_CSS = "Welcome { height: auto; padding: 1 2; }"

    def __init__(self) -> None:
        super().__init__(markup=False)

    def render(self) -> Text:
        arrow = " > " if self.ascii else " → "
        road = arrow.join(("text", "tokenizer", "pretraining", "GGUF", "chat"))
        return self.joined(
            [self.assemble(("Workbench", "strong")), self.assemble((f"A language model of your own: {road}", "muted"))]
        )


class StartScreen(WorkbenchScreen):
    """Recent projects in a table; `n`, `o` and `d` begin."""

    PLACE = "start"
    BINDINGS = actions.bindings("start")
    DEFAULT_CSS = """
    StartScreen #recent { margin: 0 1; height: 1fr; }
    StartScreen #none { display: none; }
    StartScreen.-empty #none { display: block; }
    StartScreen.-empty #recent { display: none; }
    """

    def body(self) -> ComposeResult:
        yield Welcome()
        with Vertical(id="recent", classes="pane") as pane:
            pane.border_title = "Recent projects"
            yield Table(
                (
                    Column(title="Project", width=14, grow=1),
                    Column(title="Opened", width=12),
                    Column(title="Folder", width=24, grow=2),
                ),
                self.cells,
                key=lambda entry: entry["path"],
            )
        yield Empty(
            "No project was opened yet.",
            ("n", "make a new one in an empty folder"),
            ("o", "open one that exists"),
            ("d", "watch the demo make a small model in a few minutes"),
            id="none",
        )

    def cells(self, entry: dict[str, Any]) -> list[Text]:
        table = self.query_one(Table)
        return [
            table.assemble((safe.line(entry["name"]), "strong")),
            table.assemble((figures.age(self.app.now() - float(entry.get("opened", 0))), "muted")),
            table.assemble((safe.line(shortened(entry["path"])), "muted")),
        ]

    def show(self, changes: Changes) -> None:
        from workbench.store.recent import recent

        entries = recent()
        self.set_class(not entries, "-empty")
        table = self.query_one(Table)
        table.set_rows(entries)
        if entries and self.focused is None:
            table.focus()

    def on_table_opened(self, event: Table.Opened) -> None:
        self.app.perform(actions.BY_ACTION["everywhere.open"], event.row["path"])

    def do_new(self, argument: str = "") -> None:
        self.app.do_new(argument)

    def do_demo(self, argument: str = "") -> None:
        if not argument:
            self.app.ask_line("Make the demo in", self.do_demo, value="demo-project", hint="a new folder")
            return
        from workbench.tui.stages import start_demo

        self.app.in_background(lambda: start_demo(Path(argument)), self.app.open_project)

    def do_browse(self, argument: str = "") -> None:
        self.app.do_open(argument)


def shortened(path: str) -> str:
    """The path with the home folder as ~."""
    home = str(Path.home())
    return f"~{path.removeprefix(home)}" if path.startswith(f"{home}/") else path
