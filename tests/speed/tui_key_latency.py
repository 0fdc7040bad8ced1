"""From a key press to its repaint, in a real pseudo-terminal, while a run streams 50 events a second.

The Runs screen is open; the streaming run is under the cursor at first, and the keys are `down` and `up`. The clock
stops when the row that the cursor moved to has arrived in the cursor's colour.

    python -m tests.speed.tui_key_latency
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.speed.large_project import make_large_project
from tests.speed.pseudo_terminal import ROOT, Terminal, python
from workbench.contract import Event, Metrics, Sample, Started
from workbench.recipes.load import recipe_from
from workbench.store import events, runs
from workbench.store.catalog import open_catalog
from workbench.store.project import Project, open_project

EVENTS_PER_SECOND = 50
EARLIER = 30  # runs that are finished
INDEX_SECONDS = 0.25  # as the supervisor does
CURSOR = b"48;2;43;58;80m"  # the theme's background of the row under the cursor
KEYS = {"down": "\x1b[B", "up": "\x1b[A"}
PROGRAM = """
import sys
from pathlib import Path
from workbench.store.project import open_project
from workbench.tui.app import run
run(open_project(Path(sys.argv[1])))
"""


def start_run(project: Project) -> str:
    """A run that this process keeps alive."""
    recipe = recipe_from({"stage": "pretrain", "corpus": "books", "tokenizer": "bpe-4k", "name": "streams"})
    (project.runs / f"pretrain-{EARLIER}").mkdir()  # numbers go on behind those that are in the catalog alone
    with open_catalog(project) as catalog:
        run = runs.create(
            project, catalog, recipe.resolved(), name="streams", engine="pytorch", produces="model", identity="streams",
            inputs={}, after=(), accelerator=True,
        )  # fmt: skip
        state = runs.RunState(
            state="running", pid=os.getpid(), pid_started=runs.process_started(os.getpid()), started=time.time()
        )
        runs.write_state(project, catalog, run, state)
    return run.id


def stream(project: Project, run: str) -> None:
    """50 events a second, indexed four times a second, until it is ended."""
    draw = random.Random(0)
    with open_catalog(project) as catalog, open(project.runs / run / "events.jsonl", "a", encoding="utf-8") as file:
        file.write(Started(total_steps=1_000_000).line())
        step = 0
        indexed = time.monotonic()
        while True:
            step += 1
            event: Event = Metrics(
                step=step, tokens=step * 4096, loss=3 + draw.random(), grad_norm=1.0, learning_rate=1e-3,
                tokens_per_second=5000.0, peak_memory_bytes=1 << 30,
            )  # fmt: skip
            if step % 100 == 0:
                event = Sample(step=step, prompt="The ", text="words of a model. " * 8)
            file.write(event.line())
            file.flush()
            if time.monotonic() - indexed > INDEX_SECONDS:
                indexed = time.monotonic()
                events.index_events(project, catalog, run)
            time.sleep(1 / EVENTS_PER_SECOND)


MINIMAL = """
from textual.app import App
from textual.widgets import Static
class Minimal(App):
    presses = 0
    def compose(self):
        yield Static("ready")
    def on_key(self):
        self.presses += 1
        self.query_one(Static).update(f"press-{self.presses}.")
Minimal().run()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=200)
    parser.add_argument("--stream", nargs=2, metavar=("PROJECT", "RUN"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.stream:
        stream(open_project(Path(chosen.stream[0])), chosen.stream[1])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORKBENCH_STATE_DIR"] = folder
        project = make_large_project(Path(folder) / "project", runs=EARLIER, rows=240_000)
        run = start_run(project)
        command = python("-m", "tests.speed.tui_key_latency", "--stream", str(project.root), run)
        streamer = subprocess.Popen(command, cwd=ROOT)
        terminal = Terminal(python("-c", PROGRAM, str(project.root)), environ={"COLORTERM": "truecolor"})
        minimal = Terminal(python("-c", MINIMAL))
        try:
            took, base = measure(terminal, minimal, chosen.presses)
        finally:
            terminal.close()
            minimal.close()
            streamer.kill()
            streamer.wait()
    p95 = describe("program", took)
    describe("minimal Textual app, in turns with it", base)
    print(f"ratio to 50 ms: {p95 / 0.050:.2f} (aim: at most 1)")
    sys.exit(0 if p95 <= 0.050 else 1)


def describe(name: str, took: list[float]) -> float:
    """Print the figures; the 95th percentile in seconds."""
    ordered = sorted(took)
    p95 = ordered[int(len(ordered) * 0.95)]
    median, slowest = statistics.median(ordered), ordered[-1]
    print(f"{name}: median {median * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms, slowest {slowest * 1e3:.1f} ms")
    return p95


def measure(terminal: Terminal, minimal: Terminal, presses: int) -> tuple[list[float], list[float]]:
    """Seconds from each press to its repaint, of both; the cursor wanders over the upper rows, at a person's pace."""
    minimal.wait_for(b"ready")
    terminal.wait_for(b"project")
    terminal.collect(1.0)
    terminal.press("g")
    terminal.wait_for(b"Go to")
    terminal.press("r")
    terminal.wait_for(b"streams")
    terminal.collect(4.0)
    draw = random.Random(1)
    row = EARLIER + 1  # number of the run under the cursor; the newest stands at the top
    took: list[float] = []
    base: list[float] = []
    for press in range(1, presses + 1):
        key = "down" if row > EARLIER or (row > EARLIER - 4 and draw.random() < 0.5) else "up"
        row += -1 if key == "down" else 1
        took.append(press_and_wait(terminal, KEYS[key], CURSOR + f"pretrain-{row}".encode()))
        terminal.collect(draw.uniform(0.05, 0.25))
        base.append(press_and_wait(minimal, "x", f"press-{press}.".encode()))
    return took, base


def press_and_wait(terminal: Terminal, key: str, text: bytes) -> float:
    """Seconds until `text` was drawn."""
    mark = len(terminal.output)
    pressed = time.perf_counter()
    terminal.press(key)
    return terminal.wait_for(text, after=mark) - pressed


if __name__ == "__main__":
    main()
