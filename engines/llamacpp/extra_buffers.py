"""Whether llama.cpp's repacked weights work on this CPU: tried once, in a process that may die of it.

On CPUs with AMX, llama-cpp-python built from source dies (SIGILL, or SIGSEGV under some hypervisors) in its
tile kernels, which run for quantised weights and more than one token at once. Loading with `use_extra_bufts` off avoids
them, at some cost in speed, so it is switched off only where the trial dies.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from engines.llamacpp import libraries
from workbench import durable

# The types that have a tile kernel; one matrix of each goes into the trial (ggml-cpu/amx/common.h).
_TYPES = ("Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS")
_WIDTH = 256  # K-quants come in blocks of 256
_TRIAL_SECONDS = 60


def work_here() -> bool:
    """True where models may be loaded with `use_extra_bufts`; remembered in the user's state folder."""
    memory = _state_directory() / "llamacpp.json"
    key = _machine()
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if isinstance(known.get(key), bool):
        return known[key]
    answer = _try(extra=True)
    if not answer and not _try(extra=False):
        return False  # something else is wrong: do not remember what was not found out
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        durable.write_json(memory, {**known, key: answer})
    except OSError:
        pass  # a read-only home costs a trial of a second at each load
    return answer


def _try(*, extra: bool) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trial.gguf")
        _write_trial(path)
        command = [sys.executable, "-m", "engines.llamacpp.extra_buffers", str(path), "extra" if extra else "plain"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRIAL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def _write_trial(path: Path) -> None:
    """A one-block llama without a vocabulary, all of whose weights are zero bytes: valid in every type."""
    import numpy as np

    gguf = libraries.gguf()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_WIDTH)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(_WIDTH)
    writer.add_tokenizer_model("none")
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(_WIDTH, dtype=np.float32))
    writer.add_tensor("token_embd.weight", np.zeros((_WIDTH, _WIDTH), dtype=np.float32))
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    for part, kind in zip(parts, _TYPES, strict=True):
        raw = gguf.GGMLQuantizationType[kind]
        block, size = gguf.GGML_QUANT_SIZES[raw]
        zeros = np.zeros((_WIDTH, _WIDTH // block * size), dtype=np.uint8)
        writer.add_tensor(f"blk.0.{part}.weight", zeros, raw_dtype=raw)
    output = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("output.weight", np.zeros((_WIDTH, _WIDTH // 32 * 34), dtype=np.uint8), raw_dtype=output)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _machine() -> str:
    """The CPU's model, llama-cpp-python's version, and which build of it: another build may do better."""
    try:
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        facts = sorted({line for line in cpu.splitlines() if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        facts = [platform.processor(), platform.machine()]
    library = Path(libraries.llama().__file__).parent / "lib"
    files = sorted((file.name, file.stat().st_size) for file in library.glob("*ggml-cpu*"))
    digest = hashlib.sha256(repr((facts, files)).encode()).hexdigest()[:12]
    name = next((fact.partition(":")[2].strip() for fact in facts if fact.startswith("model name")), platform.machine())
    return f"{name}, {digest}, llama-cpp-python {libraries.versions().get('llama-cpp-python')}"


def _state_directory() -> Path:
    if chosen := os.environ.get("WORKBENCH_STATE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "workbench"


def _trial(path: str, extra: bool) -> None:
    from engines.llamacpp.context import Context
    from engines.llamacpp.weights import Weights

    weights = Weights(Path(path), extra_buffers=extra, gpu=False)
    context = Context(weights, length=64, threads=1)
    context.decode(range(33), range(33), [0] * 33, [32])  # tiles: more than one token at once, and a remainder
    context.decode([1], [33], [0], [0])  # the other kernels: one token


if __name__ == "__main__":
    _trial(sys.argv[1], sys.argv[2] == "extra")
