"""Cells that show a run: its state, how far it is, and its whole row in a list."""

from __future__ import annotations

from rich.text import Text

from workbench import figures
from workbench.tui import safe, theme
from workbench.tui.live import RunRow
from workbench.tui.widgets.painted import Painted
from workbench.tui.widgets.table import Column

COLUMNS = (
    Column(title="", width=1),
    Column(title="State", width=10),
    Column(title="Run", width=13, grow=1),
    Column(title="Makes", width=10, grow=2),
    Column(title="Progress", width=13, grow=1),
    Column(title="Left", width=7, right=True),
    Column(title="Loss", width=9, right=True),
    Column(title="Tok/s", width=6, right=True, drop=2),
    Column(title="Started", width=12, right=True, drop=3),
)


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


def progress(on: Painted, run: RunRow, width: int = 8) -> Text:
    """A bar while there is something to wait for; how long it took once there is not."""
    if run.state == "finished":
        took = run.seconds(run.ended) if run.ended else None
        return on.assemble((f"took {figures.duration(took)}" if took is not None else "", "muted"))
    if run.state == "queued":
        return on.assemble((safe.line(run.reason) or "waiting", "muted"))
    style = "busy" if run.active else "muted"
    share = run.share()
    if share is None:
        return on.assemble((at(run), style))
    return bar(on, share, width, style)


def at(run: RunRow) -> str:
    """What a run is at, where that is no share of a whole: its phase, or else how much is done."""
    done = f"{figures.count(run.step)} {safe.line(run.unit or '')}".strip() if run.step else ""
    return safe.line(run.phase) if run.phase else done


def _measure(on: Painted, run: RunRow) -> Text:
    """The loss; a reward stands in its place under its own name."""
    if run.measure is None:
        return Text("")
    what, value = run.measure
    return on.assemble(figures.loss(value)) if what == "loss" else on.assemble(("rew ", "muted"), f"{value:.3g}")


def row(on: Painted, run: RunRow, now: float, *, marked: bool) -> list[Text]:
    """The cells of `COLUMNS`."""
    left = run.remaining_seconds()
    moment = run.started or run.created
    tokens = run.tokens_per_second if run.active else None
    return [
        on.assemble((("*" if on.ascii else "◆") if marked else " ", "accent")),
        state(on, run.state),
        on.assemble(safe.line(run.id)),
        on.assemble((safe.line(run.name), "strong" if run.active else "text")),
        progress(on, run),
        on.assemble(figures.duration(left) if left is not None else ""),
        _measure(on, run),
        on.assemble((figures.count(tokens) if tokens else "", "muted")),
        on.assemble((figures.age(now - moment), "muted")),
    ]
