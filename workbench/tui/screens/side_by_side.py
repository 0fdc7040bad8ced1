"""Two models side by side: each line goes to both, with the same settings and the same seed."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from textual.app import ComposeResult
from textual.containers import Container, Vertical

from workbench.chat.conversation import Conversation
from workbench.chat.process import ModelProcess
from workbench.contract import Sampling, TokenProbability
from workbench.errors import WorkbenchError
from workbench.store.catalog import open_catalog
from workbench.tui import actions, safe
from workbench.tui.chat_models import ChatModel
from workbench.tui.live import Changes
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.screens.talk import REMOTE_REPAINT_SECONDS, REPAINT_SECONDS
from workbench.tui.stream import Stream
from workbench.tui.widgets.ask import AskArea
from workbench.tui.widgets.facts import Facts
from workbench.tui.widgets.status import Status
from workbench.tui.widgets.token_text import Cell, Stretch, TokenText, look_of
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


class SideBySideScreen(WorkbenchScreen):
    """Wide: two columns. Narrow: one above the other."""

    PLACE = "side"
    BINDINGS = actions.bindings("side")
    DEFAULT_CSS = """
    SideBySideScreen #sides { height: 1fr; }
    SideBySideScreen .side { height: 1fr; }
    SideBySideScreen .side.-chosen { border: round $primary; border-title-color: $foreground; }
    SideBySideScreen.-ascii .side.-chosen { border: ascii $primary; }
    SideBySideScreen .side TokenText, SideBySideScreen .side Facts { display: none; }
    SideBySideScreen .side.-tokens Transcript { display: none; }
    SideBySideScreen .side.-tokens TokenText { display: block; }
    SideBySideScreen .side.-tokens Facts { display: block; height: 3; }
    SideBySideScreen.-wide #sides, SideBySideScreen.-very-wide #sides { layout: horizontal; }
    SideBySideScreen.-wide .side, SideBySideScreen.-very-wide .side { width: 1fr; height: 100%; }
    SideBySideScreen.-wide .side.-tokens Facts, SideBySideScreen.-very-wide .side.-tokens Facts { height: 5; }
    SideBySideScreen #line { height: auto; }
    """

    def __init__(self, models: Sequence[ChatModel], *, sampling: Sampling, system: str = ""):
        super().__init__()
        self.sides = [Side(model, Conversation(model=model.name, system=system, sampling=sampling)) for model in models]
        self.sampling = sampling
        self.seed = 0  # of the last turn
        self._left = False
        self.chosen = 0
        self.kept: set[str] = set()  # what was done with the last turn: "arena", "sft"
        self.tokens: list[TokenProbability] = []  # of the chosen answer, while they are shown

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
        problem: WorkbenchError | None = None
        try:
            prompt = await asyncio.to_thread(process.render, side.conversation.messages())
            if not stream.stopped:
                stream.answer = process.generate([prompt], sampling)
                await asyncio.to_thread(stream.read)
        except WorkbenchError as error:
            problem = error
        finally:
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
            entitle(pane, f"{mark}{LETTERS[place]}  {side.model.name}{state}")
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
        self._hide_tokens()
        self.kept.clear()
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

    def on_ask_area_left(self) -> None:
        if self._writing:
            self.do_stop()
        else:
            self._part(self.sides[self.chosen], Transcript).focus()

    # ------------------------------------------------------------------ actions

    def why_not_write(self, _: str = "") -> str | None:
        return None

    def do_write(self, _: str = "") -> None:
        self.query_one(AskArea).focus()

    def do_other(self, _: str = "") -> None:
        self._hide_tokens()
        self.chosen = 1 - self.chosen
        self._part(self.sides[self.chosen], Transcript).focus()
        self._show_state()

    def do_stop(self, _: str = "") -> None:
        """Stop what is being written; else leave."""
        if not self._writing:
            if self.tokens:
                self._hide_tokens()
                self._part(self.sides[self.chosen], Transcript).focus()
            else:
                self.dismiss()
            return
        for side in self.sides:
            if side.stream is not None:
                side.stream.stopped = True
                if side.stream.answer is not None:
                    side.stream.answer.stop()

    def do_settings(self, argument: str = "") -> None:
        if not argument:
            self.app.ask_line(
                "Setting and value, for both", lambda text: self._set(text) if text else None,
                value=f"temperature {self.sampling.temperature:g}",
            )  # fmt: skip
        else:
            self._set(argument)

    def _set(self, argument: str) -> None:
        key, _, value = argument.partition(" ")
        try:
            said = self.sides[0].conversation.set(key, value)
        except WorkbenchError as error:
            self.app.show_error(error)
            return
        self.sampling = self.sides[0].conversation.sampling
        self.app.tell(f"Of both, {said}.")

    def _why_no_answer(self, _: str = "") -> str | None:
        if self._writing:
            return WRITTEN
        turns = self.sides[self.chosen].conversation.turns
        return None if turns and turns[-1]["role"] == "assistant" else "There is no answer yet."

    def why_not_clear(self, _: str = "") -> str | None:
        return WRITTEN if self._writing else None

    def do_clear(self, _: str = "") -> None:
        self._hide_tokens()
        for side in self.sides:
            side.conversation.clear()
            self._show_turns(side)
            self._part(side, Status).say("")
        self.query_one(AskArea).focus()
        self._show_state()

    def why_not_same(self, _: str = "") -> str | None:
        if (why := self._why_no_answer()) is not None:
            return why
        turns = [side.conversation.turns for side in self.sides]
        return None if turns[0] != turns[1] else "Both talks are the same already."

    def do_same(self, _: str = "") -> None:
        chosen, other = self.sides[self.chosen], self.sides[1 - self.chosen]
        other.conversation.turns = [dict(turn) for turn in chosen.conversation.turns]
        self._show_turns(other)
        self._note(other, f"goes on from {LETTERS[self.chosen]}'s answer")
        self.query_one(AskArea).focus()
        self._show_state()

    # ------------------------------------------------------------------ what is kept

    def why_not_arena(self, _: str = "") -> str | None:
        project = self.app.project
        if self._writing:
            return WRITTEN
        if project is None or not project.writable():
            return "The project is read-only."
        talks = [side.conversation for side in self.sides]
        if any(not talk.turns or talk.awaits_answer for talk in talks):
            return "Both must have answered."
        if talks[0].messages()[:-1] != talks[1].messages()[:-1]:
            return "The two were not asked the same: s has both go on from the chosen answer, n begins anew."
        return "This turn is in the Arena already." if "arena" in self.kept else None

    def do_arena(self, _: str = "") -> None:
        from workbench.preferences.candidates import Answer
        from workbench.preferences.from_chat import keep_for_arena

        project = self.app.project
        assert project is not None
        messages = self.sides[0].conversation.messages()[:-1]
        answers = [
            Answer(
                id="", model=side.model.name, kind="export" if side.model.engine == "llamacpp" else "model",
                temperature=self.sampling.temperature, seed=self.seed,
                text=side.conversation.turns[-1]["content"], finish=side.finish,
            )
            for side in self.sides
        ]  # fmt: skip
        self.kept.add("arena")

        def keep() -> str:
            with open_catalog(project) as catalog:
                made = keep_for_arena(project, catalog, messages, answers)
            return f"In the Arena, as number {made.report['prompts']:,} of the set {made.name}: g a ranks it."

        self.app.in_background(keep, self.app.tell)
        self.refresh_keys()

    def why_not_teach(self, _: str = "") -> str | None:
        project = self.app.project
        if project is None or not project.writable():
            return "The project is read-only."
        return self._why_no_answer() or ("An answer to this is kept already." if "sft" in self.kept else None)

    def do_teach(self, _: str = "") -> None:
        from workbench.preferences.from_chat import keep_for_sft

        project = self.app.project
        assert project is not None
        messages = list(self.sides[self.chosen].conversation.messages())
        letter = LETTERS[self.chosen]
        self.kept.add("sft")

        def keep() -> str:
            with open_catalog(project) as catalog:
                made = keep_for_sft(project, catalog, messages)
            return f"{letter}'s answer is row {made.report['rows']:,} of chats {made.id}, for SFT."

        self.app.in_background(keep, self.app.tell)
        self.refresh_keys()

    # ------------------------------------------------------------------ probabilities

    def why_not_probabilities(self, _: str = "") -> str | None:
        if self.tokens:
            return None
        if self.sides[self.chosen].process is None:
            return "The model is not open."
        return self._why_no_answer()

    def do_probabilities(self, _: str = "") -> None:
        if self.tokens:
            self._hide_tokens()
            self._part(self.sides[self.chosen], Transcript).focus()
            return
        self.run_worker(self._weigh(self.sides[self.chosen]), group="tokens", exclusive=True, exit_on_error=True)

    async def _weigh(self, side: Side) -> None:
        assert side.process is not None
        process, talk = side.process, side.conversation
        before = talk.messages()[:-1]
        answer = talk.turns[-1]["content"]
        self._part(side, Status).say("each token is being weighed ...")
        try:
            prompt = await asyncio.to_thread(process.render, before)
            found = await asyncio.to_thread(process.probabilities, prompt, answer)
        except WorkbenchError as error:
            self.app.show_error(error)
            return
        if not found or side is not self.sides[self.chosen]:
            return
        self.tokens = found
        self.query_one(f"#side-{self.chosen}").add_class("-tokens")
        tokens = self._part(side, TokenText)
        cells = [Cell(item.text, look_of(math.exp(item.log_probability))) for item in found]
        tokens.show([Stretch(cells, label="answer")])
        tokens.focus()
        mean = -sum(item.log_probability for item in found) / len(found)
        self._part(side, Status).say(f"{len(found)} tokens, {mean:.3f} nats each")
        self.refresh_keys()

    def _hide_tokens(self) -> None:
        self.tokens = []
        for place in range(len(self.sides)):
            self.query_one(f"#side-{place}").remove_class("-tokens")

    def on_token_text_moved(self, event: TokenText.Moved) -> None:
        if event.place >= len(self.tokens):
            return
        item = self.tokens[event.place]
        facts = self._part(self.sides[self.chosen], Facts)
        share = math.exp(item.log_probability)
        heading = facts.assemble((safe.line(repr(item.text)), "strong"), f"  {share:.1%}")
        others = [(safe.line(repr(text)), f"{math.exp(value):.1%}") for text, value in item.alternatives]
        facts.state(heading, (), others)
