"""What judging pairs and judging whole sets have in common: all but the verdict."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from workbench.preferences.arena import Arena
from workbench.preferences.judgements import Judgement
from workbench.tui import safe
from workbench.tui.screens.arena_answers import AnswersScreen

MOST_TAGS = 8
TAKEN_BACK = {
    "pair": "The verdict", "ranking": "The order", "skip": "The skip", "flag": "The flag",
    "edit": "The rewritten answer",
}  # fmt: skip


class Judging(AnswersScreen):
    """Judges the answers that it shows, in whatever way: a subclass says what a verdict is."""

    why_not_skip = why_not_flag = why_not_tags = why_not_note = AnswersScreen.why_idle

    def why_not_edit(self, _: str = "") -> str | None:
        if self.ranking.evaluation:
            return "What is judged here trains nothing: rewrite answers where the set is ranked for training."
        return self.why_idle()

    def carry_out(self, said: Callable[[Arena], object], told: str) -> None:
        """`said(arena)`, which is on disk when it returns; then the next."""
        if self.arena is None:
            return
        with self.telling():
            said(self.arena)
            self.say(told)
            self.advance()

    def do_skip(self, _: str = "") -> None:
        self.carry_out(lambda arena: arena.skip(), "Skipped: it does not come to you again.")

    def do_flag(self, argument: str = "") -> None:
        def flag(note: str) -> None:
            self.carry_out(lambda arena: arena.flag(note), "Flagged: nothing of this prompt comes again, to anyone.")

        if argument:
            flag(argument)
        else:
            self.app.ask_line("What is wrong with this prompt?", flag, hint="a remark, or nothing")

    def do_tags(self, argument: str = "") -> None:
        def take(text: str) -> None:
            self.tags = tuple(dict.fromkeys(text.replace(",", " ").split()))
            self.tell_situation()

        if argument:
            take(argument)
        else:
            known = self._known_tags()
            hint = "used so far: " + safe.line(" ".join(known)) if known else "wrong  unsafe  verbose ..."
            self.app.ask_line("Tags of this judgement", take, value=" ".join(self.tags), hint=hint)

    def _known_tags(self) -> list[str]:
        """The tags in use, the most frequent first."""
        from collections import Counter

        assert self.arena is not None
        used = Counter(tag for item in self.arena.book.judgements.values() for tag in item.tags)
        return [tag for tag, _ in used.most_common(MOST_TAGS)]

    def do_note(self, argument: str = "") -> None:
        def take(text: str) -> None:
            self.note = text
            self.tell_situation()

        if argument:
            take(argument)
        else:
            self.app.ask_line("A note on this judgement", take, value=self.note)

    def do_edit(self, _: str = "") -> None:
        from workbench.tui.screens.arena_edit import EditAnswer

        place = self.active
        answer = self.answers[place]

        def take(text: str | None) -> None:
            arena = self.arena
            if text is None or arena is None:
                return
            prompt = arena.pair.prompt if arena.pair is not None else arena.prompt
            assert prompt is not None
            with self.telling():
                arena.edit(prompt, answer.id, text)
                self.say(f"Kept: what you wrote is a row for SFT, and better than {self.letter(place)}.")

        self.app.push_screen(EditAnswer(f"Rewrite {self.letter(place)}", safe.safe(answer.text)), take)

    def do_undo(self, _: str = "") -> None:
        arena = self.arena
        if arena is None:
            return
        with self.telling():
            last = arena.undo()
            if last is None:
                self.say("There is nothing to take back.", "warn")
                return
            self.show_again(last)
            self.say(f"{TAKEN_BACK[last.kind]} is taken back.")
            self.tell_situation()

    @abstractmethod
    def show_again(self, last: Judgement) -> None:
        """Show what the judgement was about that was taken back, where that can be judged here."""

    def do_standing(self, _: str = "") -> None:
        from workbench.tui.screens.arena_standing import StandingDialog

        if self.arena is not None:
            self.app.push_screen(StandingDialog(self.item.name, self.arena))

    def why_not_standing(self, _: str = "") -> str | None:
        return None if self.arena is not None else "The answers are being read."

    why_not_undo = why_not_standing
