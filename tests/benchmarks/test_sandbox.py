"""Programs that mean harm, run for real: what they reach for stays as it was, and nothing of them is left."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from workbench.benchmarks import sandbox, sandbox_filter
from workbench.benchmarks.sandbox import Outcome
from workbench.errors import WorkbenchError

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="generated code runs on Linux only")


@pytest.fixture(autouse=True)
def _confined(request: pytest.FixtureRequest) -> None:
    """None of these programs is run anywhere where the sandbox has not proved itself."""
    if sys.platform == "linux" and "unconfined" not in request.node.name:
        assert sandbox.available() is None


def run(program: str, *, seconds: float = 2, memory_bytes: int = 512 * MIB) -> Outcome:
    return sandbox.run(program, seconds=seconds, memory_bytes=memory_bytes)


def without_landlock(program: str) -> Outcome:
    return sandbox._run(program, seconds=2, memory_bytes=512 * MIB, abi=0)


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "project" / "model.txt"
    path.parent.mkdir()
    path.write_text("as it was", encoding="utf-8")
    path.chmod(0o644)
    os.utime(path, (1, 1))
    return path


# Programs that mean no harm.


@linux
def test_a_program_that_reaches_its_end_has_passed() -> None:
    outcome = run("import math, re, collections, typing, dataclasses\nassert math.gcd(12, 18) == 6\nprint('done')")
    assert (outcome.word, outcome.message, outcome.output) == ("passed", "", "done\n")


@linux
def test_a_failed_check_says_which() -> None:
    outcome = run("def double(x):\n    return x\n\nassert double(2) == 4\n")
    assert (outcome.word, outcome.message) == ("failed", "AssertionError, in line 4: assert double(2) == 4")


@linux
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def f(:\n  pass", "SyntaxError"),
        ("x = '\0'", "null bytes"),
        ("x = '\udc80'", "UnicodeEncodeError"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("class E(Exception):\n    def __str__(self): raise KeyError\nraise E", "its text cannot be had: KeyError"),
        ("raise BaseException('x' * 10**7)", "BaseException: xxx"),
        ("import os\nos.abort()", "Aborted"),
        ("import os\nos.kill(os.getpid(), 40)", "the signal 40"),
        ("import ctypes\nctypes.string_at(0)", "Segmentation fault"),
        ("import os\nos.kill(os.getpid(), 9)", "the signal 9 (Killed)"),
        ("x = input()", "EOFError"),
        ("import sys\nassert sys.stdin.read()", "AssertionError"),
    ],
)
def test_a_broken_program_fails_with_its_reason(program: str, reason: str) -> None:
    outcome = run(program)
    assert outcome.word == "failed"
    assert reason in outcome.message
    assert len(outcome.message) < 2_100


@linux
def test_the_namespace_is_that_of_the_harness() -> None:
    """An answer's `if __name__ == "__main__"` does not run there, and no future statement is in force."""
    assert run("assert __name__ == 'builtins'\ndef f(x: int): pass\nassert f.__annotations__ == {'x': int}").passed


@linux
def test_numpy_is_there_as_for_the_harness() -> None:
    """HumanEval+ compares floats with it."""
    assert run("import numpy as np\nassert np.allclose(np.arange(3) @ np.arange(3), 5)").passed


@linux
@pytest.mark.skipif(sandbox.landlock() == 0, reason="nothing can be written without Landlock")
def test_a_scratch_folder_to_write_in_that_is_removed() -> None:
    program = """
import os, tempfile
with open("a.txt", "w") as file:
    file.write("hello")
os.rename("a.txt", "b.txt")
assert open("b.txt").read() == "hello" and os.listdir() == ["b.txt"]
with tempfile.TemporaryFile() as file:
    file.write(b"x")
print(os.getcwd())
"""
    outcome = run(program)
    assert outcome.word == "passed", outcome.message
    assert not Path(outcome.output.strip()).exists()
    assert Path(outcome.output.strip()).parent == Path(tempfile.gettempdir())


