"""Run a Python program that a model wrote, so that it can reach nothing and outlive nothing.

The program is one process with one thread. A seccomp filter (`sandbox_filter.py`) leaves it no sockets, no new
processes and no signals to others; Landlock leaves it the files of its own scratch folder for writing and Python's
library for reading; limits of the kernel bound its memory, its CPU time and its files. Linux 5.13 has all of that, for
any user and in containers. Where the kernel has no Landlock, no file can be written at all, and every file can be read
that the user can read. Elsewhere (macOS cannot limit memory) it refuses.

What it does not do: answer and checks share a process, as in the field's `code_eval`, so a program written to cheat its
own checks can do so. It harms nothing but its own score.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import math
import os
import secrets
import selectors
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from workbench.benchmarks import sandbox_filter
from workbench.errors import WorkbenchError

Word = Literal["passed", "failed", "timeout", "memory", "files"]

INSIDE = Path(__file__).with_name("sandbox_inside.py")
PATIENCE = 3  # wall clock: so many times the CPU seconds, for a busy machine and for programs that only wait
FILE_BYTES = 8 << 20  # of one file
SCRATCH_BYTES, SCRATCH_FILES = 64 << 20, 256  # of all files together
OPEN_FILES = 64
OUTPUT_BYTES = 4_000  # of what a program printed; the rest is read and thrown away
_REPORT_BYTES = 64_000  # a report is at most 2,000 characters; more is not one
_LOOK_SECONDS = 0.05  # how often the scratch folder is measured

# landlock(7), LANDLOCK_ACCESS_FS_*
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8, 1 << 14
_READ = _READ_FILE | _READ_DIR
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # Landlock's ABI -> number of rights on files that it knows; later ones: 16
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_FACTS = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom", "/dev/zero")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. It passed only if it ran to its last line."""

    word: Word
    message: str = ""  # why it did not pass
    output: str = ""  # the beginning of what it printed
    seconds: float = 0.0  # wall clock

    @property
    def passed(self) -> bool:
        return self.word == "passed"


def run(program: str, *, seconds: float, memory_bytes: int) -> Outcome:
    """Run a program: `seconds` of CPU time (whole ones, rounded up; three times `seconds` by the clock) and so much
    address space, of which the interpreter takes about 30 MiB.

    Raises `WorkbenchError` where this machine cannot confine a program.
    """
    refuse_unless_available()
    return _run(program, seconds=seconds, memory_bytes=memory_bytes)


def refuse_unless_available() -> None:
    """Raises `WorkbenchError` where this machine cannot confine a program."""
    if (reason := available()) is not None:
        raise WorkbenchError(
            f"Generated code cannot be run safely here: {reason}.",
            "Run code tasks on Linux 5.13 or later, or leave them out.",
        )


@functools.cache
def available() -> str | None:
    """None if programs can be confined here, else what is missing. Tried out for real, once a process."""
    if sys.platform != "linux":
        return f"{sys.platform} has no way to bound a program's memory, files and network that is used here"
    if sandbox_filter.architecture() is None:
        return f"the system calls of {os.uname().machine} are not known here"
    try:
        return _tried()
    except (WorkbenchError, OSError) as error:
        reason = str(error).rstrip(".")
        return reason[:1].lower() + reason[1:]


@functools.cache
def landlock() -> int:
    """The version of Landlock's interface that the kernel has; 0 if none."""
    version = ctypes.CDLL(None).syscall(444, None, 0, 1)  # landlock_create_ruleset(LANDLOCK_CREATE_RULESET_VERSION)
    return max(0, int(version))


def _run(
    program: str, *, seconds: float, memory_bytes: int, abi: int | None = None, arguments: Sequence[Any] = ()
) -> Outcome:
    if arguments:
        program = f"arguments = {list(arguments)!r}\n{program}"
    with tempfile.TemporaryDirectory(prefix="workbench-code-") as scratch:
        return _watched(program, scratch, seconds, memory_bytes, landlock() if abi is None else abi)


