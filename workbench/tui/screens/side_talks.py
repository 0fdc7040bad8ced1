"""Two models that are asked the same: their processes, their talks, and the line that goes to both."""

from __future__ import annotations

import asyncio
import secrets
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from textual.app import ComposeResult
from textual.containers import Container, Vertical

from workbench.chat.conversation import Conversation
from workbench.chat.process import ModelProcess
from workbench.contract import Sampling
from workbench.errors import WorkbenchError
from workbench.tui.chat_models import ChatModel
from workbench.tui.live import Changes
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.screens.talk import REMOTE_REPAINT_SECONDS, REPAINT_SECONDS
from workbench.tui.stream import Stream
from workbench.tui.widgets.ask import AskArea
from workbench.tui.widgets.facts import Facts
from workbench.tui.widgets.status import Status
from workbench.tui.widgets.token_text import TokenText
from workbench.tui.widgets.transcript import Transcript

LETTERS = ("A", "B")
SEEDS = 2**31
WRITTEN = "An answer is being written: Esc stops it."


@dataclass(slots=True)
class Side:
    """One of the two: its model, its process once that is up, and its own talk."""

    model: ChatModel
    conversation: Conversation = field(default_factory=Conversation)
    started: ModelProcess | None = None  # its process, to be ended with the screen
    process: ModelProcess | None = None  # the same, once the screen knows
    stream: Stream | None = None
    finish: str = ""  # of the last answer
    problem: bool = False  # it cannot be opened


