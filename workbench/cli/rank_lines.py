"""Ranking where only lines can be printed: a pair, whole, then a line of input. What is said goes through the Arena,
so that each judgement is on disk before the next pair shows."""

from __future__ import annotations

from collections.abc import Callable

from workbench.errors import WorkbenchError
from workbench.preferences.arena import SCALE, Arena
from workbench.preferences.choice import Pair
from workbench.safe_text import strip_controls
from workbench.wording import amount

WORDS = {"a": 2, "t": 3, "b": 4, **{str(place): place for place in SCALE}}
HELP = (
    "a or b: that one is better   1 to 5: A much better ... B much better   t: a tie   x: both bad\n"
    "s: skip   f: flag the prompt   u: undo   q: quit"
)
NONE_LEFT = "There is no pair left to judge.   u: undo   q: quit"
RULE = "-" * 60


def rank_lines(arena: Arena, read: Callable[[], str], say: Callable[[str], None]) -> int:
    """Ask for verdicts until there is no pair, or `read`, which gives a line of input, raises `EOFError`.

    Answers how many verdicts stand of those said here. Raises `EOFError` if there was not one line.
    """
    said, lines = 0, len(arena.book.history)
    pair = arena.next()
    say(HELP)
    while True:
        say(NONE_LEFT if pair is None else _shown(pair, said))
        try:
            word = _word(read, say)
        except EOFError:
            if pair is not None and len(arena.book.history) == lines:
                raise
            break
        if word == "q":
            break
        if word == "u":
            last = arena.undo()
            say("There is nothing to take back." if last is None else f"Taken back: the newest {last.kind}.")
            said -= last is not None and last.kind == "pair" and said > 0
            pair = arena.pair or arena.next()
            continue
        if pair is not None:
            said += _carry_out(arena, pair, word, say)
        pair = arena.next()
    return said


def _carry_out(arena: Arena, pair: Pair, word: str, say: Callable[[str], None]) -> bool:
    """Whether it was a verdict."""
    if word == "s":
        arena.skip()
    elif word == "f":
        arena.flag()
    elif word == "x":
        arena.judge("both_bad")
    else:
        arena.judge(*SCALE[WORDS[word]])
    if word in ("s", "f"):
        return False
    names = [strip_controls(pair.prompt.answer(side).model) for side in (pair.left, pair.right)]
    say(f"A was by {names[0]}, B by {names[1]}.")
    return True


def _word(read: Callable[[], str], say: Callable[[str], None]) -> str:
    while True:
        word = read().strip().lower()
        if word in WORDS or word in ("x", "s", "f", "u", "q"):
            return word
        say(HELP)


def _shown(pair: Pair, said: int) -> str:
    turns = [f"{turn['role']}: {turn['content']}" for turn in pair.prompt.messages]
    answers = [f"[{letter}] {pair.prompt.answer(side).text}" for letter, side in (("A", pair.left), ("B", pair.right))]
    parts = [RULE, *turns, *answers, f"{amount(said, 'pairs')} judged here. Which is better?"]
    return "\n\n".join(strip_controls(part) for part in parts)


def nothing_said(candidates: str) -> WorkbenchError:
    """The error for when the input ended before a verdict."""
    return WorkbenchError(
        "Nothing was judged: the input ended before the first line.",
        f"Type in a terminal: workbench rank {candidates}. Or judge by a rule: workbench judge {candidates}",
    )
