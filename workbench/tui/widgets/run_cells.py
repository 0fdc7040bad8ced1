"""Cells that show a run: its state, how far it is."""

from __future__ import annotations

from rich.text import Text

from workbench import figures
from workbench.tui import safe, theme
from workbench.tui.live import RunRow
from workbench.tui.widgets.painted import Painted


def state(on: Painted, name: str) -> Text:
    """The symbol and the word: a state is never shown by its colour alone."""
    look = theme.look(name)
    return on.assemble((f"{theme.symbol(name, ascii=on.ascii)} {look.word}", look.style))


def bar(on: Painted, share: float | None, width: int, style: str) -> Text:
    """A progress bar of `width` columns with the percentage behind it; blank where it is not known."""
    if share is None:
        return Text("")
    full, empty = ("#", "-") if on.ascii else ("━", "─")
    done = round(share * width)
    return on.assemble((full * done, style), (empty * (width - done), "line"), f" {share:>4.0%}")


def progress(on: Painted, run: RunRow, width: int = 10) -> Text:
    """A bar while there is something to wait for; how long it took once there is not."""
    if run.state == "finished":
        took = run.ended - run.started if run.ended and run.started else None
        return on.assemble((f"took {figures.duration(took)}" if took is not None else "", "muted"))
    if run.state == "queued":
        return on.assemble((safe.line(run.reason) or "waiting", "muted"))
    style = "busy" if run.active else "muted"
    share = run.share()
    if share is None and run.step:
        return on.assemble((f"{figures.count(run.step)} {safe.line(run.unit or '')}".strip(), style))
    return bar(on, share, width, style)
