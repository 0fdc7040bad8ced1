"""Two models side by side: what can be done with their answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from functools import partial

from workbench.contract import Sampling, TokenProbability
from workbench.errors import WorkbenchError
from workbench.store.catalog import open_catalog
from workbench.tui import actions, safe
from workbench.tui.chat_models import ChatModel
from workbench.tui.screens.side_talks import LETTERS, WRITTEN, Side, TalksScreen
from workbench.tui.widgets.ask import AskArea
from workbench.tui.widgets.facts import Facts
from workbench.tui.widgets.status import Status
from workbench.tui.widgets.token_text import Cell, Stretch, TokenText, look_of
from workbench.tui.widgets.transcript import Transcript


class SideBySideScreen(TalksScreen):
    """Wide: two columns. Narrow: one above the other."""

    PLACE = "side"
    BINDINGS = actions.bindings("side")

    def __init__(self, models: Sequence[ChatModel], *, sampling: Sampling, system: str = ""):
        super().__init__(models, sampling=sampling, system=system)
        self.kept: set[str] = set()  # what was done with the last turn: "arena", "sft"
        self.tokens: list[TokenProbability] = []  # of the chosen answer, while they are shown

    def begin_turn(self) -> None:
        self._hide_tokens()
        self.kept.clear()

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

    def title_stop(self) -> str:
        return "Stop" if self._writing else "Back"

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
                id="", model=side.model.name, kind=side.model.kind,
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

        def kept(sentence: str) -> None:
            for side in self.sides:
                self._note(side, sentence)  # which stays, where another sentence may stand over the one that goes
            self.app.tell(sentence)

        self.app.in_background(keep, kept)
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
        side = self.sides[self.chosen]

        def keep() -> str:
            with open_catalog(project) as catalog:
                made = keep_for_sft(project, catalog, messages)
            return f"{letter}'s answer is row {made.report['rows']:,} of chats {made.id}, for SFT."

        def kept(sentence: str) -> None:
            self._note(side, sentence)
            self.app.tell(sentence)

        self.app.in_background(keep, kept)
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
        self.beside(partial(self._weigh, self.sides[self.chosen]), group="tokens")

    async def _weigh(self, side: Side) -> None:
        assert side.process is not None
        process, talk = side.process, side.conversation
        before = talk.messages()[:-1]
        answer = talk.turns[-1]["content"]
        self._part(side, Status).say("each token is being weighed ...")
        prompt = await asyncio.to_thread(process.render, before)
        found = await asyncio.to_thread(process.probabilities, prompt, answer)
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
