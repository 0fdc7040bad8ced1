"""The Arena without its screen: nothing is lost, nobody gets another's pair, repeats are hidden."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from workbench.preferences.arena import SCALE, Arena, standing
from workbench.preferences.candidates import Answer, Candidates, Prompt
from workbench.preferences.choice import Choice
from workbench.preferences.collect import conversations, marks, preferences
from workbench.preferences.judgements import Book


def write(path: Path, prompts: int, answers: int = 3, models: tuple[str, ...] = ("one", "two")) -> Path:
    """Candidates of which a later answer is longer."""
    with open(path, "a", encoding="utf-8") as file:
        for number in range(prompts):
            made = [
                Answer(
                    id=f"{number}-{turn}", model=models[turn % len(models)], kind="model", temperature=1.0, seed=turn,
                    text="word " * (turn + 1), finish="stop",
                )
                for turn in range(answers)
            ]  # fmt: skip
            messages = [{"role": "user", "content": f"question {number}"}]
            file.write(Prompt(id=str(number), messages=messages, answers=made).line())
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "candidates.jsonl", 20), tmp_path / "judged" / "judgements.jsonl"


def test_every_pair_comes_once(files: tuple[Path, Path]) -> None:
    arena = Arena(*files, "ann", repeat=0.0, overlap=0.0, seed=1)
    seen = set()
    lefts = 0
    while pair := arena.next():
        assert pair.answers not in seen
        seen.add(pair.answers)
        lefts += pair.left < pair.right
        arena.judge(*SCALE[4])
    assert len(seen) == 20 * 3
    assert 15 < lefts < 45  # sides are drawn, not fixed
    assert standing(arena.candidates, arena.book).left_over == 0


def test_hidden_repeats_swap_the_sides_and_count_for_agreement(files: tuple[Path, Path]) -> None:
    arena = Arena(*files, "ann", repeat=0.5, overlap=0.0, seed=2)
    for _ in range(60):
        pair = arena.next()
        assert pair is not None
        first = int(pair.prompt.id) % 2 == 0  # of the two answers, wherever they stand
        arena.judge("left" if (pair.left < pair.right) == first else "right", 1)
    kappa, count = standing(arena.candidates, arena.book).self_agreement
    assert count > 10
    assert kappa == pytest.approx(1.0)
    repeats = [item for item in arena.book.judgements.values() if item.repeat_of]
    for item in repeats:
        first = arena.book.judgements[item.repeat_of]
        assert (item.left, item.right) == (first.right, first.left)


def test_repeats_are_the_share_of_the_own_pairs_that_was_asked_for(files: tuple[Path, Path]) -> None:
    """One rater in two sessions at once: no more than half of the pairs come again, none of them twice."""
    two = [Arena(*files, "ann", repeat=0.5, overlap=0.0, seed=seed) for seed in (3, 4)]
    going = list(two)
    while going:
        for arena in list(going):
            if arena.next() is None:
                going.remove(arena)
        for arena in going:
            arena.judge("left", 1)
    judged = list(two[0].book.judgements.values())
    repeats = [item.repeat_of for item in judged if item.repeat_of]
    own = len(judged) - len(repeats)
    assert own == 20 * 3
    assert 0.4 * own < len(repeats) <= 0.5 * own + 1  # two sessions may draw at once
    assert len(set(repeats)) == len(repeats)


def test_what_was_skipped_or_flagged_is_not_judged(files: tuple[Path, Path]) -> None:
    arena = Arena(*files, "ann", repeat=0, overlap=0, seed=5)
    arena.next()
    arena.judge("left", 1)
    arena.next()
    arena.skip()
    pair = arena.next()
    assert pair is not None
    arena.flag()
    choice = Choice(arena.candidates, arena.book, "")
    of_prompt = [
        item for item in arena.book.judgements.values() if item.prompt == pair.prompt.id and item.kind != "flag"
    ]
    assert choice.decided == 1
    assert choice.total - choice.left - choice.decided == 1 + 3 - len(of_prompt)


def test_two_sessions_never_show_the_same_pair(files: tuple[Path, Path]) -> None:
    ann, bob = (Arena(*files, rater, repeat=0, overlap=0, seed=3) for rater in ("ann", "bob"))
    seen: list[frozenset[str]] = []
    for _ in range(30):
        for arena in (ann, bob):
            pair = arena.next()
            assert pair is not None
            seen.append(pair.answers)
        assert ann.pair is not None
        assert bob.pair is not None
        assert ann.pair.answers != bob.pair.answers
        ann.judge("left", 1)
        bob.judge("tie")
    assert len(set(seen)) == 60
    assert ann.next() is None  # the others are judged by bob, and no overlap is wanted


def test_overlap_gives_a_pair_to_a_second_rater(files: tuple[Path, Path]) -> None:
    ann = Arena(*files, "ann", repeat=0, overlap=0, seed=4)
    for _ in range(20):
        ann.next()
        ann.judge("left", 2)
    ann.close()
    bob = Arena(*files, "bob", repeat=0, overlap=1.0, seed=4)
    for _ in range(20):
        pair = bob.next()
        assert pair is not None
        bob.judge(
            "left" if pair.left == next(j for j in ann.book.of("ann") if j.pair == pair.answers).left else "right", 2
        )
    alpha, count = standing(bob.candidates, bob.book).rater_agreement
    assert (alpha, count) == (pytest.approx(1.0), 20)


def test_undo_has_no_limit_and_shows_the_pair_again(files: tuple[Path, Path]) -> None:
    arena = Arena(*files, "ann", repeat=0, overlap=0, seed=5)
    shown = []
    for _ in range(10):
        pair = arena.next()
        assert pair is not None
        shown.append((pair.left, pair.right))
        arena.judge("right", 1)
    lines = files[1].read_bytes()
    for expected in reversed(shown):
        assert arena.undo() is not None
        assert arena.pair is not None
        assert (arena.pair.left, arena.pair.right) == expected
    assert arena.undo() is None
    assert not Book(files[1]).judgements
    assert files[1].read_bytes().startswith(lines)  # appended to, never rewritten
    assert Arena(*files, "bob", overlap=0).choice.left == 60


def test_a_flag_takes_all_pairs_of_the_prompt_away(files: tuple[Path, Path]) -> None:
    arena = Arena(*files, "ann", repeat=0, overlap=0, seed=6)
    pair = arena.next()
    assert pair is not None
    arena.judge("left", 1)
    arena.flag("nonsense")
    rest = []
    while (found := arena.next()) and len(rest) < 100:
        rest.append(found.prompt.id)
        arena.judge("left", 1)
    assert pair.prompt.id not in rest
    assert len(rest) == 19 * 3
    assert all(
        item.prompt[0]["content"] != f"question {pair.prompt.id}" for item in preferences(arena.candidates, arena.book)
    )


def test_answers_that_arrive_while_ranking_come_too(files: tuple[Path, Path]) -> None:
    candidates = files[0].with_name("growing.jsonl")
    arena = Arena(candidates, files[1], "ann", repeat=0, overlap=0)
    assert arena.next() is None
    write(candidates, 2, answers=2)
    assert arena.next() is not None
    with open(candidates, "a") as file:
        file.write('{"id": "half')
    arena.judge("tie")
    assert arena.next() is not None


def test_least_sure_pairs_come_first_and_the_gain_is_said(files: tuple[Path, Path]) -> None:
    scores = {f"{number}-{turn}": turn * (number + 1) / 4 for number in range(20) for turn in range(3)}
    arena = Arena(*files, "ann", repeat=0, overlap=0, scores=scores, seed=7)
    gain = arena.choice.gain(10)
    assert gain is not None
    assert gain[0] > gain[1] + 0.2
    differences = []
    for _ in range(60):
        pair = arena.next()
        assert pair is not None
        differences.append(abs(scores[pair.left] - scores[pair.right]))
        arena.judge("tie")
    assert differences == sorted(differences)


def test_a_ranking_of_k_answers_is_all_their_pairs(tmp_path: Path) -> None:
    candidates = write(tmp_path / "candidates.jsonl", 3, answers=4)
    arena = Arena(candidates, tmp_path / "j" / "judgements.jsonl", "ann")
    prompt = arena.next_set()
    assert prompt is not None
    arena.rank([["0-3"], ["0-1", "0-2"], ["0-0"]])
    made = list(preferences(arena.candidates, arena.book))
    assert len(made) == 5  # 4 · 3 / 2, one of which is a tie
    assert all(len(item.chosen[0]["content"]) > len(item.rejected[0]["content"]) for item in made)
    following = arena.next_set()
    assert following is not None
    assert following.id != prompt.id


def test_what_training_reads(files: tuple[Path, Path]) -> None:
    arena = Arena(*files, "ann", repeat=0, overlap=0, seed=8)
    first = arena.next()
    assert first is not None
    arena.judge("left", 2, tags=["wrong"], note="made up")
    second = arena.next()
    assert second is not None
    arena.judge("both_bad")
    third = arena.next()
    assert third is not None
    arena.judge("tie")
    arena.edit(third.prompt, third.left, "a better answer")
    found = list(preferences(arena.candidates, arena.book))
    assert [(item.chosen[0]["content"], item.margin) for item in found] == [
        (first.prompt.answer(first.left).text, 1.0), ("a better answer", None),
    ]  # fmt: skip
    assert found[0].tags == ("wrong",)
    labels = [item.label for item in marks(arena.candidates, arena.book)]
    assert sorted(labels) == [False, False, False, True]
    [row] = conversations(arena.candidates, arena.book)
    assert row["messages"][-1] == {"role": "assistant", "content": "a better answer"}


def test_a_kill_at_any_time_loses_no_judgement(files: tuple[Path, Path]) -> None:
    """The process says each judgement only after it was told that it is kept."""
    program = """
        import sys
        from pathlib import Path
        from workbench.preferences.arena import Arena
        arena = Arena(Path(sys.argv[1]), Path(sys.argv[2]), "ann", repeat=0, overlap=0)
        while arena.next():
            print(arena.judge("left", 1).id, flush=True)
    """
    said: set[str] = set()
    for kill_after in (1, 5, 13):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), *map(str, files)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(kill_after):
            said.add(process.stdout.readline().strip())
        os.kill(process.pid, signal.SIGKILL)
        said |= {line.strip() for line in process.stdout if line.endswith("\n")}
        process.wait()
        with open(files[1], "ab") as file:  # as if the kill had come in the middle of a write
            file.write(b'{"kind": "pair", "rat')
    arena = Arena(*files, "ann", repeat=0, overlap=0)
    assert said <= set(arena.book.judgements)
    assert arena.next() is not None  # what the dead sessions showed is free again
    arena.judge("left", 1)
    assert len(Candidates(files[0]).prompts) == 20
    assert all(
        line.startswith(b"{") and line.endswith(b"}\n") for line in files[1].read_bytes().splitlines(keepends=True)
    )