class TalksScreen(WorkbenchScreen):
    """Two models, one of them chosen; each line goes to both, with the same settings and the same seed."""

    DEFAULT_CSS = """
    TalksScreen #sides { height: 1fr; }
    TalksScreen .side { height: 1fr; }
    TalksScreen .side.-chosen { border: round $primary; border-title-color: $foreground; }
    TalksScreen.-ascii .side.-chosen { border: ascii $primary; }
    TalksScreen .side TokenText, TalksScreen .side Facts { display: none; }
    TalksScreen .side.-tokens Transcript { display: none; }
    TalksScreen .side.-tokens TokenText { display: block; }
    TalksScreen .side.-tokens Facts { display: block; height: 3; }
    TalksScreen.-wide #sides, TalksScreen.-very-wide #sides { layout: horizontal; }
    TalksScreen.-wide .side, TalksScreen.-very-wide .side { width: 1fr; height: 100%; }
    TalksScreen.-wide .side.-tokens Facts, TalksScreen.-very-wide .side.-tokens Facts { height: 5; }
    TalksScreen #line { height: auto; }
    """

    def __init__(self, models: Sequence[ChatModel], *, sampling: Sampling, system: str = ""):
        super().__init__()
        self.sides = [Side(model, Conversation(model=model.name, system=system, sampling=sampling)) for model in models]
        self.sampling = sampling
        self.seed = 0  # of the last turn
        self._left = False
        self.chosen = 0

    def heading(self) -> str:
        return "Two models side by side"

    def body(self) -> ComposeResult:
        with Container(id="sides"):
            for place in range(len(self.sides)):
                with Vertical(id=f"side-{place}", classes="pane side"):
                    yield Transcript()
                    yield TokenText()
                    yield Facts()
                    yield Status()
        with Vertical(id="line"):
            yield AskArea("Write to both, Enter sends; Esc for keys")

    def on_mount(self) -> None:
        self.query_one(AskArea).focus()
        self._show_state()
        for side in self.sides:
            self.run_worker(self._open(side), exit_on_error=True)

    def on_unmount(self) -> None:
        self._left = True
        for side in self.sides:
            if side.started is not None:
                side.started.close()

    def show(self, changes: Changes) -> None:
        pass  # models that are open do not change

    # ------------------------------------------------------------------ the models

    async def _open(self, side: Side) -> None:
        def start() -> ModelProcess:
            side.started = ModelProcess(side.model.engine, side.model.path)
            if self._left:  # while it was being opened: nobody waits for this any more
                side.started.close()
            return side.started

        try:
            process = await asyncio.to_thread(start)
        except WorkbenchError as error:
            side.problem = True
            self._note(side, str(error), "error")
            self._show_state()
            return
        side.process = process
        if process.chat_template is None:
            self._note(side, f"{side.model.name} is a base model: it continues your text.")
        self._show_state()
        if side.conversation.awaits_answer:
            self._answer(side)

    def _answer(self, side: Side) -> None:
        assert side.process is not None
        sampling = replace(self.sampling, seed=self.seed)
        side.stream = Stream(max_tokens=sampling.max_tokens)
        self._part(side, Transcript).say("assistant")
        self.run_worker(self._stream(side, side.process, side.stream, sampling), exit_on_error=True)

    async def _stream(self, side: Side, process: ModelProcess, stream: Stream, sampling: Sampling) -> None:
        pause = REMOTE_REPAINT_SECONDS if self.app.remote else REPAINT_SECONDS
        beat = self.set_interval(pause, lambda: self._repaint(side))
        self._show_state()
        problem = await stream.fill(process, side.conversation.messages(), sampling)
        beat.stop()
        if not self.is_mounted:
            return
        self._repaint(side)
        side.conversation.answer("".join(stream.pieces))
        side.finish, side.stream = stream.finish or "stop", None
        self._part(side, Status).say(stream.summary())
        if problem is not None:
            self._note(side, str(problem), "error")
        self._show_state()

    def _repaint(self, side: Side) -> None:
        if side.stream is None:
            return
        if text := side.stream.fresh():
            self._part(side, Transcript).add(text)
        rate = side.stream.tokens_per_second()
        written = f"{side.stream.tokens} tokens" + (f", {rate:.1f} tokens/s" if rate else "")
        self._part(side, Status).say(written if side.stream.tokens else "reading what was said ...")

    # ------------------------------------------------------------------ what is shown

    def _part(self, side: Side, kind: Any) -> Any:
        return self.query_one(f"#side-{self.sides.index(side)}").query_one(kind)

    def _note(self, side: Side, text: str, speaker: str = "note") -> None:
        self._part(side, Transcript).say(speaker, text)

    def _show_state(self) -> None:
        self.query_one(AskArea).waits = self._writing
        for place, side in enumerate(self.sides):
            pane = self.query_one(f"#side-{place}")
            pane.set_class(place == self.chosen, "-chosen")
            state = "" if side.process is not None else ": cannot be opened" if side.problem else ": being opened"
            mark = "> " if place == self.chosen else ""
            alike = len({other.model.engine for other in self.sides}) == 1
            engine = "" if alike else f" on {side.model.engine}"
            entitle(pane, f"{mark}{LETTERS[place]}  {side.model.name}{engine}{state}")
        self.refresh_keys()

    def _show_turns(self, side: Side) -> None:
        turns = [(turn["role"], turn["content"]) for turn in side.conversation.turns]
        self._part(side, Transcript).show(turns)

    # ------------------------------------------------------------------ the line

    @property
    def _writing(self) -> bool:
        return any(side.stream is not None for side in self.sides)

    def on_ask_area_sent(self, event: AskArea.Sent) -> None:
        ask = self.query_one(AskArea)
        if not event.text.strip():
            return
        if self._writing:
            self.app.tell(WRITTEN, severity="warning")
            return
        ask.remember(event.text)
        ask.offer("")
        self.begin_turn()
        self.seed = self.sampling.seed if self.sampling.seed is not None else secrets.randbelow(SEEDS)
        for side in self.sides:
            joined = side.conversation.awaits_answer
            side.conversation.ask(event.text)
            if joined:
                self._show_turns(side)
            else:
                self._part(side, Transcript).say("user", event.text)
            if side.process is not None:
                self._answer(side)

    @abstractmethod
    def begin_turn(self) -> None:
        """A line is about to go to both."""
