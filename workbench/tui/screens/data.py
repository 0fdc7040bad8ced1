"""Data: corpora, conversations, preferences and answers, with what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll

from workbench import figures
from workbench.store.project import FOLDERS
from workbench.tui import actions, cleaning_view, inspecting, model_tree, reported, safe
from workbench.tui.live import ArtifactRow, Changes
from workbench.tui.records import KINDS, counts
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.widgets.empty import Empty
from workbench.tui.widgets.sections import Sections
from workbench.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from workbench.tui.inspecting import Subject

COLUMNS = (
    Column(title="Name", width=14, grow=1),
    Column(title="Kind", width=11),
    Column(title="Holds", width=33, grow=1),
    Column(title="Size", width=9, right=True, drop=2),
    Column(title="Made", width=11, right=True, drop=1),
)
DRAFT = "draft:"  # no id of a run has a colon


class DataScreen(WorkbenchScreen):
    """Wide: the sets, and beside them what is known of one. Narrow: below."""

    PLACE = "data"
    BINDINGS = actions.bindings("data")
    DEFAULT_CSS = """
    DataScreen #none { display: none; }
    DataScreen.-empty #none { display: block; }
    DataScreen.-empty #data { display: none; }
    DataScreen #data { height: 1fr; }
    DataScreen #sets { height: 55%; }
    DataScreen #details { height: 1fr; scrollbar-size-vertical: 1; }
    DataScreen.-wide #data, DataScreen.-very-wide #data { layout: horizontal; }
    DataScreen.-wide #sets, DataScreen.-very-wide #sets { width: 62%; height: 100%; }
    DataScreen.-wide #details, DataScreen.-very-wide #details { width: 1fr; height: 100%; }
    """

    def body(self) -> ComposeResult:
        yield Empty("No data yet.", id="none")
        with Container(id="data"):
            with Vertical(id="sets", classes="pane") as pane:
                pane.border_title = "Data"
                yield Table(COLUMNS, self.cells, key=model_tree.key)
            with VerticalScroll(id="details", classes="pane"):
                yield Sections()

    # ------------------------------------------------------------------ what is shown

    @property
    def chosen(self) -> ArtifactRow | None:
        return self.query_one(Table).row

    def show(self, changes: Changes) -> None:
        live = self.app.live
        if live is None:
            return
        rows = sets(live.artifacts)
        self.set_class(live.loaded and not rows, "-empty")
        if live.loaded and not rows:
            self.query_one("#none", Empty).say(
                "No data yet: text to pretrain on, conversations, preferences.",
                (":import", "text files"),
                ("workbench import-chat FILE", "conversations"),
                ("g m", "the whole road, on the map"),
            )
        table = self.query_one(Table)
        table.set_rows(rows)
        if rows and self.focused is None:
            table.focus()
        self._show_details()

    def cells(self, item: ArtifactRow) -> list[Text]:
        on = self.query_one(Table)
        return [
            on.assemble((safe.line(item.id), "strong")),
            on.assemble((item.kind, "muted")),
            on.assemble(counts(item.kind, item.report)),
            on.assemble(figures.size(item.bytes)),
            on.assemble((figures.age(self.app.now() - item.created), "muted")),
        ]

    def on_table_moved(self, event: Table.Moved) -> None:
        self._show_details()
        self.refresh_keys()

    def _show_details(self) -> None:
        item, live = self.chosen, self.app.live
        if item is None or live is None:
            return
        entitle(self.query_one("#details"), f"{item.kind} {item.id}")
        on = self.query_one("#details Sections", Sections)
        on.begin()
        made = figures.age(self.app.now() - item.created) + (f" by {safe.line(item.run)}" if item.run else "")
        on.heading((safe.line(item.name), "strong"), (f"  version {item.version}, made {made}", "muted"))
        reported.show(on, item, ascii=self.app.ascii)
        if made_from := model_tree.origin(item, live.artifacts):
            on.heading(("Made from", "strong"))
            on.branches(made_from)
        if made_of_it := model_tree.offspring(item, live.artifacts):
            on.heading(("Made from it", "strong"))
            on.branches(made_of_it)
        on.sentence(f"in {FOLDERS[item.kind]}/{item.id} of the project")
        on.end()

    # ------------------------------------------------------------------ actions

    def _meant(self, argument: str) -> ArtifactRow | None:
        live = self.app.live
        if not argument or live is None:
            return self.chosen
        return next((item for item in sets(live.artifacts) if argument in (item.id, f"{item.kind}/{item.id}")), None)

    def why_not_read(self, argument: str = "") -> str | None:
        if self._meant(argument) is not None:
            return None
        return f"There is no data {argument!r}." if argument else "There is no data to read."

    def on_table_opened(self, event: Table.Opened) -> None:
        self.app.perform(actions.BY_ACTION["data.read"])

    def do_read(self, argument: str = "") -> None:
        from workbench.tui.screens.data_records import RecordsScreen

        item = self._meant(argument)
        assert item is not None
        self.app.push_screen(RecordsScreen(item))

    def why_not_rejects(self, argument: str = "") -> str | None:
        item = self._meant(argument)
        if item is None or item.kind != "corpus":
            return "Steps of cleaning are a corpus' alone: choose one."
        return None if cleaning_view.funnel(item.report) else "It was imported before its steps were counted."

    def do_rejects(self, argument: str = "") -> None:
        from workbench.tui.screens.data_rejects import RejectsScreen

        item = self._meant(argument)
        assert item is not None
        self.app.push_screen(RejectsScreen(item))

    def why_not_clusters(self, argument: str = "") -> str | None:
        item = self._meant(argument)
        steps = item.report.get("funnel") or () if item is not None else ()
        looked = next((step for step in steps if step["step"] == "near-duplicates"), None)
        if looked is None:
            return "Near duplicates were not looked for in it: import with --clean web-en, or another preset with them."
        return None if looked["rejected"] else "It had no near duplicates."

    def do_clusters(self, argument: str = "") -> None:
        from workbench.tui.screens.data_clusters import ClustersScreen

        item = self._meant(argument)
        assert item is not None
        self.app.push_screen(ClustersScreen(item))

    def do_inspect(self, argument: str = "") -> None:
        live, project = self.app.live, self.app.project
        assert live is not None
        assert project is not None
        runs = inspecting.trains_on_known_batches(list(live.runs.values()))
        if argument:
            run = inspecting.run_meant(live.runs, argument)
            if run is None:
                self.app.tell(f"There is no run, and no model of a run, {safe.line(argument)!r}.", severity="warning")
                return
            if run.stage not in inspecting.STAGES:
                self.app.tell(f"{run.id} trains on no batches that are known beforehand.", severity="warning")
                return
            self._inspect(inspecting.run_subject(project, run))
            return
        from workbench.tui.draft import title_of
        from workbench.tui.screens.menu import Choice, Menu

        choices = [
            Choice(run.id, (), "", safe.line(run.id), safe.line(f"makes {run.name}, {run.state}")) for run in runs
        ]
        choices += [
            Choice(f"{DRAFT}{stage}", (), "", f"{title_of(stage)} ...", "a new recipe: x in its form shows its batches")
            for stage in inspecting.STAGES
        ]
        self.app.push_screen(Menu("What is trained on, in", choices), partial(self._inspect_chosen))

    def _inspect_chosen(self, chosen: str | None) -> None:
        if chosen is None:
            return
        if chosen.startswith(DRAFT):
            item = self.chosen
            field = {"corpus": "corpus", "preferences": "preferences", "chats": "data", "candidates": "preferences"}
            stage = chosen.removeprefix(DRAFT)
            from workbench.tui.draft import Draft

            given = field.get(item.kind, "") if item is not None else ""
            known = given in Draft(stage).fields
            self.app.open_form(stage, {given: item.id} if item is not None and known else {})
        else:
            self.do_inspect(chosen)

    def _inspect(self, subject: Subject) -> None:
        from workbench.tui.screens.data_inspector import InspectorScreen

        self.app.push_screen(InspectorScreen(subject))


def sets(artifacts: Sequence[ArtifactRow]) -> list[ArtifactRow]:
    """The data sets, the newest first; those that a later one goes on from are part of it."""
    gone_on_from = {item.report.get("continues") for item in artifacts}
    return [item for item in reversed(artifacts) if item.kind in KINDS and item.identity not in gone_on_from]
