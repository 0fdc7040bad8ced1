"""A prompt with the answers that are to be judged: what is shown of them, read and not, and moving about in it."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.timer import Timer
from textual.widget import Widget

from workbench.errors import WorkbenchError
from workbench.preferences.arena import Arena
from workbench.preferences.candidates import Answer, Prompt
from workbench.preferences.ranking import Ranking
from workbench.preferences.scores import Scores
from workbench.preferences.sets import CandidateSet
from workbench.tui import safe
from workbench.tui.live import Changes
from workbench.tui.screens.arena_idle import nothing_to_judge
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.widgets.answer import AnswerText
from workbench.tui.widgets.empty import Empty
from workbench.tui.widgets.situation import Situation

LAYOUTS = 20  # that are waited for; a terminal may be too small for any answer
AGAIN_SECONDS = 1.0  # between looks for further answers, while there is nothing to judge
NAMES_SECONDS = 6.0  # that the models' names stand after a verdict
SPEAKERS = {"user": "You", "assistant": "Model", "system": "System", "tool": "Tool"}


class Answers(Container):
    """Holds the panes of the answers, and has them share its room whenever that changes."""

    def on_resize(self) -> None:
        screen = self.screen
        assert isinstance(screen, AnswersScreen)
        self.call_after_refresh(screen.share_room)


class AnswersScreen(WorkbenchScreen):
    """The prompt above, answers below it. One of them is the active one: it has the focus."""

    MOST_ANSWERS: ClassVar[int] = 2
    DEFAULT_CSS = """
    AnswersScreen #none { display: none; }
    AnswersScreen.-idle #none { display: block; }
    AnswersScreen.-idle #work { display: none; }
    AnswersScreen #work { height: 1fr; }
    AnswersScreen #prompt { height: 5; }
    AnswersScreen.-tall #prompt { height: 7; }
    AnswersScreen.-very-tall #prompt { height: 10; }
    AnswersScreen #answers { height: 1fr; }
    AnswersScreen.-zoomed AnswerText { display: none; }
    AnswersScreen.-zoomed AnswerText.-active { display: block; height: 1fr; }
    AnswersScreen.-zoomed #prompt { height: 1fr; }
    AnswersScreen.-zoomed.-on-prompt #answers { display: none; }
    """

    def __init__(self, item: CandidateSet, ranking: Ranking):
        super().__init__()
        self.item, self.ranking = item, ranking
        self.arena: Arena | None = None
        self.answers: Sequence[Answer] = ()  # as they are shown, in the order of the panes
        self.tags: tuple[str, ...] = ()
        self.note = ""
        self._read: set[str] = set()  # answers that were shown to their end
        self._names: Timer | None = None
        self._told_unread = False  # the line below says which answers were not shown to their end
        self._scores: Scores | None = None
        self._used = 0  # scores that the choice of pairs knows

    def heading(self) -> str:
        which = "evaluation of " if self.ranking.evaluation else ""
        return f"Arena: {which}{safe.line(self.item.id)}"

    def body(self) -> ComposeResult:
        yield Empty("The answers are being read ...", id="none")
        with Vertical(id="work"):
            yield AnswerText(id="prompt")
            with Answers(id="answers"):
                for number in range(self.MOST_ANSWERS):
                    yield AnswerText(id=f"answer-{number}")
            yield from self.scale()
        yield Situation()

    def scale(self) -> ComposeResult:
        """What says how to judge."""
        yield from ()

    # ------------------------------------------------------------------ life

    def on_mount(self) -> None:
        self.add_class("-idle")
        self.run_worker(self._open(), exit_on_error=True)
        self.set_interval(AGAIN_SECONDS, self._look_again)

    async def _open(self) -> None:
        ranking = self.ranking

        def opened() -> Arena:
            scores = None
            if ranking.reward is not None:
                self._scores = Scores(self.item.candidates, self.item.judgements, ranking.reward)
                scores, self._used = dict(self._scores.scores), len(self._scores.scores)
                self._scores.start()
            kept = self.item.evaluations if ranking.evaluation else self.item.judgements
            return Arena(
                self.item.candidates, kept, ranking.rater, repeat=ranking.repeat, overlap=ranking.overlap,
                scores=scores, between_models=ranking.evaluation,
            )  # fmt: skip

        with self.telling():
            self.arena = await asyncio.to_thread(opened)
            if self.is_attached:
                self.advance()
            else:
                self._close()

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Show what ended the block: a file that is damaged, or a judgement that could not be kept."""
        try:
            yield
        except WorkbenchError as error:
            self.app.show_error(error)
        except OSError as error:
            what = f"The judgement could not be kept in {self.item.judgements.parent}: {error.strerror or error}."
            remedy = "Make room on the disk, or make the folder writable, then judge this one again."
            self.app.show_error(WorkbenchError(what, remedy))

    def on_unmount(self) -> None:
        self._close()

    def _close(self) -> None:
        if self.arena is not None:
            self.arena.close()
        if self._scores is not None:
            self._scores.close()

    def _look_again(self) -> None:
        """Where there was nothing to judge, there may be now; and further answers may be scored."""
        if self._scores is not None and self.arena is not None:
            self._take_scores(self._scores, self.arena)
        if self.arena is not None and self.has_class("-idle") and self.app.screen is self:
            self.advance()

    def _take_scores(self, scores: Scores, arena: Arena) -> None:
        """Choose by the scores once all answers have one, and on the way each time there are twice as many."""
        try:
            scores.refresh()
        except WorkbenchError as error:
            self._scores = None
            self.app.show_error(error)
            return
        answers = sum(len(prompt.answers) for prompt in arena.candidates.prompts.values())
        number = len(scores.scores)
        if number > self._used and (number >= 2 * self._used or len(scores.known) >= answers):
            self._used = number
            arena.choice.use_scores(scores.scores)
            name = safe.line(scores.reward.name)
            self.say(f"{name} has scored {number:,} of {answers:,} answers: least sure first.")

    def show(self, changes: Changes) -> None:
        if self.answers and not isinstance(self.focused, AnswerText):
            self._focus(self.panes[0])

    # ------------------------------------------------------------------ what is shown

    @property
    def panes(self) -> list[AnswerText]:
        """Those that hold an answer."""
        return [self.query_one(f"#answer-{number}", AnswerText) for number in range(len(self.answers))]

    @property
    def active(self) -> int:
        """Place of the answer that has the focus, or had it before the prompt."""
        return next((place for place, pane in enumerate(self.panes) if pane.has_class("-active")), 0)

    @property
    def unread(self) -> list[int]:
        """Places of the answers that were not shown to their end."""
        return [place for place, pane in enumerate(self.panes) if not pane.read]

    @abstractmethod
    def draw(self) -> tuple[Prompt, Sequence[Answer]] | None:
        """The next prompt with the answers to show, from the arena; None if there is none now."""

    @abstractmethod
    def letter(self, place: int) -> str:
        """What an answer is called while nobody may know who wrote it."""

    def advance(self) -> None:
        """Draw and show what comes next."""
        if self.arena is None:
            return
        self.tags, self.note = (), ""
        try:
            drawn = self.draw()
        except WorkbenchError as error:
            self.app.show_error(error)
            drawn = None
        if drawn is None:
            self.answers = ()
            sentence, ways = nothing_to_judge(self.item, self.ranking, self.arena, self.app.live)
            self.query_one("#none", Empty).say(sentence, *ways)
            self.add_class("-idle")
            self.tell_situation()
            self.refresh_keys()
        else:
            self.put(*drawn)

    def put(self, prompt: Prompt, answers: Sequence[Answer]) -> None:
        """Show these, also where nothing was shown."""
        if self.has_class("-idle"):
            self.remove_class("-idle")
            self._present_once_laid_out(prompt, answers)
        else:
            self.present(prompt, answers)

    def _present_once_laid_out(self, prompt: Prompt, answers: Sequence[Answer], tries: int = LAYOUTS) -> None:
        """What is on the screen before the panes have their sizes would count as read."""
        if tries and not self.query_one("#answers").size.height:
            self.call_after_refresh(self._present_once_laid_out, prompt, answers, tries - 1)
        elif self.is_attached:
            self.present(prompt, answers)

    def present(self, prompt: Prompt, answers: Sequence[Answer]) -> None:
        """Show these."""
        before = len(self.answers)
        self.answers = answers
        self.query_one("#prompt", AnswerText).show(as_text(prompt), at_end=True)
        for pane, answer in zip(self.panes, answers, strict=True):
            pane.show(answer.text, read=answer.id in self._read)
        if before != len(answers):
            self._fit()
        self._focus(self.panes[0])
        self._entitle()
        self.tell_situation()

    def _fit(self) -> None:
        for number in range(self.MOST_ANSWERS):
            self.query_one(f"#answer-{number}").set_class(number >= len(self.answers), "-unused")
        self.refresh_keys()

    def _entitle(self) -> None:
        question = self.query_one("#prompt", AnswerText)
        entitle(question, "Prompt", "Tab, then arrows: more of it" if question.overflows else "")
        for place, pane in enumerate(self.panes):
            # What fits is seen as soon as it is drawn; to say before that it is not would draw it twice.
            left = pane.lines_left if pane.overflows and not pane.read else 0
            entitle(pane, self.pane_title(place), f"{left} more line{'s' if left > 1 else ''}: Space" if left else "")

    def pane_title(self, place: int) -> str:
        return self.letter(place)

    def _focus(self, pane: Widget) -> None:
        self._activate(pane)
        if self.focused is not pane:
            self.set_focus(pane)

    def _activate(self, pane: Widget) -> None:
        """Take note of which text has the focus, however it got there."""
        on_prompt = pane.id == "prompt"
        if not on_prompt:
            for other in self.panes:
                other.set_class(other is pane, "-active")
        self.set_class(on_prompt, "-on-prompt")
        self.share_room()

    def share_room(self) -> None:
        """Give each answer its height, where that depends on what they hold."""

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if isinstance(event.widget, AnswerText):
            self._activate(event.widget)

    def on_answer_text_shown(self, event: AnswerText.Shown) -> None:
        self._read |= {answer.id for pane, answer in zip(self.panes, self.answers, strict=True) if pane.read}
        self._entitle()
        if self._told_unread:
            self._tell_unread()

    def tell_situation(self) -> None:
        """The line below the answers."""
        arena = self.arena
        if arena is None:
            return
        choice = arena.choice
        to_go, aside = f"{choice.to_go:,} to go", choice.set_aside
        count = " · ".join([f"{choice.votes:,} judged", *([f"{aside:,} set aside"] if aside else []), to_go])
        parts = [count, safe.line(arena.rater)]
        if self.tags:
            parts.insert(0, "tags: " + safe.line(", ".join(self.tags)))
        if self.note:
            parts.insert(0, "with a note")
        self.query_one(Situation).stand("  ·  ".join(parts), count, to_go)

    def say(self, sentence: str, style: str = "muted") -> None:
        """Something on the line below the answers, for a while."""
        if self._names is not None:
            self._names.stop()
        self._told_unread = False
        self.query_one(Situation).say(sentence, style)
        self._names = self.set_timer(NAMES_SECONDS, lambda: self.query_one(Situation).say(""))

    def reveal(self) -> str:
        """Who wrote what, once it is judged; the temperatures too, where they are what differs."""
        drawn = len({answer.temperature for answer in self.answers}) > 1
        parts = []
        for place, answer in enumerate(self.answers):
            how = f" at {answer.temperature:g}" if drawn else ""
            parts.append(f"{self.letter(place)} {safe.line(answer.model)}{how}")
        return "It was " + ", ".join(parts) + "."

    def all_read(self) -> bool:
        """Whether every answer was shown to its end; says of which that is not so."""
        if self.unread:
            self._tell_unread()
        return not self.unread

    def _tell_unread(self) -> None:
        unread = self.unread
        names = " and ".join(self.letter(place) for place in unread)
        verb = "was" if len(unread) == 1 else "were"
        self.say(f"{names} {verb} not shown to the end yet: Space pages on." if unread else "", "warn")
        self._told_unread = bool(unread)

    # ------------------------------------------------------------------ actions

    def why_idle(self, _: str = "") -> str | None:
        return None if self.answers else "There is nothing to judge now."

    why_not_page = why_not_next = why_not_previous = why_not_zoom = why_idle

    def do_page(self, _: str = "") -> None:
        """On in the active answer; at its end, to the next that was not read to its end."""
        pane = self.panes[self.active]
        if pane.read and self.unread:
            after = [place for place in self.unread if place > self.active] or self.unread
            pane = self.panes[after[0]]
            self._focus(pane)
            if not self._stands_at_beginning(pane):
                pane.page_on()
        else:
            self._focus(pane)
            pane.page_on()

    def _stands_at_beginning(self, pane: AnswerText) -> bool:
        """Whether showing the pane is all that is wanted: it was hidden, or is seen from its first line."""
        return not pane.region or (pane.scroll_offset.y == 0 and pane.lines_left == len(pane.lines))

    def do_next(self, _: str = "") -> None:
        self._step(1)

    def do_previous(self, _: str = "") -> None:
        self._step(-1)

    def _step(self, by: int) -> None:
        prompt = self.query_one("#prompt", AnswerText)
        ring: list[AnswerText] = [*self.panes, *([prompt] if prompt.overflows or self.has_class("-zoomed") else [])]
        here = ring.index(prompt) if self.has_class("-on-prompt") and prompt in ring else self.active
        self._focus(ring[(here + by) % len(ring)])

    def do_zoom(self, _: str = "") -> None:
        self.toggle_class("-zoomed")
        self.share_room()
        self.refresh_keys()

    def do_back(self, _: str = "") -> None:
        if self.has_class("-zoomed"):
            self.do_zoom()
        else:
            self.dismiss()


def as_text(prompt: Prompt) -> str:
    """The conversation; who speaks is said where that is more than one question."""
    messages = prompt.messages
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n\n".join(f"{SPEAKERS.get(item['role'], item['role'])}: {item['content']}" for item in messages)