# Not ended, or ended too early, is not passed.


@linux
@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time\ntime.sleep(1000)",
        "import signal\nfor s in set(signal.valid_signals()) - {9, 19}:\n    signal.signal(s, signal.SIG_IGN)\n"
        "while True: pass",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "def f():\n  try: return f()\n  except RecursionError: return f()\nwhile True:\n  try: f()\n  except: pass",
    ],
    ids=["endless loop", "endless wait", "deaf to signals", "stopped", "swallows every error"],
)
def test_an_endless_program_is_stopped(program: str) -> None:
    assert run(program, seconds=1).word == "timeout"


@linux
@pytest.mark.parametrize(
    "leaving",
    [
        "raise SystemExit",
        "raise SystemExit(0)",
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "exit(0)",
        "import builtins; builtins.BaseException = KeyError; raise SystemExit(0)",
        "import atexit, os; atexit.register(os._exit, 0); raise SystemExit",
        "import signal, os; signal.signal(9 + 6, lambda *_: os._exit(0)); os.kill(os.getpid(), 15)",
        "import os\nfor n in range(1, 64):\n    try: os.close(n)\n    except OSError: pass",
        "import os, sys\nsys.stdout = sys.stderr = None\nos.write = json = lambda *_: None\nraise AssertionError",
    ],
)
def test_leaving_before_the_checks_is_not_passing(leaving: str) -> None:
    assert run(f"{leaving}\nassert False").word == "failed"


@linux
def test_a_forged_report_is_not_believed() -> None:
    program = """
import os
for number in range(3, 64):
    try:
        os.write(number, b'["passed", ""]')
        os.write(number, b'0' * 32 + b'["passed", ""]')
    except OSError:
        pass
os._exit(0)
"""
    assert run(program).word == "failed"


@linux
def test_other_builtins_do_not_make_a_check_pass() -> None:
    program = """
import builtins, sys
builtins.AssertionError = builtins.BaseException = Warning
builtins.exec = builtins.compile = lambda *_: None
sys.excepthook = sys.unraisablehook = lambda *_: None
assert 1 == 2
"""
    assert run(program).word == "failed"


# Limits.


@linux
def test_a_fork_bomb_makes_no_process() -> None:
    program = """
import os, subprocess, threading, _thread, multiprocessing
ways = [os.fork, os.forkpty, lambda: subprocess.run(["true"]), lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: _thread.start_new_thread(print, ()), lambda: multiprocessing.Process(target=print).start()]
for way in ways:
    try:
        way()
    except (OSError, RuntimeError):
        pass
    else:
        raise AssertionError(way)
assert os.system("true") != 0
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    before = psutil.Process().children(recursive=True)
    outcome = run(program, seconds=1)
    assert (outcome.word, outcome.message) == ("timeout", "It used up the CPU time that it was given.")
    assert psutil.Process().children(recursive=True) == before


@linux
@pytest.mark.parametrize(
    "program",
    ["x = bytearray(10 << 30)", "x = [0] * (10 << 30)", "x = []\nwhile True: x.append(' ' * 1_000_000)"],
)
def test_ten_gigabytes_are_refused(program: str) -> None:
    assert run(program).word == "memory"


@linux
def test_memory_is_not_had_by_other_calls_either() -> None:
    program = "import mmap, os\nfor take in (lambda: mmap.mmap(-1, 10 << 30), lambda: os.memfd_create('x')):\n"
    program += "    try: take()\n    except OSError: continue\n    raise AssertionError\n"
    assert run(program).word == "passed"


@linux
def test_gigabytes_of_output_are_thrown_away() -> None:
    outcome = run("for _ in range(2_000): print('x' * 1_000_000)\nprint('end')", seconds=20)
    assert outcome.word == "passed"
    assert outcome.output == "x" * sandbox.OUTPUT_BYTES


@linux
@pytest.mark.skipif(sandbox.landlock() == 0, reason="nothing can be written without Landlock")
def test_files_are_bounded() -> None:
    one = run("with open('big', 'wb') as file:\n    while True: file.write(bytes(1 << 20))")
    assert one.word == "failed"
    assert "File too large" in one.message
    many = run("for n in range(10**9): open(str(n), 'w').close()", seconds=20)
    assert many == Outcome("files", "It was stopped: it made more than 256 files.", "", many.seconds)
    large = run("for n in range(10**9): open(str(n % 200), 'wb').write(bytes(4 << 20))", seconds=20)
    assert (large.word, large.message) == ("files", "It was stopped: its files came to more than 64 MiB.")
    opened = run("x = [open('f', 'w') for _ in range(1000)]")
    assert "Too many open files" in opened.message
    assert "Operation not permitted" in run("import os\nos.mkdir('deep')").message


@linux
def test_the_limits_cannot_be_raised() -> None:
    program = """