def _watched(program: str, scratch: str, seconds: float, memory_bytes: int, abi: int) -> Outcome:
    report, report_inside = os.pipe()
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(INSIDE), str(report_inside), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[report_inside],
        cwd=scratch,
        env={"HOME": scratch, "TMPDIR": scratch, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )
    os.close(report_inside)
    assert process.stdin is not None
    assert process.stdout is not None
    token = secrets.token_hex(16)
    try:
        job = _job(program, scratch, process.pid, token, seconds, memory_bytes, abi)
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(json.dumps(job).encode())
        said, output, stopped = _listen(report, process.stdout, scratch, time.monotonic() + PATIENCE * seconds)
    finally:
        process.kill()  # it is one process: nothing else is left
        process.wait()
        process.stdout.close()
        os.close(report)
    word, message = stopped or _reported(said, token) or _ended(process.returncode, time.monotonic() - began >= seconds)
    return Outcome(word, message, output.decode(errors="replace"), time.monotonic() - began)


def _job(
    program: str, scratch: str, pid: int, token: str, seconds: float, memory_bytes: int, abi: int
) -> dict[str, Any]:
    machine = sandbox_filter.architecture()
    assert machine is not None
    cpu = math.ceil(seconds)
    paths = sysconfig.get_paths()
    return {
        "program": program,
        "token": token,
        "scratch": scratch,
        "packages": sorted({paths["purelib"], paths["platlib"]}),
        "filter": sandbox_filter.build(machine, pid, writes=abi > 0).hex(),
        "landlock": _landlock_job(abi, scratch) if abi else None,
        "limits": {
            "RLIMIT_AS": (memory_bytes, memory_bytes),
            "RLIMIT_CPU": (cpu, cpu + 1),  # SIGXCPU, and one second later SIGKILL
            "RLIMIT_FSIZE": (FILE_BYTES, FILE_BYTES),
            "RLIMIT_NOFILE": (OPEN_FILES, OPEN_FILES),
            "RLIMIT_NPROC": (0, 0),
            "RLIMIT_CORE": (0, 0),
        },
    }


def _landlock_job(abi: int, scratch: str) -> dict[str, Any]:
    handled = (1 << _FS_RIGHTS.get(abi, 16)) - 1
    words = [handled]
    if abi >= 4:
        words.append(0b11)  # bind and connect over TCP
    if abi >= 6:
        words.append(0b11)  # abstract Unix sockets, signals to processes outside
    paths = sysconfig.get_paths()
    library = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    library |= {os.path.join(prefix, name) for prefix in (sys.base_prefix, sys.prefix) for name in ("lib", "lib64")}
    rules = [(folder, _READ) for folder in sorted(library.union(_LIBRARIES))]
    rules += [(fact, _READ if os.path.isdir(fact) else _READ_FILE) for fact in _FACTS]
    rules.append((os.devnull, _READ_FILE | _WRITE_FILE))
    rules.append((scratch, handled & (_READ | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE)))
    return {"ruleset": struct.pack(f"<{len(words)}Q", *words).hex(), "rules": rules}


def _listen(
    report: int, printed: IO[bytes], scratch: str, deadline: float
) -> tuple[bytes, bytes, tuple[Word, str] | None]:
    """What it reported and printed until its report is over, or until it must be stopped, and then why."""
    said, output = b"", b""
    with selectors.DefaultSelector() as ready:
        ready.register(report, selectors.EVENT_READ)
        ready.register(printed, selectors.EVENT_READ)
        looked = 0.0
        while (now := time.monotonic()) < deadline:
            if now - looked >= _LOOK_SECONDS:
                looked = now
                if (full := _too_much(scratch)) is not None:
                    return said, output, ("files", full)
            for key, _ in ready.select(min(_LOOK_SECONDS, deadline - now)):
                piece = os.read(key.fd, 65_536)
                if key.fd != report:
                    output += piece[: OUTPUT_BYTES - len(output)]
                    if not piece:
                        ready.unregister(printed)
                elif not piece or len(said) > _REPORT_BYTES:
                    return said, output + _rest(printed, OUTPUT_BYTES - len(output)), None
                else:
                    said += piece
    return said, output, ("timeout", "It was stopped: it had not ended after all the time that it was given.")


