"""A form made of a recipe class: its fields, what is wrong with them, and what the run will take and make."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.timer import Timer
from textual.widget import Widget

from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe
from workbench.recipes.benchmark import BenchmarkRecipe
from workbench.recipes.corpus import ImportRecipe
from workbench.recipes.fields import RecipeField
from workbench.runs.plan import Step, plan
from workbench.store.catalog import open_catalog
from workbench.store.project import Project
from workbench.tui import actions, choices, outlook
from workbench.tui.draft import Checked, Draft, Group, about, shown_value, title_of
from workbench.tui.live import Changes
from workbench.tui.outlook import Fact
from workbench.tui.screens.base import WorkbenchScreen
from workbench.tui.screens.dialogs import Words
from workbench.tui.widgets.bars import READ_ONLY
from workbench.tui.widgets.facts import Facts
from workbench.tui.widgets.fields import Field, FieldChanged, Fold, LineField, Pick, StartButton
from workbench.tui.widgets.form_row import Row, control
from workbench.tui.widgets.sections import Sections

PAUSE = 0.25  # seconds without a key before the plan is made: it asks the catalog and, of an import, the disk


class FormScreen(WorkbenchScreen):
    """Wide: fields on the left, the outlook and the field's help on the right. Narrow: these below the fields."""

    PLACE = "form"
    BINDINGS = actions.bindings("form")
    DEFAULT_CSS = """
    FormScreen #form { height: 1fr; }
    FormScreen #fields { height: 1fr; scrollbar-size-vertical: 1; }
    FormScreen .group { height: auto; display: none; padding: 0 0 0 2; margin-bottom: 1; }
    FormScreen .group.-open { display: block; }
    FormScreen .group Row .name { width: 28; }
    FormScreen .group Row .wrong { padding: 0 0 0 28; }
    FormScreen #side { height: auto; }
    FormScreen #outlook { height: auto; }
    FormScreen #about { height: 2; padding: 0 2; }
    FormScreen #about Words { margin: 0; }
    FormScreen Sections { display: none; }
    FormScreen.-wide #form, FormScreen.-very-wide #form { layout: horizontal; }
    FormScreen.-wide #side, FormScreen.-very-wide #side { width: 42%; height: 100%; }
    FormScreen.-very-wide #side { width: 36%; }
    FormScreen.-wide #about, FormScreen.-very-wide #about { height: auto; padding: 1 2; }
    FormScreen.-wide Sections, FormScreen.-very-wide Sections { display: block; }
    FormScreen.-wide Facts, FormScreen.-very-wide Facts { display: none; }
    """

    def __init__(self, stage: str, values: Mapping[str, str] | None = None, *, whole: bool = False):
        """`whole`: all that is to be said stands in `values`, so what is left to do is to start it."""
        super().__init__()
        self.whole = whole
        self.draft = Draft(stage, values)
        self.checked = Checked()
        self.steps: list[tuple[str, str, str]] = []
        self.source_facts: list[Fact] = []
        self.plan_problem: WorkbenchError | None = None
        self.starting = False
        self.said = ""  # by a start that had nothing to do
        self._planning: Timer | None = None
        self._before: dict[str, str] = {}  # the texts that stood in it before anything was typed

    def heading(self) -> str:
        return title_of(self.draft.stage)

    def body(self) -> ComposeResult:
        choices.choose_artifacts(self.draft, self.app.live)
        self._before = dict(self.draft.texts)
        with Container(id="form"):
            with VerticalScroll(id="fields", classes="pane", can_focus=False) as pane:
                pane.border_title = "Recipe"
                for item in self.draft.first():
                    yield self._row(item)
                yield StartButton()
                for place, group in enumerate(self.draft.groups()):
                    yield Fold(group.title, group.help, id=f"fold-{place}")
                    yield Vertical(id=f"group-{place}", classes="group")
            with Vertical(id="side"):
                with Vertical(id="outlook", classes="pane") as pane:
                    pane.border_title = "Outlook"
                    yield Facts()
                    yield Sections()
                with Vertical(id="about"):
                    yield Words()

    # ------------------------------------------------------------------ fields

    def _row(self, item: RecipeField) -> Row:
        text = self.draft.texts.get(item.path, "")
        known = choices.options(item, self.app.live, self.draft.stage)
        made = control(item, text, known, types=self.draft.takes_files(item))
        if isinstance(made, Pick):
            made.why_not = choices.why_not(item, self.draft.stage)
        return Row(item, made)

    def rows(self) -> Iterator[Row]:
        yield from self.query(Row)

    # ------------------------------------------------------------------ what is shown

    async def on_mount(self) -> None:
        self._bring_up_to_date()
        for fold in self._wrong_folds():
            fold.open = True
            await self._unfold(fold)
        lacking = next((row for row in self.rows() if row.field.path in self.checked.errors), None)
        if not self.whole:
            next(self.rows()).control.focus()
        elif lacking is not None:
            lacking.control.focus()
        else:
            self.query_one(StartButton).focus()

    def show(self, changes: Changes) -> None:
        if changes.artifacts or changes.runs:
            for row in self.rows():
                if row.field.artifact and isinstance(row.control, Pick):
                    row.control.set_options(choices.options(row.field, self.app.live, self.draft.stage))
            if changes.artifacts:
                self._bring_up_to_date()

    def on_field_changed(self, event: FieldChanged) -> None:
        assert isinstance(event.field, Widget)
        row, text = event.field.query_ancestor(Row), event.text
        if isinstance(event.field, Pick) and not row.field.artifact and text == shown_value(row.field.default):
            text = ""
        if self.draft.texts.get(row.field.path, "") == text:
            return
        self.draft.texts[row.field.path] = text
        self.said = ""
        self._bring_up_to_date()

    def _bring_up_to_date(self) -> None:
        """Check the draft, and show what follows from it."""
        self.checked = choices.check(self.draft)
        for row in self.rows():
            error = self.checked.errors.get(row.field.path)
            typed = row.field.path in self.draft.texts
            row.say_wrong(error if typed else None)
            if isinstance(row.control, LineField):
                row.control.placeholder = shown_value(self.checked.derived.get(row.field.path))
        groups = self.draft.groups()
        for place, group in enumerate(groups):
            wrong = any(item.path in self.checked.errors for item in group.fields)
            self.query_one(f"#fold-{place}", Fold).say(self.draft.set_in(group), wrong=wrong)
        self.plan_problem = None
        self._say_status()
        self._show_outlook()
        if self._planning is not None:
            self._planning.stop()
        self._planning = self.set_timer(PAUSE, self._plan_now)

    def _plan_now(self) -> None:
        self.run_worker(self._look_ahead(), group="plan", exclusive=True, exit_on_error=True)

    def _say_status(self) -> None:
        button = self.query_one(StartButton)
        wrong = self.checked.first_error or self.plan_problem
        if self.starting:
            button.say("It is being started ...", "busy")
        elif shown := [path for path in self.checked.errors if path in self.draft.texts]:
            names = ", ".join(path.rpartition(".")[2] for path in shown)
            button.say(f"To mend first: {names}.", "warn")  # what is wrong stands beside each
        elif wrong is not None:
            button.say(str(wrong), "warn")
        elif self.said:
            button.say(self.said, "good")
        elif self.steps and all(happens.startswith("made already") for _, happens, _ in self.steps):
            button.say("There is nothing to do: it is made already.", "good")
        else:
            button.say("", "muted")

    def _show_outlook(self) -> None:
        live, recipe = self.app.live, self.checked.recipe
        facts = list(self.source_facts) if isinstance(recipe, (ImportRecipe, BenchmarkRecipe)) else []
        if recipe is not None and live is not None:
            facts += outlook.expect(recipe, live.artifacts, outlook.free_memory_bytes(), live.project)
        narrow, wide = self.query_one(Facts), self.query_one(Sections)
        summary = "; ".join(f"{what} {happens}" for what, happens, _ in self.steps)
        heading = narrow.assemble((summary or "What it will take is shown once the recipe is whole.", "muted"))
        narrow.state(heading, (), [(fact.what, fact.value) for fact in facts])
        wide.begin()
        if facts:
            wide.pairs(((fact.what, f"{fact.value} {fact.more}".strip(), fact.style) for fact in facts), names=11)
        if self.steps:
            wide.heading(("What happens", "strong"))
            wide.lines(self.steps)
        if not facts and not self.steps:
            wide.sentence("What it will take is shown once the recipe is whole.")
        wide.end()

    async def _look_ahead(self) -> None:
        """Plan what would run."""
        recipe, project, live = self.checked.recipe, self.app.project, self.app.live
        if recipe is None or project is None or live is None:
            self.steps, self.source_facts = [], []
            self._show_outlook()
            return
        try:
            if isinstance(recipe, ImportRecipe):
                # Its plan hashes every source: that waits for the start.
                self.source_facts = await asyncio.to_thread(outlook.sources, recipe.sources)
                self.steps = []
            else:
                if isinstance(recipe, BenchmarkRecipe):
                    self.source_facts = await asyncio.to_thread(outlook.questions, recipe, project)
                steps = await asyncio.to_thread(_plan, project, recipe)
                self.steps = outlook.steps_in_words(steps, live.artifacts)
        except WorkbenchError as problem:
            self.plan_problem, self.steps, self.source_facts = problem, [], []
        self._say_status()
        self._show_outlook()

    def on_descendant_focus(self) -> None:
        self._say_about(self.focused)

    def on_resize(self) -> None:
        if self.focused is not None:  # what is typed into stays in sight
            self.call_after_refresh(self.focused.scroll_visible, animate=False)

    def _say_about(self, focused: Widget | None) -> None:
        words = self.query_one("#about Words", Words)
        if isinstance(focused, Fold):
            words.say((focused.help, "muted"))
            return
        row = (
            focused.query_ancestor(Row) if isinstance(focused, Field) and not isinstance(focused, StartButton) else None
        )
        if row is None:
            words.say(("Enter starts it. It goes on by itself, also when this program is closed.", "muted"))
            return
        narrow = self.has_class("-narrow")
        said: list[tuple[str, str]] = [(row.field.description, "text")]
        if not (narrow and len(row.field.description) > self.size.width - 4):  # two lines are all there is room for
            said.append((("  " if narrow else "\n") + " · ".join(about(row.field)), "muted"))
        if row.field.artifact and not isinstance(row.control, Pick):
            known = (
                ", ".join(value for value, _ in choices.options(row.field, self.app.live, self.draft.stage))
                or "none yet"
            )
            said.append((f"{'  ' if narrow else chr(10)}in this project: {known}", "muted"))
        words.say(*said)

    async def on_fold_toggled(self, event: Fold.Toggled) -> None:
        await self._unfold(event.fold)

    def _wrong_folds(self) -> list[Fold]:
        """Headings under which something is to be mended that is not shown."""
        return [fold for fold in self.query(Fold) if fold.wrong and not fold.open]

    async def _unfold(self, fold: Fold) -> None:
        """Show or hide a group; its fields are made when it is first opened."""
        place = int((fold.id or "").removeprefix("fold-"))
        group: Group = self.draft.groups()[place]
        holder = self.query_one(f"#group-{place}", Vertical)
        holder.set_class(fold.open, "-open")
        if fold.open and not holder.children:
            await holder.mount_all([self._row(item) for item in group.fields])
            self._bring_up_to_date()
        if fold.open and fold.has_focus:
            holder.scroll_visible(animate=False)
            fold.scroll_visible(animate=False)

    # ------------------------------------------------------------------ actions

    def why_not_start(self, _: str = "") -> str | None:
        if self.starting:
            return "It is being started already."
        if self.app.project is None or not self.app.project.writable():
            return str(READ_ONLY)
        return None

    def do_start(self, _: str = "") -> None:
        wrong = self.checked.first_error
        if self.checked.recipe is None:
            for row in self.rows():
                if row.field.path in self.checked.errors:
                    row.say_wrong(self.checked.errors[row.field.path])
                    row.control.focus()
                    break
            for fold in self._wrong_folds():
                fold.action_unfold()
            self.app.tell(str(wrong) if wrong else "The recipe is not whole yet.", severity="warning")
            return
        recipe, live = self.checked.recipe, self.app.live
        facts: list[Fact] = []
        if live is not None:
            facts = outlook.expect(recipe, live.artifacts, outlook.free_memory_bytes(), live.project)
        if (outsized := next((fact for fact in facts if fact.style == "bad"), None)) is not None:
            needs, _, _ = outsized.value.partition(":")
            self.app.confirm(
                f"It needs about {needs} of {outsized.what} {outsized.more}: it would be refused as things are. "
                "Start it all the same?",
                lambda: self._begin(recipe),
                yes="Start it",
                no="Back to the form",
            )
            return
        self._begin(recipe)

    def _begin(self, recipe: Recipe) -> None:
        self.starting = True
        self._say_status()
        self.app.run_worker(self._start(recipe), exit_on_error=True)

    async def _start(self, recipe: Recipe) -> None:
        from workbench.tui.stages import submit

        project = self.app.project
        assert project is not None
        try:
            started = await asyncio.to_thread(submit, project, recipe)
        except WorkbenchError as error:
            self.app.show_error(error)
            return
        finally:
            self.starting = False
            self._say_status()
        if started.run is None:
            self.said = started.sentence
            self._say_status()
            return
        self.dismiss()
        self.app.in_background(lambda: started, self.app.tell_started)

    def why_not_inspect(self, _: str = "") -> str | None:
        from workbench.tui.inspecting import STAGES

        if self.draft.stage not in STAGES:
            return "This stage trains on no batches that are known beforehand."
        return None if self.checked.recipe is not None else "The recipe is not whole yet."

    def do_inspect(self, _: str = "") -> None:
        from workbench.tui.inspecting import recipe_subject
        from workbench.tui.screens.data_inspector import InspectorScreen

        project = self.app.project
        assert project is not None
        assert self.checked.recipe is not None
        self.app.push_screen(InspectorScreen(recipe_subject(project, self.checked.recipe)))

    def do_fold(self, _: str = "") -> None:
        folds = list(self.query(Fold))
        opened = not all(fold.open for fold in folds)
        for fold in folds:
            if fold.open != opened:
                fold.action_unfold()

    def why_not_fold(self, _: str = "") -> str | None:
        return None if self.query(Fold) else "There are no further settings."

    def why_not_leave(self, _: str = "") -> str | None:
        return "It is being started." if self.starting else None

    def do_leave(self, _: str = "") -> None:
        typed = {path: text for path, text in self.draft.texts.items() if text}
        if typed == {path: text for path, text in self._before.items() if text}:
            self._leave()
            return
        self.app.confirm("Leave the form? What was typed is not kept.", self._leave, yes="Leave", no="Stay")

    def _leave(self) -> None:
        self.dismiss()


def _plan(project: Project, recipe: Recipe) -> list[Step]:
    with open_catalog(project) as catalog:
        return plan(project, catalog, [recipe])
