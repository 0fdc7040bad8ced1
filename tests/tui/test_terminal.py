"""The program in a real pseudo-terminal: what it draws where it can do little, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.speed.pseudo_terminal import ROOT, Terminal, python
from tests.tui.test_safe import HOSTILE
from workbench.store import runs
from workbench.store.project import Project

PROGRAM = """
import sys
from pathlib import Path
from workbench.store.project import open_project
from workbench.tui.app import run
run(open_project(Path(sys.argv[1])))
"""
COLOUR = re.compile(rb"\x1b\[[0-9;]*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")


@pytest.fixture
def opened(example: Project) -> list[str]:
    return python("-c", PROGRAM, str(example.root))


def ended(terminal: Terminal, seconds: float = 20.0) -> int:
    """The exit status of the process, once it has ended; negative for a signal."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        terminal.read(0.05)
        pid, status = os.waitpid(terminal.pid, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
    raise AssertionError("it did not end")


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_terminal_that_can_do_little_gets_plain_text(opened: list[str], environ: dict[str, str]) -> None:
    terminal = Terminal(opened, environ=environ)
    assert ended(terminal) == 0
    assert b"Model      * running" in terminal.output
    assert b"\x1b" not in terminal.output


def test_without_a_terminal_it_prints_and_ends(opened: list[str]) -> None:
    done = subprocess.run(opened, capture_output=True, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60, check=True)
    assert b"Corpus     + made" in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr


def test_idle_it_sends_nothing(opened: list[str]) -> None:
    terminal = Terminal(opened, environ={"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"})
    try:
        terminal.wait_for(b"books-bpe-4k")
        terminal.collect(3.0)
        mark = len(terminal.output)
        terminal.collect(3.0)
        assert terminal.output[mark:] == b""
    finally:
        terminal.close()


def test_q_leaves_and_says_what_goes_on(opened: list[str], example: Project) -> None:
    terminal = Terminal(opened)
    terminal.wait_for(b"books-bpe-4k")
    terminal.press("q")
    assert ended(terminal) == 0
    assert b"2 runs go on: pretrain-8, pretrain-9." in terminal.output
    assert b"\x1b[?1049l" in terminal.output  # the terminal is as it was
    assert runs.read(example, "pretrain-8")[1].state == "running"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_the_end_of_the_terminal_ends_it_and_no_run(opened: list[str], example: Project, number: int) -> None:
    keeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    terminal = Terminal(opened)
    terminal.wait_for(b"books-bpe-4k")
    os.kill(terminal.pid, number)
    assert ended(terminal) == -number
    assert b"Traceback" not in terminal.output
    assert keeper.poll() is None
    assert runs.read(example, "pretrain-8")[1].state == "running"
    keeper.kill()
    keeper.wait()


def test_no_color_is_obeyed(opened: list[str]) -> None:
    terminal = Terminal(opened, environ={"NO_COLOR": "1"})
    try:
        terminal.wait_for(b"books-bpe-4k")
        terminal.press("gr")
        terminal.wait_for(b"took 12s")
        assert COLOUR.search(terminal.output) is None
        assert re.search(rb"\x1b\[(?:[0-9;]*;)?7[;m]", terminal.output)  # the cursor is seen without
    finally:
        terminal.close()


def test_sixteen_colours_are_the_terminals_own(opened: list[str]) -> None:
    terminal = Terminal(opened, environ={"TERM": "xterm", "COLORTERM": ""})
    try:
        terminal.wait_for(b"books-bpe-4k")
        assert re.search(rb"\x1b\[[0-9;]*[34]8;", terminal.output) is None
        assert re.search(rb"\x1b\[(?:[0-9;]*;)?3[0-7][;m]", terminal.output)
    finally:
        terminal.close()


def test_a_terminal_without_unicode_gets_ascii(opened: list[str]) -> None:
    terminal = Terminal(opened, environ={"TERM": "linux"})
    try:
        terminal.wait_for(b"books-bpe-4k")
        terminal.press("gr")
        terminal.wait_for(b"took 12s")
        terminal.wait_for(b"training")
        assert terminal.output.decode().isascii()
    finally:
        terminal.close()


def test_what_a_run_prints_never_reaches_the_terminal_as_a_command(opened: list[str], example: Project) -> None:
    (example.runs / "pretrain-8" / "log.txt").write_text(HOSTILE + "\nthe last line\n")
    terminal = Terminal(opened)
    try:
        terminal.wait_for(b"books-bpe-4k")
        terminal.press("gr")
        terminal.wait_for(b"the last line")
        assert b"]52;" not in terminal.output
        assert b"[/INST]" in terminal.output
    finally:
        terminal.close()


def test_a_bug_is_a_sentence_and_a_file(example: Project, tmp_path: Path) -> None:
    broken = PROGRAM.replace(
        "run(open_project", "from workbench.tui import live\nlive.Live.active = None\nrun(open_project"
    )
    terminal = Terminal(python("-c", broken, str(example.root)), environ={"WORKBENCH_STATE_DIR": str(tmp_path)})
    assert ended(terminal) == 1
    said = b" ".join(terminal.output.split())
    assert b"The program failed: TypeError" in said
    assert b"Runs are not affected" in said
    assert b"Traceback" not in said
    (log,) = tmp_path.glob("crash-*.txt")
    assert "TypeError" in log.read_text()