import resource
for name in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NOFILE):
    soft, hard = resource.getrlimit(name)
    try:
        resource.setrlimit(name, (hard, hard))
    except (OSError, ValueError):
        continue
    raise AssertionError(name)
"""
    assert run(program).passed


# What is outside.

HARMS = {
    "passwd": "open('/etc/passwd', 'w')",
    "overwrite": "open(path, 'w')",
    "append": "open(path, 'a')",
    "create": "open(path + '.new', 'x')",
    "truncate": "os.truncate(path, 0)",
    "truncate reading": "os.open(path, os.O_RDONLY | os.O_TRUNC)",
    "temporary": "os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR)",
    "unlink": "os.unlink(path)",
    "rmtree": "shutil.rmtree(os.path.dirname(path))",
    "rename": "os.rename(path, path + '.old')",
    "steal": "os.rename(path, 'mine')",
    "link": "os.link(path, 'mine')",
    "symlink": "os.symlink(path, 'mine')",
    "mkdir": "os.mkdir(path + '.d')",
    "fifo": "os.mkfifo(path + '.p')",
    "chmod": "os.chmod(path, 0)",
    "chown": "os.chown(path, os.getuid(), os.getgid())",
    "utime": "os.utime(path)",
    "attribute": "os.setxattr(path, 'user.x', b'')",
    "library": "open(os.__file__, 'a')",
    "process": "open(f'/proc/{os.getppid()}/mem', 'r+b')",
    "execute": "os.execv('/bin/true', ['true'])",
    "mount": "assert libc.mount(b'none', b'/', b'tmpfs', 0, None) == 0 or refused()",
    "namespace": "assert libc.unshare(0x10000000) == 0 or refused()",
    "ptrace": "assert libc.ptrace(16, os.getppid(), 0, 0) == 0 or refused()",
    "parent": "os.kill(os.getppid(), 9)",
    "everyone": "os.kill(-1, 0)",
    "its group": "os.killpg(os.getppid(), 0)",
    "pidfd": "os.pidfd_open(os.getppid())",
    "priority": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
}
HARM = """
import ctypes, os, shutil
libc = ctypes.CDLL(None, use_errno=True)
def refused():
    raise OSError(ctypes.get_errno(), "refused")
path = {path!r}
try:
    {harm}
except OSError as error:
    assert error.errno in (1, 13, 18), error
else:
    raise AssertionError("it was let")
"""


@linux
@pytest.mark.parametrize("how", [run, without_landlock], ids=["landlock", "without"])
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_nothing_outside_is_touched(harm: str, how, precious: Path) -> None:
    passwd = Path("/etc/passwd").read_bytes()
    before = precious.stat()
    outcome = how(HARM.format(path=str(precious), harm=harm))
    assert outcome.word == "passed", outcome.message
    after = precious.stat()
    assert precious.read_text(encoding="utf-8") == "as it was"
    assert list(precious.parent.iterdir()) == [precious]
    assert (after.st_mode, after.st_mtime, after.st_nlink) == (before.st_mode, before.st_mtime, before.st_nlink)
    assert Path("/etc/passwd").read_bytes() == passwd


@linux
@pytest.mark.skipif(sandbox.landlock() == 0, reason="the user's files can be read without Landlock")
def test_the_users_files_and_environment_cannot_be_read(precious: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    program = f"""
import os
assert "hf_" not in str(os.environ) and os.environ["HOME"] == os.getcwd()
for path in ({str(precious)!r}, "/etc/passwd", "/proc/self/environ", f"/proc/{{os.getppid()}}/environ"):
    try:
        open(path)
    except PermissionError:
        continue
    raise AssertionError(path)