def _rest(printed: IO[bytes], room: int) -> bytes:
    """What lies in the pipe when the report is over: the program may still live, so nothing is waited for."""
    os.set_blocking(printed.fileno(), False)
    with contextlib.suppress(BlockingIOError):
        return os.read(printed.fileno(), room) if room > 0 else b""
    return b""


def _too_much(scratch: str) -> str | None:
    count = size = 0
    with os.scandir(scratch) as entries:
        for entry in entries:
            count += 1
            with contextlib.suppress(FileNotFoundError):
                size += entry.stat(follow_symlinks=False).st_blocks * 512
    if count > SCRATCH_FILES:
        return f"It was stopped: it made more than {SCRATCH_FILES} files."
    if size > SCRATCH_BYTES:
        return f"It was stopped: its files came to more than {SCRATCH_BYTES >> 20} MiB."
    return None


def _reported(said: bytes, token: str) -> tuple[Word, str] | None:
    """None without a report, or with one that does not bear the token."""
    if not said.startswith(token.encode()):
        return None
    try:
        word, message = json.loads(said[len(token) :])
    except ValueError:
        return None
    if word == "refused":
        raise WorkbenchError(f"The sandbox could not be set up: {message}.")
    return word, str(message)


def _ended(code: int, long: bool) -> tuple[Word, str]:
    """What the end of a process without a report means."""
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and long):
        return "timeout", "It used up the CPU time that it was given."
    if code < 0:
        return "failed", f"It was ended by the signal {-code} ({signal.strsignal(-code)}) before the checks were over."
    return "failed", "It ended itself before the checks were over."


# Each line that the probe gives back is a door that should have been shut.
_PROBE = """
import ctypes, os, signal, socket
outside, secret, port, parent = arguments
libc = ctypes.CDLL(None)
doors = {
    "writes outside": lambda: open(outside, "a"),
    "creates outside": lambda: open(outside + "-new", "x"),
    "removes outside": lambda: os.unlink(outside),
    "chmods outside": lambda: os.chmod(outside, 0),
    "connects": lambda: socket.create_connection(("127.0.0.1", port), 1),
    "sends": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "forks": lambda: os.fork() or os._exit(0),
    "signals its parent": lambda: os.kill(parent, 0),
    "raises its limits": lambda: __import__("resource").setrlimit(7, (65, 65)),
}
if secret:
    doors["reads outside"] = lambda: open(secret)
    open("scratch", "w").write("ours")
    os.unlink("scratch")
for name, door in doors.items():
    try:
        door()
    except OSError as error:
        assert error.errno in (1, 13), f"{name}: {error}"
    except ValueError:
        assert name == "raises its limits"
    else:
        raise AssertionError(f"a program still {name}")
bytearray(10 << 30)
"""


def _tried() -> str | None:
    """Raises `WorkbenchError` or `OSError` if the sandbox cannot be set up at all."""
    with tempfile.TemporaryDirectory(prefix="workbench-probe-") as folder, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        outside = Path(folder, "outside")
        outside.write_text("as it was", encoding="utf-8")
        secret = str(outside) if landlock() else ""
        arguments = [str(outside), secret, server.getsockname()[1], os.getpid()]
        ended = _run(_PROBE, seconds=10, memory_bytes=256 << 20, arguments=arguments)
        if ended.word != "memory":  # the last thing that it asks for is 10 GiB
            return ended.message or "a program got more memory than it was allowed"
        if list(Path(folder).iterdir()) != [outside] or outside.read_text(encoding="utf-8") != "as it was":
            return "a program changed a file outside its folder"
    stopped = _run("import time\ntime.sleep(60)", seconds=0.1, memory_bytes=256 << 20)
    return None if stopped.word == "timeout" else "a program could not be stopped"
