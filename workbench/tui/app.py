"""The program in the terminal: the frame that holds the screens, and the entry `run`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual import events
from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.filter import LineFilter
from textual.reactive import Initialize, Reactive
from textual.screen import Screen
from textual.theme import Theme

from workbench.errors import WorkbenchError
from workbench.store.project import Project
from workbench.tui import actions, terminal, theme
from workbench.tui.live import Changes, Live
from workbench.tui.places import SCREENS, screen_for
from workbench.tui.screens.base import WorkbenchScreen

if TYPE_CHECKING:
    from workbench.tui.stages import Started

T = TypeVar("T")


class WorkbenchApp(App[str]):
    """Without a project it begins at the start screen. `now` is the clock that ages are counted with."""

    PLACE: ClassVar[str] = "everywhere"
    TITLE = "Workbench"
    CSS_PATH = "style.tcss"
    MODES = {place.id: place.make for place in SCREENS}
    BINDINGS = [*actions.bindings("everywhere"), Binding("ctrl+c", "interrupted", show=False, system=True)]
    COMMAND_PALETTE_BINDING = "ctrl+p"
    # The right one from the start: a theme that is set later has all styles read and applied twice.
    theme: Reactive[str] = Reactive(Initialize(lambda app: cast(WorkbenchApp, app).first_theme()))

    def __init__(
        self,
        project: Project | None,
        *,
        on: terminal.Terminal | None = None,
        now: Callable[[], float] = time.time,
        debug: bool = False,
    ):
        self.project = project
        self.live: Live | None = Live(project) if project else None
        self.terminal = on or terminal.detect()
        self.now = now
        self.debug_errors = debug
        self.DEFAULT_MODE = "map" if project else "start"  # type: ignore[misc]
        super().__init__(ansi_color=True if self.terminal.few_colours else None)
        # Nothing moves by itself: an idle screen sends not a byte, over SSH or not.
        self.animation_level = "none"
        self.set_class(self.terminal.ascii, "-ascii")
        self._polling = False
        self._begun = False
        self._ascii: LineFilter | None = None
        self._typed: deque[tuple[events.Key, Screen[Any]]] = deque(maxlen=64)  # and where the focus was

    def refresh_css(self, animate: bool = True) -> None:
        """Before the first paint the styles have just been read: Textual's start would read them once more."""
        if self._begun:
            super().refresh_css(animate=animate)

    async def on_event(self, event: events.Event) -> None:
        """Keys typed ahead go to the screen that they are meant for.

        Textual hands a key to what has the focus when it comes in. Of "gr", typed at once or held up by a slow
        line, the second would come before the first has opened its menu, and be lost.
        """
        if isinstance(event, events.Key):
            if not event.is_forwarded:
                self._typed.append((event, self.screen))
            elif any(key is event and screen is not self.screen for key, screen in self._typed):
                self.screen.call_after_refresh(self.post_message, events.Key(event.key, event.character))
                return
        await super().on_event(event)

    def get_line_filters(self) -> Sequence[LineFilter]:
        found = super().get_line_filters()
        if not self.terminal.ascii:
            return found
        if self._ascii is None:
            from workbench.tui.ascii import AsciiFilter

            self._ascii = AsciiFilter()
        return [*found, self._ascii]

    @property
    def available_themes(self) -> dict[str, Theme]:
        return {look.name: look for look in theme.THEMES.values()} | super().available_themes

    def first_theme(self) -> str:
        """The theme that suits the terminal."""
        if self.terminal.few_colours:
            return theme.ANSI.name
        return theme.LIGHT.name if self.terminal.light else theme.DARK.name

    # ------------------------------------------------------------------ what screens use

    @property
    def ascii(self) -> bool:
        return self.terminal.ascii

    @property
    def remote(self) -> bool:
        return self.terminal.remote

    def tell(self, sentence: str, *, severity: str = "information") -> None:
        """A sentence that goes by itself."""
        self.notify(sentence, severity=severity, markup=False, timeout=6)  # type: ignore[arg-type]

    def show_error(self, error: WorkbenchError) -> None:
        """What happened and what to do, until it is read."""
        from workbench.tui.screens.dialogs import ErrorDialog

        self.push_screen(ErrorDialog(error))

    def confirm(self, question: str, then: Callable[[], None], *, yes: str = "Yes", no: str = "No") -> None:
        """`then()` if the answer is yes."""
        from workbench.tui.screens.dialogs import Confirm

        self.push_screen(Confirm(question, yes=yes, no=no), lambda answer: then() if answer else None)

    def ask_line(self, prompt: str, then: Callable[[str], None], *, value: str = "", hint: str = "") -> None:
        """`then(text)` with the line that was typed; not called if the question was left."""
        from workbench.tui.screens.dialogs import AskLine

        self.push_screen(AskLine(prompt, value=value, hint=hint), lambda text: then(text) if text is not None else None)

    def in_background(self, work: Callable[[], T], then: Callable[[T], None] | None = None) -> None:
        """`work()` beside the screen, then `then(its result)` on it. A `WorkbenchError` is shown."""

        async def task() -> None:
            try:
                result = await asyncio.to_thread(work)
            except WorkbenchError as error:
                self.show_error(error)
                return
            while self._polling:  # that look may have begun before the work was done
                await asyncio.sleep(0.01)
            await self._look()
            if then is not None:
                then(result)

        self.run_worker(task(), exit_on_error=True)

    def go(self, place: str) -> None:
        """Show a screen."""
        if place != self.current_mode:
            while len(self.screen_stack) > 1:
                self.pop_screen()
            self.switch_mode(place)

    def show_run(self, run: str) -> None:
        """Show the runs, with the cursor on this one."""
        self.perform_command(f"runs.show {run}")

    def open_form(self, stage: str, values: Mapping[str, str] | None = None) -> None:
        """A form for the stage's recipe; `values` (dotted key -> text) stand in it already."""
        from workbench.tui.screens.form import FormScreen

        self.push_screen(FormScreen(stage, values or {}))

    def open_project(self, project: Project) -> None:
        """Leave the present project, if any, for another one."""
        self.run_worker(self._open_project(project), exit_on_error=True)

    def command(self, text: str = "") -> None:
        """The command line, with `text` in it."""
        from workbench.tui.screens.command_line import CommandLine

        active = [place for place, _ in actions.places_of(self.screen.focused or self.screen)]
        self.push_screen(CommandLine(text, active), lambda typed: self.perform_command(typed) if typed else None)

    # ------------------------------------------------------------------ actions

    def perform(self, action: actions.Action, argument: str = "") -> None:
        """Carry an action out, or say why it cannot be done now."""
        owner = self.owner_of(action)
        if owner is None:
            self.tell(f"{action.title} belongs to the screen {actions.title_of(action.place)}.", severity="warning")
            return
        why_not = actions.reason(owner, action, argument)
        if why_not is not None:
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

    def _start_stage(self, stage: str, argument: str) -> None:
        project = self.project
        assert project is not None
        if not argument:
            self.open_form(stage)
            return
        from workbench.tui.stages import start

        self.in_background(lambda: start(project, stage, argument), self.tell_started)

    def tell_started(self, started: Started) -> None:
        """Say what was started, and show its run."""
        self.tell(started.sentence)
        if started.run is not None:
            self.show_run(started.run)

    def _why_no_stage(self, _: str = "") -> str | None:
        if self.project is None:
            return "Open a project first."
        return None if self.project.writable() else "The project is read-only."

    def do_import(self, argument: str = "") -> None:
        self._start_stage("import", argument)

    def do_tokenizer(self, argument: str = "") -> None:
        self._start_stage("tokenizer", argument)

    def do_pretrain(self, argument: str = "") -> None:
        self._start_stage("pretrain", argument)

    def do_export(self, argument: str = "") -> None:
        self._start_stage("export", argument)

    why_not_import = why_not_tokenizer = why_not_pretrain = why_not_export = why_not_repair = _why_no_stage

    def do_repair(self, _: str = "") -> None:
        project = self.project
        assert project is not None
        from workbench.store.repair import repair

        self.in_background(
            lambda: repair(project),
            lambda done: self.tell(f"The catalog is rebuilt: {done.artifacts} artifacts, {done.runs} runs."),
        )

    def do_theme(self, argument: str = "") -> None:
        if argument not in theme.THEMES:
            raise WorkbenchError(f"There is no theme {argument!r}.", f"There are: {', '.join(theme.THEMES)}.")
        self.theme = theme.THEMES[argument].name

    # ------------------------------------------------------------------ life

    def on_mount(self) -> None:
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._begun = True
        self.set_interval(self.terminal.poll_seconds, self._look)
        self.run_worker(self._first_look(), exit_on_error=True)

    async def _first_look(self) -> None:
        await self._look()
        live = self.live
        if live is not None and live.loaded:
            try:
                await asyncio.to_thread(live.find_lost)
            except WorkbenchError:
                return  # a catalog in use now is looked at again by the next command

    async def _look(self) -> None:
        if not self.is_headless and terminal.gone():
            # Textual would go on reading from a closed terminal, at a whole core. There is nobody to say goodbye to.
            os._exit(128 + signal.SIGHUP)
        if self._polling or self.live is None:
            return
        self._polling = True
        live = self.live
        try:
            changes = await asyncio.to_thread(live.poll)
        finally:
            self._polling = False
        if changes and live is self.live:
            self._show(changes)

    def _show(self, changes: Changes) -> None:
        for screen in reversed(self.screen_stack):
            if isinstance(screen, WorkbenchScreen):
                screen.catch_up(changes)

    async def _open_project(self, project: Project) -> None:
        from workbench.store.recent import remember

        if self.live is not None:
            self.live.close()
        self.project, self.live = project, Live(project)
        await asyncio.to_thread(remember, project)
        await self._look()
        self.go("start")
        for place in SCREENS:
            if place.id != "start":
                self.remove_mode(place.id)
                self.add_mode(place.id, place.make)
        self.go("map")
        self.run_worker(self._first_look(), exit_on_error=True)

    def _fatal_error(self) -> None:
        """A bug in this program: a sentence and the path of the traceback, not the traceback."""
        if self.debug_errors or self.is_headless:
            super()._fatal_error()
            return
        from rich.text import Text

        error = sys.exc_info()[1]
        path = write_crash_log(error)
        where = f" The details are in {path}." if path else ""
        self.panic(
            Text(f"The program failed: {type(error).__name__}: {error}.{where} Runs are not affected; start it again.")
        )


def write_crash_log(error: BaseException | None) -> Path | None:
    """The traceback in a file of the user's state folder; None if that cannot be written."""
    from workbench.store.recent import state_folder

    path = state_folder() / time.strftime("crash-%Y%m%d-%H%M%S.txt")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)) if error else "", encoding="utf-8")
    except OSError:
        return None
    return path


def run(project: Project | None, *, debug: bool | None = None) -> None:
    """Open the program, or print a snapshot where there is no terminal for it.

    `debug` (by default what `--debug` or `WORKBENCH_DEBUG` says) shows tracebacks. Raises `SystemExit` if the
    program failed.
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
    farewell = app.run()
    if app.live is not None:
        app.live.close()
    if farewell:
        print(farewell)
    if app.return_code:
        raise SystemExit(app.return_code)
