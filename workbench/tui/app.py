"""The program in the terminal: the actions that every screen has, and the entry `run`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial, partialmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

from workbench.errors import WorkbenchError
from workbench.store.project import Project
from workbench.tui import action_list, actions, remembered, terminal, theme
from workbench.tui.frame import Frame
from workbench.tui.places import SCREENS, screen_for
from workbench.tui.widgets.bars import READ_ONLY

if TYPE_CHECKING:
    from workbench.tui.stages import Started


class WorkbenchApp(Frame):
    """Finds who carries an action out, and is itself the place "everywhere"."""

    PLACE: ClassVar[str] = "everywhere"
    BINDINGS = [*actions.bindings("everywhere"), Binding("ctrl+c", "interrupted", show=False, system=True)]
    COMMAND_PALETTE_BINDING = "ctrl+p"

    def tell_started(self, started: Started) -> None:
        """Say what was started, and show its run."""
        self.tell(started.sentence)
        if started.run is not None:
            self.show_run(started.run)

    def show_run(self, run: str) -> None:
        """Show the runs, with the cursor on this one."""
        self.perform_command(f"runs.show {run}")

    def open_form(self, stage: str, values: Mapping[str, str] | None = None, *, whole: bool = False) -> None:
        """A form for the stage's recipe; `values` (dotted key -> text) stand in it already, and Enter starts it at
        once where they are the `whole`."""
        from workbench.tui.screens.form import FormScreen

        self.push_screen(FormScreen(stage, values or {}, whole=whole))

    def open_form_again(self, run: str) -> None:
        """The form of a run's stage, with the run's recipe in it. Raises `WorkbenchError` if that cannot be read."""
        from workbench.recipes.load import STAGES
        from workbench.store import runs
        from workbench.tui.draft import texts_of

        assert self.project is not None
        stage = runs.read(self.project, run)[0].stage
        if stage not in STAGES:
            raise WorkbenchError(f"This version of the program has no stage {stage!r}.", "Start another one with :.")
        self.open_form(stage, texts_of(stage, runs.recipe_of(self.project, run)))

    def command(self, text: str = "") -> None:
        """The command line, with `text` in it."""
        from workbench.tui.screens.command_line import CommandLine

        active = [place for place, _ in actions.places_of(self.screen.focused or self.screen)]
        self.clear_notifications()  # they would cover what is offered
        self.push_screen(CommandLine(text, active, self.typed_lines), self._typed)

    def _typed(self, line: str | None) -> None:
        if line:
            if " " in line:  # a verb alone is typed sooner than found again
                self.typed_lines.append(line)
            self.perform_command(line)

    # ------------------------------------------------------------------ actions

    def perform(self, action: actions.Action, argument: str = "") -> None:
        """Carry an action out, or say why it cannot be done now."""
        owner = self.owner_of(action)
        if owner is None:
            self.tell(f"{action.title} belongs to the screen {actions.title_of(action.place)}.", severity="warning")
            return
        why_not = actions.reason(owner, action, argument)
        if why_not is not None:
            if not (action.key == "escape" and action.verb in ("back", "stop")):  # an Esc too many
                self.tell(why_not, severity="warning")
            return
        try:
            getattr(owner, f"do_{action.method}")(argument)
        except WorkbenchError as error:
            self.show_error(error)

    def perform_command(self, text: str) -> None:
        """Carry out `verb argument`, on the screen that the verb belongs to."""
        word, _, argument = text.strip().removeprefix(":").partition(" ")
        active = [place for place, _ in actions.places_of(self.screen.focused or self.screen)]
        action = actions.named(word, active)
        if action is None and word in (place.id for place in SCREENS):
            self.do_go(word)
            return
        if action is None:
            from workbench.recipes.base import nearest

            known = sorted({item.verb for item in actions.commands(active)})
            self.tell(f"There is no command {word!r}. {nearest(word, known)}", severity="warning")
            return
        if self.owner_of(action) is None and screen_for(action.place):
            if self.project is None and action.place != "start":
                self.tell("Open a project first.", severity="warning")
                return
            self.go(action.place)
            self.call_after_refresh(self.perform, action, argument.strip())
            return
        self.perform(action, argument.strip())

    def owner_of(self, action: actions.Action) -> DOMNode | None:
        """Who carries the action out: the innermost one around the focus that is its place."""
        for place, node in actions.places_of(self.screen.focused or self.screen):
            if place == action.place:
                return node
        return self if action.place == "everywhere" else None

    def action_perform(self, action_id: str) -> None:
        self.perform(actions.BY_ACTION[action_id])

    def action_interrupted(self) -> None:
        self.tell("q leaves the program; runs go on. To stop a run: g r, then s.")

    async def action_quit(self) -> None:
        self.do_detach()

    def get_system_commands(self, screen: Screen[Any]) -> Any:
        """The palette: the screens, and every command that is not known to be impossible now."""
        from textual.app import SystemCommand

        for place in SCREENS:
            if self.why_not_go(place.letter) is None:
                yield SystemCommand(f"Go to {place.title}", place.help, partial(self.go, place.id))
        owners = dict(actions.places_of(screen.focused or screen)) | {"everywhere": self}
        for action in actions.commands(owners):
            owner = owners.get(action.place)
            if owner is None or actions.reason(owner, action) is None:
                where = "" if action.place == "everywhere" else f"{actions.title_of(action.place)}: "
                yield SystemCommand(where + action.title, action.help, partial(self.perform_command, action.id))

    # ------------------------------------------------------------------ the actions of "everywhere"

    def do_go(self, argument: str = "") -> None:
        if not argument:
            from workbench.tui.screens.menu import go_menu

            self.push_screen(go_menu(self), lambda place: self.do_go(place) if place else None)
            return
        place = screen_for(argument)
        if place is None:
            names = ", ".join(item.id for item in SCREENS)
            raise WorkbenchError(f"There is no screen {argument!r}.", f"There are: {names}.")
        why_not = self.why_not_go(argument)
        if why_not:
            self.tell(why_not, severity="warning")
        else:
            self.go(place.id)

    def why_not_go(self, argument: str = "") -> str | None:
        place = screen_for(argument)
        if place and place.needs_project and self.project is None:
            return f"{place.title} shows a project: open one first."
        return None

    def do_command(self, _: str = "") -> None:
        self.command()

    def do_actions(self, _: str = "") -> None:
        from workbench.tui.screens.menu import action_menu

        self.push_screen(
            action_menu(self.screen, ascii=self.ascii), lambda chosen: self.action_perform(chosen) if chosen else None
        )

    def do_help(self, _: str = "") -> None:
        from workbench.tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    def do_detach(self, _: str = "") -> None:
        going = self.live.active() if self.live else []
        if not going:
            self.exit()
            return
        names = ", ".join(run.id for run in going[:3]) + (", ..." if len(going) > 3 else "")
        go_on = "1 run goes on" if len(going) == 1 else f"{len(going)} runs go on"
        self.exit(f"{go_on}: {names}. `workbench` shows {'it' if len(going) == 1 else 'them'} again.")

    def do_open(self, argument: str = "") -> None:
        if not argument:
            self.ask_line("Open the project in", self.do_open, hint="the path of its folder")
            return
        from workbench.store.project import open_project

        self.open_project(open_project(Path(argument)))

    def do_new(self, argument: str = "") -> None:
        if not argument:
            self.ask_line("Make a project in", self.do_new, hint="the path of a new or empty folder")
            return
        from workbench.store.project import create

        self.open_project(create(Path(argument)))

    def start_stage(self, stage: str, argument: str = "") -> None:
        """The stage's form; what a line of flags says stands in it, and one more Enter starts that."""
        from workbench.tui.draft import shown_value
        from workbench.tui.stages import values_of

        values = {path: shown_value(value) for path, value in values_of(stage, argument).items()}
        self.open_form(stage, values, whole=bool(values))

    def why_no_stage(self, _: str = "") -> str | None:
        if self.project is None:
            return "Open a project first."
        return None if self.project.writable() else str(READ_ONLY)

    def why_not_repair(self, _: str = "") -> str | None:
        return self.why_no_stage()

    def do_repair(self, _: str = "") -> None:
        project = self.project
        assert project is not None
        from workbench.store.repair import repair

        self.in_background(
            lambda: repair(project),
            lambda done: self.tell(f"The catalog is rebuilt: {done.artifacts} artifacts, {done.runs} runs."),
        )

    def why_not_undo(self, _: str = "") -> str | None:
        return None if self.last_done else "Nothing was done here that can be taken back."

    def do_undo(self, _: str = "") -> None:
        assert self.last_done is not None
        (what, take_back), self.last_done = self.last_done, None
        take_back()
        self.tell(f"Taken back: {what}.")

    def do_theme(self, argument: str = "") -> None:
        if argument not in theme.THEMES:
            raise WorkbenchError(f"There is no theme {argument!r}.", f"There are: {', '.join(theme.THEMES)}.")
        before = next((name for name, look in theme.THEMES.items() if look.name == self.theme), argument)
        if argument != before:
            self.can_be_undone(f"the theme {argument}", partial(self._use_theme, before))
        self._use_theme(argument)

    def _use_theme(self, name: str) -> None:
        self.theme = theme.THEMES[name].name
        remembered.keep_theme(name)


