"""The inside of the sandbox: confines its own process, then runs one program to its end.

Run as a script by `sandbox.py`, isolated (`-I -S`): nothing of the workbench can be imported here. Whatever goes wrong
before the program starts is reported as "refused", and the program does not run.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import resource
import signal
import struct
import sys
from types import TracebackType
from typing import Any

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on all architectures
LANDLOCK_PATH_BENEATH = 1
CAPABILITY_VERSION_3 = 0x20080522
FILE = "<program>"
LONGEST_MESSAGE = 2_000  # characters

libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def checked(result: int, call: str) -> int:
    if result < 0:
        raise OSError(f"{call}: {os.strerror(ctypes.get_errno())}")
    return result


def confine(job: dict[str, Any]) -> None:
    """Give up, for good, everything that the job does not grant.

    Raises `OSError` where the kernel refuses a step.
    """
    for name, (soft, hard) in job["limits"].items():
        resource.setrlimit(getattr(resource, name), (soft, hard))
    header, nothing = struct.pack("<Ii", CAPABILITY_VERSION_3, 0), bytes(24)
    checked(libc.capset(header, nothing), "capset")  # root without capabilities
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if job["landlock"] is not None:
        restrict_paths(**job["landlock"])
    code = bytes.fromhex(job["filter"])
    steps = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(steps)))
    checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0), "seccomp")


def restrict_paths(ruleset: str, rules: list[tuple[str, int]]) -> None:
    """Landlock: nothing but these paths, each with these rights."""
    attributes = bytes.fromhex(ruleset)
    owner = checked(libc.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0), "landlock")
    for path, rights in rules:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rule = struct.pack("<Qi", rights, place)
        checked(libc.syscall(LANDLOCK_ADD, owner, LANDLOCK_PATH_BENEATH, rule, 0), f"landlock {path}")
        os.close(place)
    checked(libc.syscall(LANDLOCK_RESTRICT, owner, 0), "landlock")
    os.close(owner)


def described(error: BaseException, trace: TracebackType | None, lines: list[str]) -> str:
    """The error with the deepest line of the program that it passed through."""
    try:
        text = str(error)
    except BaseException as failed:
        text = f"(its text cannot be had: {type(failed).__name__})"
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError):
        return message
    number = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            number = trace.tb_lineno
        trace = trace.tb_next
    return f"{message}, in line {number}: {lines[number - 1].strip()}" if 0 < number <= len(lines) else message


def outcome(program: str) -> tuple[str, str]:
    # An empty namespace, as the field's `code_eval` has it: `__name__` is not "__main__" there.
    try:
        exec(compile(program, FILE, "exec", dont_inherit=True), {})
    except MemoryError:
        return "memory", "MemoryError"
    except SystemExit:
        return "failed", "It ended itself before the checks were over."
    except BaseException as error:
        return "failed", described(error, error.__traceback__, re.split("\r\n|\r|\n", program))
    return "passed", ""


def main() -> None:
    report, parent = int(sys.argv[1]), int(sys.argv[2])
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os._exit(1)
    job = json.loads(sys.stdin.buffer.read())
    token, program = job["token"], job["program"]
    # The program may put others in their places. What then fails here leaves no report: the program has not passed.
    write, leave, dumps, printed = os.write, os._exit, json.dumps, sys.stdout
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.chdir(job["scratch"])
        sys.path += job["packages"]
        confine(job)
    except (OSError, ValueError, AttributeError) as error:
        write(report, f"{token}{dumps(['refused', str(error)])}".encode())
        leave(1)
    word, message = outcome(program)
    with contextlib.suppress(OSError, ValueError):  # it may have closed its output
        printed.flush()
    write(report, f"{token}{dumps([word, message[:LONGEST_MESSAGE]])}".encode())
    leave(0)


if __name__ == "__main__":
    main()
