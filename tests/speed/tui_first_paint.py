"""Time to first paint of the terminal program, as a multiple of a minimal Textual app's.

Both are started in a pseudo-terminal, in turns; the clock stops when the first frame has arrived: for the program
the header with the project's name and the map's frame, for the minimal app its one word. The project has 100 runs
and 1,000,000 metric rows.

    python -m tests.speed.tui_first_paint
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from tests.speed.large_project import make_large_project
from tests.speed.pseudo_terminal import Terminal, python

MINIMAL = """
from textual.app import App
from textual.widgets import Static
class Minimal(App):
    def compose(self):
        yield Static("first-paint")
Minimal().run()
"""
PROGRAM = """
import sys
from pathlib import Path
from workbench.store.project import open_project
from workbench.tui.app import run
run(open_project(Path(sys.argv[1])))
"""


def seconds_until(argv: list[str], state: str, text: bytes, then: bytes = b"") -> tuple[float, float]:
    """(until `text` is drawn, until `then` is)."""
    terminal = Terminal(argv, environ={"WORKBENCH_STATE_DIR": state})
    try:
        first = terminal.wait_for(text) - terminal.started
        return first, (terminal.wait_for(then) - terminal.started) if then else first
    finally:
        terminal.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="starts of each (default 12)")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1_000_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = make_large_project(Path(folder) / "large-project", runs=chosen.runs, rows=chosen.rows)
        minimal, program, filled = [], [], []
        for round in range(chosen.rounds + 1):
            one, _ = seconds_until(python("-c", MINIMAL), folder, b"first-paint")
            other, data = seconds_until(python("-c", PROGRAM, str(project.root)), folder, b"large-project", b"bpe-4k")
            if round:  # the first of each warms the disk's cache
                minimal.append(one)
                program.append(other)
                filled.append(data)
    base = statistics.median(minimal)
    print(f"minimal Textual app: {base:.3f} s (median of {chosen.rounds})")
    whole = statistics.median(filled)
    print(f"program, first paint: {statistics.median(program):.3f} s; with the project's data: {whole:.3f} s")
    ratio = statistics.median(program) / base
    print(f"ratio: {ratio:.2f} (aim: at most 1.5); with the data: {whole / base:.2f}")
    sys.exit(0 if ratio <= 1.5 else 1)


if __name__ == "__main__":
    main()
