"""What all screens share: the header, the footer, and being told what is new."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

from workbench.errors import WorkbenchError
from workbench.tui import actions, safe
from workbench.tui.live import EVERYTHING, Changes
from workbench.tui.widgets.bars import Banner, Footer, Header, TooSmall

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp


class WorkbenchScreen(Screen[None]):
    """A screen is a `PLACE`, its `BINDINGS = actions.bindings(PLACE)`, a `body`, and a `show`."""

    app: WorkbenchApp
    PLACE: ClassVar[str] = ""
    AUTO_FOCUS = ""  # `show` focuses what there is to move in, once it is known
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (160, "-very-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall"), (44, "-very-tall")]
    DEFAULT_CSS = """
    WorkbenchScreen.-too-small > * { display: none !important; }
    WorkbenchScreen.-too-small > TooSmall, WorkbenchScreen.-too-small > Footer { display: block !important; }
    """

    def compose(self) -> ComposeResult:
        # Before the first layout: learning the size only from it would style everything twice.
        width, height = self.app.size
        self.add_class(*self._get_breakpoint_classes(width, self.HORIZONTAL_BREAKPOINTS))
        self.add_class(*self._get_breakpoint_classes(height, self.VERTICAL_BREAKPOINTS))
        yield Header(self.heading())
        yield Banner()
        yield from self.body()
        yield Footer()

    def heading(self) -> str:
        """What stands in the header."""
        return actions.title_of(self.PLACE)

    def body(self) -> ComposeResult:
        """The widgets between header and footer."""
        yield from ()

    def show(self, changes: Changes) -> None:
        """Bring the screen up to date with `self.app.live`. Called when something changed while the screen is
        in front, and with `EVERYTHING` whenever it comes to the front."""

    def on_resize(self) -> None:
        small = self.size.width < TooSmall.COLUMNS or self.size.height < TooSmall.ROWS
        if small and not self.query(TooSmall):
            self.mount(TooSmall(), before=self.query_one(Footer))
        self.set_class(small, "-too-small")

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.catch_up, EVERYTHING)

    def catch_up(self, changes: Changes) -> None:
        if not self.is_mounted or not self.display:
            return  # it is shown whole once it is; or it is being taken away, and its widgets are gone
        self.show(changes)
        self.refresh_keys()
        self.query_one(Header).refresh()
        self.query_one(Banner).look_again()

    def beside(self, work: Callable[[], Coroutine[Any, Any, None]], group: str = "") -> None:
        """Have `work` go on while keys are heard, in place of an older one of its `group`. A `WorkbenchError` is
        shown, and ends it."""

        async def told() -> None:
            try:
                await work()
            except WorkbenchError as error:
                self.app.show_error(error)

        # Not `told()`: a worker that makes room before it began would leave a coroutine that nobody awaits.
        self.run_worker(told, group=group or "default", exclusive=bool(group))  # type: ignore[arg-type]

    def refresh_keys(self) -> None:
        """Call it when what can be done has changed: another row, another state."""
        for footer in self.query(Footer):
            footer.look_again()

    def watch_focused(self, _: Widget | None) -> None:
        if self.is_mounted:
            self.refresh_keys()


def entitle(pane: Widget, title: str, subtitle: str = "") -> None:
    """The titles in a pane's border, from text that may come from outside: a plain string would be markup."""
    for name, text in (("border_title", title), ("border_subtitle", subtitle)):
        content = Content(safe.line(text))
        if getattr(pane, name) != content.markup:  # setting it draws the border anew
            setattr(pane, name, content)
