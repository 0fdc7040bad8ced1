"""Moving in a text that may be longer than its pane."""

from __future__ import annotations

from collections.abc import Callable

from workbench.tui.widgets.painted import Painted

READABLE = 100  # columns of text; longer lines are hard to follow


class Wrapped(Painted):
    """Its lines are as wide as there is room: `on_resize` wraps them again."""

    on_resize: Callable[[], None]

    def watch_show_vertical_scrollbar(self) -> None:
        """The scrollbar takes a column, or gives it back, and no event tells of it."""
        self.call_next(self.on_resize)


class Scrolling(Wrapped):
    """It stands before the `ScrollView` that it is mixed into."""

    def do_up(self, _: str = "") -> None:
        self.scroll_relative(y=-1, animate=False)

    def do_down(self, _: str = "") -> None:
        self.scroll_relative(y=1, animate=False)

    def do_page_up(self, _: str = "") -> None:
        self.scroll_page_up(animate=False)

    def do_page_down(self, _: str = "") -> None:
        self.scroll_page_down(animate=False)

    def do_first(self, _: str = "") -> None:
        self.scroll_home(animate=False)

    def do_last(self, _: str = "") -> None:
        self.scroll_end(animate=False, immediate=True, x_axis=False)
