"""Arena: the sets of answers that can be ranked, and how far each is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from workbench import figures
from workbench.errors import WorkbenchError
from workbench.preferences.ranking import Ranking, RewardChoice
from workbench.preferences.sets import CandidateSet, Progress, candidate_set, candidate_sets, progress
from workbench.store.catalog import Catalog
from workbench.store.project import Project
from workbench.tui import actions, safe
from workbench.tui.live import ArtifactRow, Changes
from workbench.tui.screens.arena_judging import Judging
from workbench.tui.screens.base import WorkbenchScreen
from workbench.tui.widgets.empty import Empty
from workbench.tui.widgets.status import Status
from workbench.tui.widgets.table import Column, Table

COLUMNS = (
    Column(title="Answers", width=22, grow=2),
    Column(title="Prompts", width=7, right=True, drop=2),
    Column(title="Pairs", width=7, right=True),
    Column(title="Judged", width=14),
    Column(title="By", width=10, grow=1, drop=1),
    Column(title="Made", width=11, right=True, drop=3),
)
BAR = 8  # columns
AT_RANDOM = "/"  # no name of a reward model

Key = tuple[str, int, int]


class ArenaScreen(WorkbenchScreen):
    """A list; Enter opens a set."""

    PLACE = "arena"
    BINDINGS = actions.bindings("arena")
    DEFAULT_CSS = """
    ArenaScreen #none { display: none; }
    ArenaScreen.-empty #none { display: block; }
    ArenaScreen.-empty #sets { display: none; }
    ArenaScreen #sets { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.ranking = Ranking()
        self.sets: Sequence[CandidateSet] = ()
        self._known: dict[Key, Progress | WorkbenchError] = {}

    def body(self) -> ComposeResult:
        yield Empty("No answers to rank yet.", id="none")
        with Vertical(id="sets", classes="pane") as pane:
            pane.border_title = "Answers to rank"
            yield Table(COLUMNS, self.cells, key=lambda item: item.identity)
            yield Status()

    # ------------------------------------------------------------------ what is shown

    def show(self, changes: Changes) -> None:
        live = self.app.live
        if live is not None and live.loaded:
            self.beside(self._read, group="sets")

    async def _read(self) -> None:
        live = self.app.live
        if live is None:
            return
        self.sets = await asyncio.wrap_future(live.ask(partial(_sets, live.project)))
        self._show_sets()
        for item in self.sets:
            if _key(item) not in self._known:
                self._known[_key(item)] = await asyncio.to_thread(_progress, item)
                self._show_sets()

    def _show_sets(self) -> None:
        self.set_class(not self.sets, "-empty")
        if not self.sets:
            self._say_what_to_do()
        table = self.query_one(Table)
        table.set_rows(self.sets)
        table.refresh()
        if self.sets and self.focused is None:
            table.focus()
        chosen = safe.line(self.ranking.reward.name) if self.ranking.reward else "at random"
        self.query_one(Status).say(f"rater: {safe.line(self.ranking.rater)}   pairs: {chosen}")
        self.refresh_keys()

    def _say_what_to_do(self) -> None:
        live, none = self.app.live, self.query_one("#none", Empty)
        kinds = {item.kind for item in live.artifacts} if live else set()
        if kinds & {"model", "export"}:
            none.say(
                "No answers to rank yet. Have a model write some, several to each prompt.",
                ("workbench candidates --model MODEL --prompts FILE --name NAME", "as a run"),
                ("g r", "watch it: ranking can begin with the first prompt"),
            )
        else:
            none.say(
                "No answers to rank yet, and no model that could write some.",
                ("g m", "the road to a model, on the map"),
            )

    def cells(self, item: CandidateSet) -> list[Text]:
        on, known = self.query_one(Table), self._known.get(_key(item))
        name = on.assemble((safe.line(item.id), "strong"))
        if item.growing:
            name.append_text(on.assemble(("  being written", "busy")))
        elif item.run:
            name.append_text(on.assemble((f"  {item.run_state}", "warn")))
        made = on.assemble((figures.age(self.app.now() - item.created), "muted"))
        if isinstance(known, WorkbenchError):
            return [name, Text(), Text(), on.assemble(("damaged", "bad")), on.assemble((known.what, "bad")), made]
        if known is None:
            return [name, Text(), Text(), on.assemble(("...", "muted")), Text(), made]
        return [
            name,
            on.assemble(f"{known.prompts:,}"),
            on.assemble(figures.count(known.pairs)),
            self._bar(known),
            on.assemble((safe.line(", ".join(known.raters)), "muted")),
            made,
        ]

    def _bar(self, known: Progress) -> Text:
        on = self.query_one(Table)
        asked = known.pairs - known.set_aside
        share = known.judged / asked if asked else 0.0
        full = round(share * BAR) if share < 1 else BAR
        mark, rest = ("#", ".") if self.app.ascii else ("━", "─")
        return on.assemble(
            (mark * full, "good" if share == 1 else "busy"), (rest * (BAR - full), "line"), f" {share:4.0%}"
        )

    # ------------------------------------------------------------------ actions

    def _why_none(self, argument: str = "") -> str | None:
        project = self.app.project
        if project is not None and not project.writable():
            return "The project is read-only: judgements could not be kept."
        return None if argument or self.query_one(Table).row is not None else "There are no answers to rank."

    why_not_rank = why_not_order = why_not_compare = _why_none

    def on_table_opened(self, event: Table.Opened) -> None:
        self.app.perform(actions.BY_ACTION["arena.rank"])

    def do_rank(self, argument: str = "") -> None:
        self._open(argument, self.ranking)

    def do_order(self, argument: str = "") -> None:
        self._open(argument, replace(self.ranking, whole_sets=True))

    def do_compare(self, argument: str = "") -> None:
        self._open(argument, replace(self.ranking, evaluation=True))

    def do_rater(self, argument: str = "") -> None:
        def take(name: str) -> None:
            if name:
                self.ranking = replace(self.ranking, rater=name)
                self._show_sets()

        if argument:
            take(argument)
        else:
            self.app.ask_line("Who judges?", take, value=self.ranking.rater)

    def why_not_choose(self, argument: str = "") -> str | None:
        live = self.app.live
        known = [item.id for item in live.artifacts if item.kind == "reward"] if live else []
        if argument and argument not in known:
            return f"There is no reward model {argument!r}."
        return None if known else "There is no reward model yet: rank at random first, then train one."

    def do_choose(self, argument: str = "") -> None:
        live = self.app.live
        assert live is not None
        known = {item.id: item for item in reversed(live.artifacts) if item.kind == "reward"}
        if not argument:
            from workbench.tui.screens.menu import Choice, Menu

            choices = [Choice(AT_RANDOM, (), "", "At random", "Without a reward model.")]
            choices += [Choice(name, (), "", safe.line(name), "Where it is least sure, first.") for name in known]
            menu = Menu(
                "Which pairs come first", choices, chosen=self.ranking.reward.name if self.ranking.reward else ""
            )
            self.app.push_screen(menu, lambda chosen: self._choose_by(known.get(chosen)) if chosen else None)
        else:
            self._choose_by(known[argument])

    def _choose_by(self, row: ArtifactRow | None) -> None:
        live = self.app.live
        assert live is not None
        reward = None
        if row is not None:
            folder = live.project.folder("reward") / row.id
            reward = RewardChoice(name=row.id, identity=row.identity, folder=folder)
        self.ranking = replace(self.ranking, reward=reward)
        self._show_sets()

    def _open(self, name: str, ranking: Ranking) -> None:
        live = self.app.live
        row: CandidateSet | None = self.query_one(Table).row

        def show(item: CandidateSet) -> None:
            self.app.push_screen(judging(item, ranking))

        if not name and row is not None:
            show(row)
        elif live is not None:
            self.app.in_background(lambda: live.ask(partial(candidate_set, live.project, name=name)).result(), show)


def judging(item: CandidateSet, ranking: Ranking) -> Judging:
    """The screen on which the set is judged as `ranking` says."""
    if ranking.whole_sets:
        from workbench.tui.screens.arena_set import SetScreen

        return SetScreen(item, ranking)
    from workbench.tui.screens.arena_pair import PairScreen

    return PairScreen(item, ranking)


def _sets(project: Project, catalog: Catalog) -> list[CandidateSet]:
    return candidate_sets(project, catalog)


def _progress(item: CandidateSet) -> Progress | WorkbenchError:
    try:
        return progress(item)
    except WorkbenchError as error:
        return error


def _key(item: CandidateSet) -> Key:
    """What the progress was read from; the files only grow."""
    sizes = [path.stat().st_size if path.exists() else 0 for path in (item.candidates, item.judgements)]
    return item.identity, sizes[0], sizes[1]