for path in ("/", "/tmp", "/etc", {str(Path.home())!r}):
    try:
        os.listdir(path)
    except PermissionError:
        continue
    raise AssertionError(path)
"""
    outcome = run(program)
    assert outcome.word == "passed", outcome.message


@linux
def test_files_that_are_open_here_are_not_open_there(precious: Path) -> None:
    with precious.open("r+") as file:
        os.set_inheritable(file.fileno(), True)
        outcome = run(f"import os\ntry: os.write({file.fileno()}, b'x')\nexcept OSError as e: assert e.errno == 9")
    assert precious.read_text(encoding="utf-8") == "as it was"
    assert outcome.passed


@linux
@pytest.mark.parametrize("how", [run, without_landlock], ids=["landlock", "without"])
def test_a_server_on_this_machine_hears_nothing(how, tmp_path: Path) -> None:
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as local:
        server.bind(("127.0.0.1", 0))
        local.bind(str(tmp_path / "s"))
        for each in (server, local):
            each.listen()
            each.setblocking(False)
        program = f"""
import ctypes, socket, urllib.request
def raw():
    if ctypes.CDLL(None, use_errno=True).socket(2, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")
ways = [lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 2),
        lambda: socket.socket(socket.AF_UNIX).connect({str(tmp_path / "s")!r}),
        lambda: urllib.request.urlopen("http://127.0.0.1:{server.getsockname()[1]}/", timeout=2),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), lambda: socket.socketpair(), raw]
for way in ways:
    try:
        way()
    except OSError as error:
        assert "not permitted" in str(error) or error.errno == 1, error
    else:
        raise AssertionError(way)
"""
        outcome = how(program)
        assert outcome.word == "passed", outcome.message
        for each in (server, local):
            with pytest.raises(BlockingIOError):
                each.accept()


@linux
def test_a_daemon_does_not_stay_behind(tmp_path: Path) -> None:
    program = """
import os, time
def child():
    try: return os.fork()
    except OSError: return 0
if child() == 0:
    try: os.setsid()
    except OSError: pass
    if child() == 0:
        while True: time.sleep(0.01)
