"""The device that a process works on: which, how fast in which number format, and its memory."""

from __future__ import annotations

import os
import shutil

import psutil
import torch

from engines import machine


def names() -> tuple[str, ...]:
    """All devices of this machine, with the hardware's own name: "cuda:0 NVIDIA H100 80GB", ..., "cpu"."""
    gpus = range(torch.cuda.device_count())
    return (*(f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in gpus), "cpu")


def choose(local_rank: int = 0) -> torch.device:
    """The GPU of this process where there is CUDA, else the CPU."""
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")


def to_answer(device: str | None, dtype: str | None) -> tuple[torch.device, torch.dtype]:
    """What a model that answers is computed on, and in which number format, where they are not given."""
    found = torch.device(device) if device else choose()
    if found.type == "cpu":
        use_threads(1)
    return found, getattr(torch, dtype or ("bfloat16" if found.type == "cuda" else "float32"))


def name(device: torch.device) -> str:
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "cpu"


def choose_dtype(setting: str, device: torch.device) -> torch.dtype:
    """`auto`: bfloat16 where the hardware multiplies it natively.

    With AMX a 5M-parameter model trains 1.5 times as fast in it as in float32; a CPU without it is slower.
    """
    if setting != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[setting]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def use_threads(processes_here: int) -> None:
    """Share this machine's cores among the processes on it; `OMP_NUM_THREADS`, where someone set it, decides.

    torchrun sets it to 1 for several processes, which is not someone's choice.
    """
    if "OMP_NUM_THREADS" in os.environ and processes_here == 1:
        return
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = psutil.cpu_count(logical=False) or 1
    torch.set_num_threads(max(1, cores // processes_here))


def free_memory_bytes(device: torch.device) -> int:
    """What this process may still take: of the GPU, or of the machine within the container's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return machine.free_memory_bytes()


def peak_memory_bytes(device: torch.device) -> int:
    """The most that was allocated on the GPU, or the most that the process held, so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return machine.peak_resident_bytes()


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile has what it needs: Triton for a GPU, a C++ compiler for the CPU."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return has_triton()
    return shutil.which(os.environ.get("CXX", "g++")) is not None or shutil.which("clang++") is not None
