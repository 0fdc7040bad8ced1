"""The device that MLX works on: its name, how fast in which number format, and its memory."""

from __future__ import annotations

import functools

import mlx.core as mx

from engines import machine

WORKING_SHARE = 0.9  # of what macOS recommends as a process's working set: the desktop needs the rest
CACHE_SHARE = 0.1  # of that, for freed buffers that are kept to be used again


def on_metal() -> bool:
    return mx.default_device() == mx.gpu and mx.metal.is_available()


def name() -> str:
    """ "metal Apple M3 Max", or "cpu"."""
    return f"metal {mx.device_info()['device_name']}" if on_metal() else "cpu"


def choose_dtype(setting: str) -> mx.Dtype:
    """`auto`: bfloat16 on Metal; on a CPU MLX multiplies it more slowly than float32."""
    if setting == "auto":
        return mx.bfloat16 if on_metal() else mx.float32
    return {"float32": mx.float32, "bfloat16": mx.bfloat16}[setting]


def dtype_name(dtype: mx.Dtype) -> str:
    return str(dtype).removeprefix("mlx.core.")


@functools.cache
def set_limits() -> None:
    """Keep MLX within what this Mac can give, with the model's memory wired so that it is not swapped out.

    Elsewhere there is nothing to set: the CPU's memory is the system's.
    """
    if not on_metal():
        return
    working = _working_set()
    mx.set_memory_limit(int(working * WORKING_SHARE))
    mx.set_cache_limit(int(working * CACHE_SHARE))
    mx.set_wired_limit(working)


def free_memory_bytes() -> int:
    """What this process may still take: unified memory within macOS's working set, or the machine's within a limit."""
    free = machine.free_memory_bytes()
    return min(free, int(_working_set() * WORKING_SHARE) - mx.get_active_memory()) if on_metal() else free


def peak_memory_bytes() -> int:
    """The most that MLX has held on Metal, or that the process has held, so far."""
    return mx.get_peak_memory() if on_metal() else machine.peak_resident_bytes()


def _working_set() -> int:
    return int(mx.device_info()["max_recommended_working_set_size"])


def compiles(setting: str) -> bool:
    """Whether to use mx.compile. `auto`: on Metal. On a CPU MLX has a C++ compiler build its kernels, for minutes."""
    if setting == "auto":
        return on_metal()
    return setting == "always"
