"""What the judgements have come to: how far, how sure, and which model is ahead."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from workbench.errors import WorkbenchError
from workbench.preferences import arena as ranking
from workbench.preferences.agreement import Share
from workbench.preferences.arena import Arena, Standing
from workbench.preferences.strengths import Strength
from workbench.tui import safe
from workbench.tui.screens.dialog import Dialog
from workbench.tui.screens.dialogs import Words
from workbench.tui.widgets.painted import Painted
from workbench.tui.widgets.sections import Sections
from workbench.wording import amount

NAMES = 19  # columns
FIGURES = 39  # columns behind an interval


class Strengths(Painted, Static):
    """The models, best first: log odds of winning above the average, as points with their 95% intervals."""

    DEFAULT_CSS = "Strengths { height: auto; margin-top: 1; }"

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.models: Sequence[Strength] = ()

    def show(self, models: Sequence[Strength]) -> None:
        self.models = models
        self.refresh(layout=True)

    def render(self) -> Text:
        if not self.models:
            return Text()
        names = min(24, max(len(item.name) for item in self.models))
        room = max(10, self.content_size.width - names - FIGURES)
        low, high = min(item.low for item in self.models), max(item.high for item in self.models)
        lines = [self.assemble(("Models, by Bradley and Terry, with 95% intervals", "strong"))]
        for item in self.models:
            name = self.assemble(safe.line(item.name))
            name.truncate(names, overflow="ellipsis", pad=True)
            bar = interval_bar(item.low, item.log_odds, item.high, low, high, room, ascii=self.ascii)
            figures = f"{item.log_odds:+.2f} ({item.low:+.2f} to {item.high:+.2f})"
            won = f" {item.wins / item.games:4.0%} of {item.games}" if item.games else ""
            name.append_text(self.assemble(" ", (bar, "accent"), " ", figures, (won, "muted")))
            lines.append(name)
        return self.joined(lines)


def interval_bar(low: float, middle: float, high: float, left: float, right: float, width: int, *, ascii: bool) -> str:
    """`├──●──┤` on a scale from `left` to `right` of `width` columns, with a mark at 0."""
    begin, line, point, end, zero = "|-o|." if ascii else "├─●┤┊"
    scale = (width - 1) / (right - left) if right > left else 0.0

    def column(value: float) -> int:
        return min(width - 1, max(0, round((value - left) * scale)))

    cells = [" "] * width
    if left <= 0 <= right:
        cells[column(0)] = zero
    for place in range(column(low), column(high) + 1):
        cells[place] = line
    cells[column(low)], cells[column(high)] = begin, end
    cells[column(middle)] = point
    return "".join(cells)


class StandingDialog(Dialog[None]):
    """Read once, beside the screen; it says nothing of single answers, so that the rater stays blind."""

    BINDINGS = [("escape,enter,i", "dismiss", "Close")]
    DEFAULT_CSS = """
    StandingDialog .dialog { width: 104; }
    StandingDialog VerticalScroll { height: auto; max-height: 100%; }
    StandingDialog Words.-last { margin-top: 1; }
    StandingDialog #trust { margin-top: 1; }
    """

    def __init__(self, name: str, arena: Arena):
        super().__init__()
        self.set_name, self.arena = name, arena

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = f"The judgements on {safe.line(self.set_name)}".replace("[", "(")
            with VerticalScroll():
                yield Sections("count")
                yield Strengths()
                yield Sections("trust")
                yield Words(("Esc", "key"), (" Close", "muted"), last=True)

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(VerticalScroll).focus()
        self.run_worker(self._read(), exit_on_error=True)

    async def _read(self) -> None:
        try:
            found = await asyncio.to_thread(ranking.standing, self.arena.candidates, self.arena.book)
        except WorkbenchError as error:
            self.dismiss()
            self.app.show_error(error)  # type: ignore[attr-defined]
            return
        self._show(found)

    def _show(self, found: Standing) -> None:
        on = self.query_one("#count", Sections)
        on.begin()
        raters = ", ".join(f"{safe.line(name)} {number:,}" for name, number in found.by_rater.items())
        kappa, repeats = found.self_agreement
        alpha, shared = found.rater_agreement
        on.pairs(
            [
                ("judged", f"{found.judged:,}" + (f" ({raters})" if raters else "")),
                ("to go", f"{found.left_over:,} pairs"),
                ("a judgement takes", "-" if found.seconds is None else f"{found.seconds:.1f} s, the median"),
                ("edited, flagged", f"{amount(found.edits, 'answers')}, {amount(found.flags, 'prompts')}"),
            ],
            names=NAMES,
        )
        on.end()
        strengths = self.query_one(Strengths)
        strengths.display = bool(found.models)
        strengths.show(found.models)
        on = self.query_one("#trust", Sections)
        on.begin()
        on.heading(("How far they can be trusted", "strong"))
        on.pairs(
            [
                ("with oneself", _agreement("Cohen's kappa", kappa, repeats, "hidden repeats")),
                ("between raters", _agreement("Krippendorff's alpha", alpha, shared, "shared pairs")),
                ("A (left) won", _share(found.left_won, "a bias of position")),
                ("the longer won", _share(found.longer_won, "length counts")),
            ],
            names=NAMES,
        )
        on.heading(("What comes next", "strong"))
        on.pairs([("pairs to go", _to_go(found)), ("choice of pairs", self._gain())], names=NAMES)
        on.end()

    def _gain(self) -> str:
        gain = self.arena.choice.gain()
        if gain is None and self.arena.choice.scores:
            return "every scored pair is judged"
        if gain is None:
            return "at random: no reward model (rank --reward NAME)"
        chosen, average = gain
        more = f", {chosen / average - 1:.0%} more" if average else ""
        return f"least sure first: {chosen:.2f} bits a judgement, at random {average:.2f}{more}"


def _agreement(name: str, value: float | None, number: int, of_what: str) -> str:
    if value is not None:
        return f"{name} {value:.2f}, from {number} {of_what}"
    return f"not known yet: {of_what} so far: {number}" + (", all judged alike" if number > 1 else "")


def _share(share: Share, bias: str) -> str:
    if share.value is None:
        return "not known yet"
    low, high = share.interval()
    sure = f": {bias}" if low > 0.5 or high < 0.5 else ""
    return f"{share.value:.0%} ({low:.0%} to {high:.0%}) of {share.total:,}{sure}"


def _to_go(found: Standing) -> str:
    if found.to_go is None:
        return "there is one model: nothing to compare"
    if not found.to_go:
        return f"none: every model's interval is at most {ranking.INTERVAL_WIDTH:g} wide"
    return f"about {found.to_go:,}, for intervals {ranking.INTERVAL_WIDTH:g} wide"