for _stage, *_ in action_list.STAGES:
    _method = _stage.replace("-", "_")
    setattr(WorkbenchApp, f"do_{_method}", partialmethod(WorkbenchApp.start_stage, _stage))
    setattr(WorkbenchApp, f"why_not_{_method}", WorkbenchApp.why_no_stage)


def run(
    project: Project | None, *, debug: bool | None = None, begin: Callable[[WorkbenchApp], None] | None = None
) -> None:
    """Open the program, or print a snapshot where there is no terminal for it.

    `debug` (by default what `--debug` or `WORKBENCH_DEBUG` says) shows tracebacks; `begin(app)` is called once the
    program is up. Raises `SystemExit` if the program failed.
    """
    at = terminal.detect()
    if not at.full_screen:
        from workbench.tui.snapshot import print_snapshot

        print_snapshot(project)
        return
    if debug is None:
        debug = "--debug" in sys.argv or bool(os.environ.get("WORKBENCH_DEBUG"))
    # Started under nohup, or in the background of a shell, it would outlive its terminal.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    app = WorkbenchApp(project, on=at, debug=debug)
    if begin is not None:
        app.call_later(app.call_after_refresh, begin, app)
    farewell = app.run()
    if app.live is not None:
        app.live.close()
    if farewell:
        print(farewell)
    if app.return_code:
        raise SystemExit(app.return_code)
