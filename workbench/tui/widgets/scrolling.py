"""Moving in a text that may be longer than its pane."""

from __future__ import annotations

from workbench.tui.widgets.painted import Painted

READABLE = 100  # columns of text; longer lines are hard to follow


class Scrolling(Painted):
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
