"""The queue for the devices: first come, first served, and the dead do not hold it up."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from workbench.runs import slots

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import sys, time
from workbench.runs import slots
run, created, devices = sys.argv[1], float(sys.argv[2]), sys.argv[3].split(",")
while slots.try_acquire(run, created, devices, "/home/ada/books"):
    time.sleep(0.02)
print("got it", flush=True)
time.sleep(60)
"""


def hold(run: str, created: float, devices: str = "all") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, run, str(created), devices], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def got_it(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "got it\n"


def test_a_killed_holder_frees_the_device() -> None:
    first = hold("a-1", 1.0)
    assert got_it(first)
    assert slots.try_acquire("b-2", 2.0, ["all"], Path("/home/ada/books")) == "a-1"
    assert slots.try_acquire("b-3", 3.0, ["all"], Path("/home/ada/other")) == "a-1 of /home/ada/books"
    slots.release("b-3")
    first.kill()
    first.wait()
    assert slots.try_acquire("b-2", 2.0, ["all"]) is None
    slots.release("b-2")


def test_the_earlier_run_goes_first_and_nobody_is_pushed_out() -> None:
    holder = hold("a-1", 5.0)
    assert got_it(holder)
    late, early = hold("c-3", 7.0), hold("b-2", 6.0)
    time.sleep(1.0)  # both wait by now
    holder.kill()
    holder.wait()
    assert got_it(early)
    # It was created before all of them, but the device is taken.
    assert slots.try_acquire("d-0", 0.5, ["all"], Path("/home/ada/books")) == "b-2"
    slots.release("d-0")
    for process in (late, early):
        process.kill()
        process.wait()


def test_different_gpus_are_used_side_by_side() -> None:
    zero = hold("a-1", 1.0, "0")
    assert got_it(zero)
    books = Path("/home/ada/books")
    assert slots.try_acquire("b-2", 2.0, ["1"], books) is None
    assert slots.try_acquire("c-3", 3.0, ["0", "1"], books) in ("a-1", "b-2")
    assert slots.try_acquire("d-4", 4.0, ["all"], books) in ("a-1", "b-2", "c-3")
    zero.kill()
    zero.wait()
