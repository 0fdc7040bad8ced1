"""Near duplicates of a corpus, cluster by cluster: the one that was kept beside one that was not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from workbench import figures
from workbench.tui import actions, cleaning_view, safe
from workbench.tui.cleaning_view import Member
from workbench.tui.live import ArtifactRow
from workbench.tui.records import Part
from workbench.tui.screens.base import entitle
from workbench.tui.screens.reading import ReadingScreen
from workbench.tui.widgets.reader import Reader
from workbench.tui.widgets.table import Column, Table

COLUMNS = (
    Column(title="Alike", width=5, right=True),
    Column(title="Least", width=5, right=True),
    Column(title="Begins", width=24, grow=2),
    Column(title="Source", width=18, grow=1, drop=1),
)
TITLE = 120  # characters


class ClustersScreen(ReadingScreen):
    """The clusters above; below, the kept document and another of the same cluster, side by side."""

    PLACE = "clusters"
    BINDINGS = actions.bindings("clusters")
    DEFAULT_CSS = """
    ClustersScreen #clusters { height: 30%; min-height: 7; }
    ClustersScreen #pair { height: 1fr; layout: horizontal; }
    ClustersScreen #kept, ClustersScreen #other { width: 1fr; height: 100%; }
    ClustersScreen.-zoomed #clusters { display: none; }
    """

    def __init__(self, item: ArtifactRow):
        super().__init__()
        self.item = item
        self.other = 1  # which of the cluster's documents stands beside the kept one

    def heading(self) -> str:
        return safe.line(f"Near duplicates of {self.item.id}")

    def body(self) -> ComposeResult:
        with Vertical(id="clusters", classes="pane") as pane:
            pane.border_title = "Clusters"
            yield Table(COLUMNS, self.cells, key=lambda members: (members[0].source, members[0].position), opens="Read")
        with Container(id="pair"):
            with Vertical(id="kept", classes="pane"):
                yield Reader()
            with Vertical(id="other", classes="pane"):
                yield Reader()

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self.beside(self._open)

    async def _open(self) -> None:
        project = self.app.project
        assert project is not None
        found = await asyncio.to_thread(cleaning_view.clusters, project.folder(self.item.kind) / self.item.id)
        self.query_one(Table).set_rows(found)
        documents = sum(map(len, found))
        clusters = figures.counted(len(found), "clusters")
        entitle(self.query_one("#clusters"), f"{clusters} of {documents:,} documents kept as examples")
        self.refresh_keys()

    def cells(self, members: Sequence[Member]) -> list[Text]:
        on = self.query_one(Table)
        first = members[0]
        return [
            on.assemble((f"{len(members):,}", "strong")),
            on.assemble(f"{min(member.similarity for member in members):.2f}"),
            on.assemble(safe.line(" ".join(first.text[: 4 * TITLE].split())[:TITLE])),
            on.assemble((safe.line(first.source), "muted")),
        ]

    @property
    def _members(self) -> Sequence[Member]:
        return self.query_one(Table).row or ()

    def on_table_moved(self, event: Table.Moved) -> None:
        self.other = 1
        self._show()

    def _show(self) -> None:
        for pane, place in (("#kept", 0), ("#other", self.other)):
            member = self._members[place] if place < len(self._members) else None
            reader = self.query_one(f"{pane} Reader", Reader)
            if member is None:
                entitle(self.query_one(pane), "")
                reader.show(())
                continue
            alike = "" if place == 0 else f"{member.similarity:.2f} alike, {self.other} of {len(self._members) - 1}"
            entitle(self.query_one(pane), "kept" if member.kept else "left out", alike)
            reader.show((Part(f"{member.source}, number {member.position}", member.text),))
        self.refresh_keys()

    def why_not_next(self, _: str = "") -> str | None:
        return None if self.other + 1 < len(self._members) else "This is the cluster's last document."

    def why_not_previous(self, _: str = "") -> str | None:
        return None if self.other > 1 else "This is the cluster's first document."

    def do_next(self, _: str = "") -> None:
        self.other += 1
        self._show()

    def do_previous(self, _: str = "") -> None:
        self.other -= 1
        self._show()
