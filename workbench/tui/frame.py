"""The frame that holds the screens: its look, its life, and what it offers to them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from textual import events
from textual.app import App
from textual.filter import LineFilter
from textual.reactive import Initialize, Reactive
from textual.theme import Theme

from workbench.errors import WorkbenchError
from workbench.store.project import Project
from workbench.tui import remembered, terminal, theme
from workbench.tui.keys import KeyQueue
from workbench.tui.live import Changes, Live
from workbench.tui.places import SCREENS
from workbench.tui.screens.base import WorkbenchScreen

T = TypeVar("T")


class Frame(App[str]):
    """Without a project it begins at the start screen. `now` is the clock that ages are counted with."""

    TITLE = "Workbench"
    CSS_PATH = "style.tcss"
    MODES = {place.id: place.make for place in SCREENS}
    # The right one from the start: a theme that is set later has all styles read and applied twice.
    theme: Reactive[str] = Reactive(Initialize(lambda app: cast(Frame, app).first_theme()))

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
        self.typed_lines: list[str] = []  # on the command line, oldest first
        self.last_done: tuple[str, Callable[[], None]] | None = None  # what `z` takes back, and how
        self._ascii: LineFilter | None = None
        self._keys = KeyQueue(self, super().on_event)

    def refresh_css(self, animate: bool = True) -> None:
        """Before the first paint the styles have just been read: Textual's start would read them once more."""
        if self._begun:
            super().refresh_css(animate=animate)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:
            await self._keys.take(event)
        else:
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
        """The theme that was chosen last, or else the one that suits the terminal."""
        if self.terminal.few_colours:
            return theme.ANSI.name
        if (chosen := theme.THEMES.get(remembered.theme())) is not None:
            return chosen.name
        return theme.LIGHT.name if self.terminal.light else theme.DARK.name

    # ------------------------------------------------------------------ what screens use

    @property
    def ascii(self) -> bool:
        return self.terminal.ascii

    @property
    def remote(self) -> bool:
        return self.terminal.remote

    def tell(self, sentence: str, *, severity: str = "information") -> None:
        """A sentence that goes by itself, in place of the one before: a pile of them hides what they speak of."""
        self.clear_notifications()
        self.notify(sentence, severity=severity, markup=False, timeout=6)  # type: ignore[arg-type]

    def can_be_undone(self, what: str, take_back: Callable[[], None]) -> None:
        """`what` was just done, and `z` takes it back where the screen has no undo of its own."""
        self.last_done = what, take_back

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

    def open_project(self, project: Project) -> None:
        """Leave the present project, if any, for another one."""
        self.run_worker(self._open_project(project), exit_on_error=True)

    # ------------------------------------------------------------------ life

    def on_mount(self) -> None:
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._begun = True
        self.set_interval(self.terminal.poll_seconds, self._look)
        self.run_worker(self._first_look(), exit_on_error=True)

    async def _first_look(self) -> None:
        from workbench.store.recent import remember

        await self._look()
        live = self.live
        if live is not None:
            await asyncio.to_thread(remember, live.project)
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
        if changes.ended and self.live is not None:
            from workbench.tui.ended import in_words

            sentence, severity = in_words([self.live.runs[run] for run in changes.ended])
            self.tell(sentence, severity=severity)
        for screen in reversed(self.screen_stack):
            if isinstance(screen, WorkbenchScreen):
                screen.catch_up(changes)

    async def _open_project(self, project: Project) -> None:
        if self.live is not None:
            self.live.close()
        self.project, self.live = project, Live(project)
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
        from workbench.tui.crash import last_words

        self.panic(last_words(sys.exc_info()[1]))