"""
    before = set(psutil.pids())
    assert run(program, seconds=0.5).word == "timeout"
    left = [each for pid in set(psutil.pids()) - before if (each := _cmdline(pid)) and str(sandbox.INSIDE) in each]
    assert left == []


def _cmdline(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


@linux
def test_a_program_ends_with_the_process_that_runs_it(tmp_path: Path) -> None:
    code = "from workbench.benchmarks import sandbox\nprint('ready', flush=True)\n"
    code += "sandbox._run('while True: pass', seconds=60, memory_bytes=1 << 29)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # the killed one leaves its scratch folder
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        while not (children := psutil.Process(owner.pid).children()) or str(sandbox.INSIDE) not in _cmdline(
            children[0].pid
        ):
            time.sleep(0.01)
        while children[0].cpu_times().user < 0.2:  # it is in its loop
            time.sleep(0.01)
        owner.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert (len(gone), alive) == (1, [])


# Where it cannot be had, it is refused.


@linux
def test_unconfined_programs_are_found_out_by_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
    monkeypatch.setattr(sandbox_filter, "build", lambda *_, **__: everything)
    monkeypatch.setattr(sandbox, "available", sandbox.available.__wrapped__)
    reason = sandbox.available()
    assert reason is not None
    assert "a program still" in reason
    with pytest.raises(WorkbenchError, match=r"cannot be run safely here: .*a program still"):
        run("print()")


@linux
def test_unconfined_because_a_step_fails_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_filter, "build", lambda *_, **__: b"")
    monkeypatch.setattr(sandbox, "available", sandbox.available.__wrapped__)
    with pytest.raises(WorkbenchError, match="here: the sandbox could not be set up: seccomp: Invalid argument"):
        run("print()")


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("win32", "AMD64"), ("linux", "riscv64")])
def test_unconfined_platforms_refuse(system: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "available", sandbox.available.__wrapped__)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(WorkbenchError, match=r"cannot be run safely here: .* Run code tasks on Linux"):
        run("print()")


# The filter itself, also for the architecture that this is not.


def verdict(code: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the kernel would make of one system call."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("<HBBI", code))
    place = value = 0
    while True:
        operation, if_true, if_false, operand = steps[place]
        place += 1
        if operation == 0x20:
            value = struct.unpack_from("<I", data, operand)[0]
        elif operation == 0x54:
            value &= operand
        elif operation == 0x15:
            place += if_true if value == operand else if_false
        else:
            return operand


@pytest.mark.parametrize("machine", sandbox_filter.ARCHITECTURES)
@pytest.mark.parametrize("writes", [True, False])
def test_the_filter_lets_through_what_is_listed_and_nothing_else(machine: str, writes: bool) -> None:
    allow, kill, refuse = 0x7FFF0000, 0x80000000, 0x00050001
    audit, column = sandbox_filter.ARCHITECTURES[machine]
    code = sandbox_filter.build(machine, 4711, writes=writes)
    listed = sandbox_filter.CALLS | (sandbox_filter.CHANGES if writes else {})
    numbers = {name: columns[column] for name, columns in listed.items() if columns[column] is not None}
    asked = {"kill", "tgkill", "fcntl", "ioctl", "open", "openat", "prlimit64"}
    always = {number for name, number in numbers.items() if name not in asked}
    for number in set(range(600)) - {numbers[name] for name in asked & set(numbers)}:
        assert verdict(code, audit, number) == (allow if number in always else refuse), number
    assert verdict(code, audit, 0x40000000) == refuse  # x32's numbers
    assert verdict(code, 0x40000003, 1) == kill  # 32-bit calls
    for name in ("kill", "tgkill"):
        found = [verdict(code, audit, numbers[name], pid) for pid in (4711, 4712, 0, 2**32 - 1)]
        assert found == [allow, refuse, refuse, refuse]
    openings = {0: allow, 1: 1, 2: 1, 0o1000: refuse, 0o1001: 1, 3: refuse, 0o101: 1, 0o100: 1}
    for flags, expected in openings.items():
        given = expected if expected != 1 else (allow if writes else refuse)
        assert verdict(code, audit, numbers["openat"], 0, 0, flags) == given, oct(flags)
    limits = [verdict(code, audit, numbers["prlimit64"], 0, 7, new) for new in (0, 1, 1 << 32)]
    assert limits == [allow, refuse, refuse]
    assert verdict(code, audit, numbers["fcntl"], 0, 8) == refuse  # F_SETOWN
    assert verdict(code, audit, numbers["ioctl"], 0, 0x5412) == refuse  # TIOCSTI


HEADERS = [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h")]


@pytest.mark.skipif(not all(path.exists() for path in HEADERS), reason="the kernel's headers are not installed")
def test_the_numbers_are_the_kernels() -> None:
    x86, generic = (dict(re.findall(r"__NR(?:3264)?_(\w+)\s+(\d+)", path.read_text())) for path in HEADERS)
    generic["newfstatat"] = generic.get("newfstatat", generic.get("fstatat"))
    for name, (number, other) in (sandbox_filter.CALLS | sandbox_filter.CHANGES).items():
        assert (str(number), str(other)) == (x86[name], str(generic.get(name))), name
