"""From the key that judges a pair to the next pair on the screen, in a real pseudo-terminal, with 10,000 pairs judged.

Each verdict is written and flushed to the disk before the next pair is drawn. The clock stops when both of its answers
have arrived. A second session of another rater is open on the same set. In turns with it, a minimal Textual app that
changes one line: what the machine takes for any key.

    python -m tests.speed.arena_latency
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.speed.pseudo_terminal import Terminal, python
from tests.speed.tui_key_latency import MINIMAL, describe, press_and_wait
from workbench.preferences.arena import Arena
from workbench.preferences.candidates import Answer, Prompt
from workbench.preferences.judgements import Book, Judgement
from workbench.preferences.sets import CandidateSet, candidate_set
from workbench.store import artifacts
from workbench.store.catalog import open_catalog
from workbench.store.project import Project, create

STORED = 10_000
PROMPTS = 2_000  # of four answers: 12,000 pairs
WORDS = ("the", "model", "reads", "a", "line", "of", "text", "and", "predicts", "what", "comes", "next", "from", "it")
TEXTS = re.compile(rb"answer-(\d+)-(\d+)\.")
AIM_SECONDS = 0.050


def make_project(root: Path) -> tuple[Project, CandidateSet]:
    """A set of 12,000 pairs of which 10,000 are judged."""
    project = create(root)
    folder = project.folder("candidates") / "made.partial"
    folder.mkdir()
    draw = random.Random(0)
    pairs = []
    with open(folder / "candidates.jsonl", "w", encoding="utf-8") as file:
        for number in range(PROMPTS):
            answers = [
                Answer(
                    id=f"{number}-{turn}", model=f"model-{turn % 2}", kind="model", temperature=0.8, seed=turn,
                    text=f"answer-{number}-{turn}. " + " ".join(draw.choices(WORDS, k=draw.randint(20, 90))),
                    finish="stop",
                )
                for turn in range(4)
            ]  # fmt: skip
            question = " ".join(draw.choices(WORDS, k=12)) + "?"
            messages = [{"role": "user", "content": question}]
            file.write(Prompt(id=str(number), messages=messages, answers=answers).line())
            pairs += [(number, a, b) for a in range(4) for b in range(a)]
    with open_catalog(project) as catalog:
        artifacts.seal(
            project, catalog, folder, kind="candidates", name="mine", identity="ab" * 32, stage="candidates", run=None,
            recipe={}, inputs={}, report={"prompts": PROMPTS}, versions={},
        )  # fmt: skip
        item = candidate_set(project, catalog, "mine")
    draw.shuffle(pairs)
    item.judgements.parent.mkdir(parents=True)
    with open(item.judgements, "wb") as judged:
        for number, a, b in pairs[:STORED]:
            said = Judgement(
                kind="pair", rater="ada", prompt=str(number), left=f"{number}-{a}", right=f"{number}-{b}",
                verdict=draw.choice(("left", "right")), strength=draw.choice((1, 2)), seconds=8.0,
            )  # fmt: skip
            judged.write(said.line())
    return project, item


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=200)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORKBENCH_STATE_DIR"] = folder
        project, item = make_project(Path(folder) / "project")
        other = Arena(item.candidates, item.judgements, "bob")
        other.next()
        terminal = Terminal(
            python("-m", "workbench.cli", "--project", str(project.root), "rank", "mine", "--rater", "ada"),
            environ={"COLORTERM": "truecolor"},
        )
        minimal = Terminal(python("-c", MINIMAL))
        try:
            took, base = measure(terminal, minimal, chosen.presses)
        finally:
            terminal.close()
            minimal.close()
            other.close()
        kept = len(Book(item.judgements).judgements)
    p95 = describe("key to next pair", took)
    describe("minimal Textual app, in turns with it", base)
    print(f"{kept:,} judgements kept; ratio to 50 ms: {p95 / AIM_SECONDS:.2f} (aim: at most 1)")
    assert kept == STORED + chosen.presses
    sys.exit(0 if p95 <= AIM_SECONDS else 1)


def measure(terminal: Terminal, minimal: Terminal, presses: int) -> tuple[list[float], list[float]]:
    """Seconds from each verdict to the next pair, and of the minimal app's keys, at a person's quickest pace."""
    minimal.wait_for(b"ready")
    terminal.wait_for(b"both bad", seconds=60)
    terminal.collect(2.0)
    draw = random.Random(1)
    took: list[float] = []
    base: list[float] = []
    for press in range(1, presses + 1):
        mark = len(terminal.output)
        pressed = time.perf_counter()
        terminal.press(draw.choice("12345"))
        took.append(_both(terminal, mark) - pressed)
        terminal.collect(draw.uniform(0.1, 0.3))
        base.append(press_and_wait(minimal, "x", f"press-{press}.".encode()))
    return took, base


def _both(terminal: Terminal, mark: int, seconds: float = 20.0) -> float:
    """When two answers had been drawn behind byte `mark`."""
    deadline = time.perf_counter() + seconds
    while len(set(TEXTS.findall(terminal.output[mark:]))) < 2:
        left = deadline - time.perf_counter()
        if left <= 0 or not terminal.read(left):
            raise TimeoutError(f"no next pair came in {seconds} s; the end was {terminal.output[-400:]!r}")
    return time.perf_counter()


if __name__ == "__main__":
    main()
