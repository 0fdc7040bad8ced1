"""The system calls that a generated program may make, as a seccomp filter (Linux, `seccomp(2)`).

What is not listed is refused with EPERM. So there are no sockets (no network, no io_uring), no fork, clone or execve
(one process with one thread: no fork bomb, no daemon, nothing that outlives its kill), no ptrace, no signals to others,
and no way to change what Landlock does not guard: owners, modes, times and attributes of files (`landlock(7)`).
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Condition(NamedTuple):
    """A call passes if the 32-bit word at `offset` of `struct seccomp_data`, under `mask`, is one of `values`."""

    offset: int
    mask: int
    values: Sequence[int]


ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH_*, column of CALLS

# name: numbers on x86_64 and aarch64 (None: that architecture has no such call)
CALLS: dict[str, tuple[int, int | None]] = {
    # open files
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "pwrite64": (18, 68), "lseek": (8, 62), "close": (3, 57), "close_range": (436, 436), "dup": (32, 23),
    "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None),
    "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "fcntl": (72, 25), "ioctl": (16, 29),
    "ftruncate": (77, 46), "fsync": (74, 82), "fdatasync": (75, 83),
    # paths
    "open": (2, None), "openat": (257, 56), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None),
    "newfstatat": (262, 79), "statx": (332, 291), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17), "chdir": (80, 49),
    "fchdir": (81, 50), "getdents64": (217, 61), "statfs": (137, 43), "fstatfs": (138, 44), "umask": (95, 166),
    # memory
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214),
    # its own signals
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigpending": (127, 136), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "kill": (62, 129), "tgkill": (234, 131),
    "pause": (34, None), "alarm": (37, None), "getitimer": (36, 102), "setitimer": (38, 103),
    # facts about itself and the machine
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158), "getresuid": (118, 148),
    "getresgid": (120, 150), "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156), "uname": (63, 160),
    "sysinfo": (99, 179), "getrusage": (98, 165), "times": (100, 153), "getrlimit": (97, 163),
    "prlimit64": (302, 261), "getpriority": (140, 141), "sched_getaffinity": (204, 123), "getcpu": (309, 168),
    # time, chance, locks, the end
    "time": (201, None), "gettimeofday": (96, 169), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "getrandom": (318, 278), "futex": (202, 98),
    "set_robust_list": (273, 99), "rseq": (334, 293), "membarrier": (324, 283), "sched_yield": (24, 124),
    "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip

# Only where Landlock bounds them to the scratch folder. There are no sub-folders, so that any scratch can be removed.
CHANGES: dict[str, tuple[int, int | None]] = {
    "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
}  # fmt: skip

_READ_ONLY, _WRITE, _READ_WRITE, _CREATE, _TRUNCATE = 0, 1, 2, 0o100, 0o1000  # flags of open(2)
# Landlock before ABI 3 lets O_RDONLY | O_TRUNC empty a file that may only be read.
_OPENINGS = (3 | _TRUNCATE, (_READ_ONLY, _WRITE, _READ_WRITE, _WRITE | _TRUNCATE, _READ_WRITE | _TRUNCATE))
_READINGS = (3 | _TRUNCATE | _CREATE, (_READ_ONLY,))
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030)  # F_DUPFD ... F_SETLKW, F_DUPFD_CLOEXEC; not F_SETOWN, which sends signals
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
_WHOLE = 0xFFFFFFFF

_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_JMP|JEQ|K, BPF_RET|K
_ALLOW, _KILL, _EPERM = 0x7FFF0000, 0x80000000, 0x00050001  # SECCOMP_RET_*
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data; its arguments begin at 16


def architecture() -> str | None:
    """This machine's, where the numbers of its system calls are known here; else None."""
    machine = platform.machine()
    return machine if machine in ARCHITECTURES else None


def build(machine: str, pid: int, *, writes: bool) -> bytes:
    """The filter for the process `pid`, as an array of `struct sock_filter`.

    With `writes` it may write, remove and rename files, and Landlock must say where; without, no file can be opened
    for anything but reading.
    """
    audit, column = ARCHITECTURES[machine]
    calls = CALLS | CHANGES if writes else CALLS
    conditions = _conditions(pid, writes)
    code = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, audit, 1, 0), _step(_RETURN, _KILL), _step(_LOAD, _NUMBER)]
    for name, numbers in calls.items():
        number = numbers[column]
        if number is not None:
            block = _check(conditions.get(name, ()))
            code += [_step(_EQUAL, number, 0, len(block)), *block]
    return b"".join([*code, _step(_RETURN, _EPERM)])


def _conditions(pid: int, writes: bool) -> Mapping[str, Sequence[Condition]]:
    mask, flags = _OPENINGS if writes else _READINGS
    own = [Condition(_argument(0), _WHOLE, (pid,))]
    return {
        "kill": own,
        "tgkill": own,
        "fcntl": [Condition(_argument(1), _WHOLE, _FCNTL)],
        "ioctl": [Condition(_argument(1), _WHOLE, _IOCTL)],
        "open": [Condition(_argument(1), mask, flags)],
        "openat": [Condition(_argument(2), mask, flags)],
        # Limits are read, never set: the pointer to new ones is null in both halves.
        "prlimit64": [Condition(_argument(2), _WHOLE, (0,)), Condition(_argument(2) + 4, _WHOLE, (0,))],
    }


def _argument(place: int) -> int:
    return 16 + 8 * place  # the low word of a 64-bit argument; both architectures are little-endian


def _check(conditions: Sequence[Condition]) -> list[bytes]:
    code = []
    for offset, mask, values in conditions:
        code += [_step(_LOAD, offset), _step(_AND, mask)]
        code += [_step(_EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)]
        code.append(_step(_RETURN, _EPERM))
    return [*code, _step(_RETURN, _ALLOW)]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
