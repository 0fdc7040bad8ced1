"""The line at the top and the line at the bottom of every screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widgets import Static

from workbench import figures
from workbench.errors import WorkbenchError
from workbench.tui import actions, safe, theme
from workbench.tui.widgets import run_cells
from workbench.tui.widgets.painted import Painted

READ_ONLY = WorkbenchError(
    "The project is read-only.", "Look at it and chat; to make something, copy it and open the copy."
)

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp
    from workbench.tui.live import RunRow


class Header(Painted, Static):
    """Project and screen on the left, the run that goes on on the right."""

    app: WorkbenchApp

    DEFAULT_CSS = """
    Header { dock: top; height: 1; padding: 0 1; background: $bar; color: $foreground; }
    """

    def __init__(self, title: str):
        super().__init__(markup=False)
        self.title = title

    def render(self) -> Text:
        width = self.content_size.width or self.app.size.width - 2
        project = self.app.project
        mark = "|" if self.ascii else "▍"
        left = self.assemble((mark, "accent"), (safe.line(project.name) if project else "workbench", "strong"))
        left.append_text(self.assemble((" / " if self.ascii else "  ›  ", "muted"), self.title))
        right = self._going(width - left.cell_len - 2)
        left.truncate(max(width - right.cell_len, 12), overflow="ellipsis")
        left.append(" " * max(1, width - left.cell_len - right.cell_len))
        left.append_text(right)
        return left

    def _going(self, room: int) -> Text:
        live = self.app.live
        going = live.active() if live else []
        if not going:
            return Text()
        run, *others = going
        look = theme.look(run.state)
        parts: list[list[str | tuple[str, str]]] = [
            [(f"{theme.symbol(run.state, ascii=self.ascii)} ", look.style), f"{safe.line(run.name)} {doing(run)}"],
        ]
        if run.measure is not None:
            what, value = run.measure
            parts.append([(f"  {what} ", "muted"), figures.loss(value)])
        left = run.remaining_seconds()
        if left is not None:
            parts.append([("  left ", "muted"), figures.duration(left)])
        if others:
            parts.append([(f"  +{len(others)}", "muted")])
        text = Text()
        for part in parts:
            longer = text + self.assemble(*part)
            if longer.cell_len > max(room, 0) and text:
                break
            text = longer
        text.truncate(max(room, 10), overflow="ellipsis")
        return text


class Banner(Painted, Static):
    """Below the header: why the project cannot be read or written, and what mends it."""

    app: WorkbenchApp

    DEFAULT_CSS = """
    Banner { dock: top; height: auto; margin-top: 1; padding: 0 1; background: $error 20%; display: none; }
    Banner.-shown { display: block; }
    Banner:ansi { background: ansi_default; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.said = str(None)

    def look_again(self) -> None:
        """Show the present error, or nothing."""
        error = self._error()
        if str(error) != self.said:
            self.said = str(error)
            self.set_class(error is not None, "-shown")
            self.refresh(layout=True)

    def _error(self) -> WorkbenchError | None:
        live = self.app.live
        if live is None or live.error is not None:
            return live.error if live is not None else None
        return READ_ONLY if live.loaded and not live.project.writable() else None

    def render(self) -> Text:
        error = self._error()
        if error is None:
            return Text("")
        text = self.assemble((f"{theme.symbol('failed', ascii=self.ascii)} ", "bad"), safe.line(error.what))
        text.append_text(self.assemble(" ", (safe.line(error.remedy), "muted")))
        if "repair" in error.remedy and self.app.project and self.app.project.writable():
            text.append_text(self.assemble(("  Here: ", "muted"), (":repair", "key")))
        text.no_wrap = False
        return text


class TooSmall(Painted, Static):
    """Instead of panes that are cut until nothing can be read."""

    COLUMNS, ROWS = 60, 16
    DEFAULT_CSS = "TooSmall { height: 1fr; padding: 1 2; display: none; }"

    def __init__(self) -> None:
        super().__init__(markup=False)

    def render(self) -> Text:
        size = self.app.size
        text = self.assemble(
            (f"The window has {size.width} columns and {size.height} rows.\n", "strong"),
            f"{self.COLUMNS} and {self.ROWS} are the least, 80 and 24 are comfortable. "
            "Make it larger, or the letters smaller; nothing is lost meanwhile, and runs go on.",
        )
        text.no_wrap = False
        return text


class Footer(Painted, Static):
    """The keys of what has the focus, as many as there is room for."""

    app: WorkbenchApp

    DEFAULT_CSS = """
    Footer { dock: bottom; height: 1; padding: 0 1; background: $bar; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.shown: tuple[actions.Action, ...] = ()

    def look_again(self) -> None:
        """Draw anew if other actions can be done than those that are shown."""
        if self.offered() != self.shown:
            self.refresh()

    def offered(self) -> tuple[actions.Action, ...]:
        """What a key does here, the innermost place first; that one has a key that an outer place has, too."""
        if not self.screen.is_mounted:
            return ()  # what its reasons look at is not there yet
        focused = self.screen.focused
        # A field takes letters for itself.
        typing = focused is not None and focused.check_consume_key("a", "a")
        by_key: dict[str, actions.Action] = {}
        for place, owner in actions.places_of(focused or self.screen):
            for action in actions.of(place):
                if (
                    action.key
                    and action.footer
                    and not (typing and actions.types_a_character(action))
                    and actions.reason(owner, action) is None
                ):
                    by_key.setdefault(action.key.partition(",")[0], actions.as_offered(owner, action))
        return tuple(by_key.values())

    def render(self) -> Text:
        width = self.content_size.width or self.app.size.width - 2
        here: list[Text] = []
        always: list[Text] = []
        self.shown = self.offered()
        for action in self.shown:
            key = actions.shown_key(action, ascii=self.ascii).split(" ")[0]
            hint = self.assemble((key, "key"), " ", (action.title, "muted"))
            (always if action.place == "everywhere" else here).append(hint)
        right = Text("  ").join(always)
        left = Text()
        for hint in here:
            longer = Text("  ").join([left, hint]) if left else hint
            if longer.cell_len + right.cell_len + 3 > width:
                break
            left = longer
        left.append(" " * max(1, width - left.cell_len - right.cell_len))
        left.append_text(right)
        return left


def doing(run: RunRow) -> str:
    """What a run is at: "45%", "queued", "1,024 files"."""
    if run.state != "running":
        return theme.look(run.state).word
    share = run.share()
    if share is not None:
        return f"{share:.0%}"
    return run_cells.at(run) or "starting"
