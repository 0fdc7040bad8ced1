"""The map: the road from text to chat, what stands on it, and the next step."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.widgets import Static

from workbench import figures
from workbench.tui import actions, safe
from workbench.tui.live import ArtifactRow, Changes
from workbench.tui.places import screen_for
from workbench.tui.road import NextStep, Stop, making, next_step, road, stale
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.widgets import run_cells
from workbench.tui.widgets.bars import Footer
from workbench.tui.widgets.painted import Painted
from workbench.tui.widgets.road_map import ROW_LINES, RoadMap
from workbench.tui.widgets.sections import Sections
from workbench.tui.widgets.table import Column, Table


class Proposal(Painted, Static):
    """The next step, with the key that takes it."""

    DEFAULT_CSS = "Proposal { height: auto; }"

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.step: NextStep | None = None
        self.waiting = "Reading the project ..."

    def propose(self, step: NextStep | None, *, waiting: str = "") -> None:
        if (step, waiting) != (self.step, self.waiting):
            self.step, self.waiting = step, waiting
            self.refresh(layout=True)

    def render(self) -> Text:
        if self.step is None:
            return self.assemble((self.waiting, "muted"))
        text = self.assemble(("n", "key"), "  ", safe.line(self.step.sentence))
        if self.step.stage:
            text.append_text(self.assemble("\n   ", (f":{safe.line(self.step.command)}", "muted")))
        text.no_wrap = False
        return text


class MapScreen(WorkbenchScreen):
    """Wide: boxes, and below them what is made at the chosen stop. Narrow: rows; Enter shows what is made there."""

    PLACE = "map"
    BINDINGS = actions.bindings("map")
    DEFAULT_CSS = """
    MapScreen #road { height: auto; border: round $line; padding: 0 1; }
    MapScreen #road:focus-within { border: round $primary; }
    MapScreen.-wide #road, MapScreen.-very-wide #road { border: none; padding: 1 1 0 1; }
    MapScreen #next { height: auto; border-title-color: $accent; }
    MapScreen #made { height: 1fr; display: none; }
    MapScreen.-wide #made, MapScreen.-very-wide #made { display: block; layout: horizontal; }
    MapScreen #versions { height: 40%; min-height: 5; }
    MapScreen #detail { height: 1fr; }
    MapScreen.-wide #versions, MapScreen.-very-wide #versions { width: 46%; height: 100%; }
    MapScreen.-wide #detail, MapScreen.-very-wide #detail { width: 1fr; height: 100%; }
    MapScreen.-opened #made { display: block; }
    MapScreen.-narrow.-opened #road { display: none; }
    MapScreen.-narrow.-opened #next { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.stops: list[Stop] = []
        self.step: NextStep | None = None
        self.stale: dict[tuple[str, str], str] = {}

    def body(self) -> ComposeResult:
        with Vertical(id="road"):
            yield RoadMap()
        with Vertical(id="next", classes="pane") as pane:
            pane.border_title = "Next step"
            yield Proposal()

    def _made(self) -> Container:
        """What is made at the chosen stop: mounted once it is known, after the first paint."""
        columns = (
            Column(title="Name", width=14, grow=1),
            Column(title="State", width=8),
            Column(title="Size", width=8, right=True),
            Column(title="Made", width=11, right=True, drop=1),
        )
        table = Table(columns, self.cells, key=lambda item: item.id, opens="Details")
        return Container(
            Vertical(table, id="versions", classes="pane"),
            VerticalScroll(Sections(), id="detail", classes="pane"),
            id="made",
        )

    # ------------------------------------------------------------------ what is shown

    def show(self, changes: Changes) -> None:
        live = self.app.live
        if live is None or not live.loaded:
            if live is not None and live.error is not None:
                self.query_one(Proposal).propose(None, waiting=safe.line(live.error.remedy))
            return
        if not self.query("#made"):
            self.mount(self._made(), before=self.query_one(Footer))
            self.call_after_refresh(self._show_made)
        self.stops = road(live.artifacts, live.runs)
        self.stale = stale(live.artifacts)
        self.step = next_step(self.stops)
        self.query_one(RoadMap).set_stops(self.stops)
        self.query_one(Proposal).propose(self.step)
        self.call_after_refresh(self._space)
        if self.focused is None:
            self.query_one(RoadMap).focus()
        if changes.artifacts:
            self._show_made()

    def _space(self) -> None:
        """Lines between the rows, where header, footer, borders and the next step leave them."""
        road = self.query_one(RoadMap)
        free = self.size.height - 6 - self.query_one(Proposal).size.height
        road.space(free >= ROW_LINES * len(self.stops) + len(self.stops) - 1)

    def on_resize(self) -> None:
        self.call_after_refresh(self._space)

    @property
    def chosen(self) -> Stop | None:
        return self.query_one(RoadMap).chosen

    def on_road_map_chosen(self, event: RoadMap.Chosen) -> None:
        self._show_made()
        self.refresh_keys()
        if event.opened:
            self.add_class("-opened")
            self.query_one("#versions Table").focus()

    def _show_made(self) -> None:
        stop = self.chosen
        if stop is None or not self.query(Sections):
            return
        entitle(self.query_one("#versions"), f"{stop.kind.title}: {len(stop.artifacts)} made")
        self.query_one(Table).set_rows(stop.artifacts)
        self._show_detail()

    def cells(self, item: ArtifactRow) -> list[Text]:
        on = self.query_one(Table)
        return [
            on.assemble((safe.line(item.id), "strong")),
            run_cells.state(on, "stale" if (item.kind, item.id) in self.stale else "made"),
            on.assemble(figures.size(item.bytes)),
            on.assemble((figures.age(self.app.now() - item.created), "muted")),
        ]

    def on_table_moved(self, event: Table.Moved) -> None:
        self._show_detail()
        self.refresh_keys()

    def on_table_opened(self, event: Table.Opened) -> None:
        self.query_one("#detail").focus()

    @property
    def item(self) -> ArtifactRow | None:
        """The artifact under the cursor of the chosen stop."""
        tables = self.query(Table)
        return tables.first().row if tables else None

    def _show_detail(self) -> None:
        from workbench.tui import model_tree, reported

        on, stop, item, live = self.query_one(Sections), self.chosen, self.item, self.app.live
        if stop is None or live is None:
            return
        on.begin()
        if item is None:
            entitle(self.query_one("#detail"), stop.kind.title)
            how = "It comes with the pretraining." if stop.kind.stage == "shards" else "a starts it."
            on.sentence(f"Nothing is made here yet: {stop.kind.what}. {how}")
            on.end()
            return
        entitle(self.query_one("#detail"), f"{item.kind} {item.id}")
        made = f"{figures.age(self.app.now() - item.created)}" + (f" by {item.run}" if item.run else "")
        on.sentence(f"Version {item.version}, made {made}", "muted")
        if why := self.stale.get((item.kind, item.id)):
            on.sentence(f"Stale: {why}.", "warn")
        reported.show(on, item, ascii=self.app.ascii)
        if item.inputs:
            on.heading(("Made from", "strong"))
            on.branches(model_tree.origin(item, live.artifacts))
        if made_of_it := model_tree.offspring(item, live.artifacts):
            on.heading(("Made from it", "strong"))
            on.branches(made_of_it)
        for section, values in model_tree.recipe_lines(item.recipe):
            on.heading((section or "Recipe", "muted" if section else "strong"))
            on.pairs(values)
        on.end()

    # ------------------------------------------------------------------ actions

    def why_not_next(self, _: str = "") -> str | None:
        if self.step is None:
            return "The project is being read."
        if self.step.stage or self.step.again:
            return self.app.why_no_stage()
        return None

    def do_next(self, _: str = "") -> None:
        step = self.step
        assert step is not None
        if step.again:
            self.app.open_form_again(step.run)
        elif step.run:
            self.app.show_run(step.run)
        elif step.screen:
            place = screen_for(step.screen)
            if place is not None:
                self.app.go(place.id)
        else:
            self.app.open_form(step.stage, step.values)

    def why_not_make(self, _: str = "") -> str | None:
        if self.chosen is None:
            return "The project is being read."
        if self.chosen.kind.stage == "shards":
            return "Shards are made by the pretraining that needs them."
        return self.app.why_no_stage()

    def do_make(self, _: str = "") -> None:
        assert self.chosen is not None
        stage = self.chosen.kind.stage
        self.app.open_form(stage, making(stage, self.stops))

    def why_not_run(self, _: str = "") -> str | None:
        return None if self._run() else "No run of this project made it."

    def do_run(self, _: str = "") -> None:
        self.app.show_run(self._run())

    def _run(self) -> str:
        stop, live = self.chosen, self.app.live
        if stop is None or live is None:
            return ""
        if stop.run is not None and not self.has_class("-opened"):
            return stop.run.id
        return self.item.run if self.item is not None and self.item.run in live.runs else ""

    def why_not_back(self, _: str = "") -> str | None:
        return None if self.has_class("-opened") else "There is nothing to go back from."

    def do_back(self, _: str = "") -> None:
        self.remove_class("-opened")
        self.query_one(RoadMap).focus()
