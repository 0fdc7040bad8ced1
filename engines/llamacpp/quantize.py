"""Quantisation by llama.cpp's own function, and what it made of each tensor."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from engines.llamacpp import libraries
from workbench.errors import WorkbenchError

# quantization -> (llama_ftype, the tensor types that it means where widths divide)
QUANTIZATIONS: dict[str, tuple[int, frozenset[str]]] = {
    "q8_0": (7, frozenset({"Q8_0"})),
    "q6_k": (18, frozenset({"Q6_K"})),
    "q5_k_m": (17, frozenset({"Q5_K", "Q6_K"})),
    "q4_k_m": (15, frozenset({"Q4_K", "Q6_K"})),
    "q4_0": (2, frozenset({"Q4_0", "Q6_K"})),
}
_TENSOR_LINE = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")


def quantize(
    source: Path, target: Path, quantization: str, *, threads: int, progress: Callable[[int, int], None]
) -> None:
    """Write `target` from the unquantised GGUF `source`; `progress(done, total)` counts tensors and may raise.

    Raises `WorkbenchError` with llama.cpp's words if it fails.
    """
    llama = libraries.llama()
    parameters = llama.llama_model_quantize_default_params()
    parameters.ftype = QUANTIZATIONS[quantization][0]
    parameters.nthread = threads

    raised: list[Exception] = []

    def hear(line: str) -> None:
        match = _TENSOR_LINE.match(line.strip())
        if match and not raised:
            try:
                progress(int(match[1]), int(match[2]))
            except Exception as error:  # cannot pass through llama.cpp, which does not stop half-way either
                raised.append(error)

    with libraries.listening(hear):
        status = llama.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(parameters))
    if raised:
        raise raised[0]
    if status:
        raise WorkbenchError(
            f"llama.cpp could not quantise the model to {quantization}: "
            f"{libraries.last_log_lines() or 'no reason given'}.",
            "Export as f16 instead, or see the run's log.",
        )


def tensor_types(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Vectors and matrices, each with its type ("F32", "Q4_K", …), read back from the file."""
    vectors: dict[str, str] = {}
    matrices: dict[str, str] = {}
    for tensor in libraries.gguf().GGUFReader(path).tensors:
        (matrices if len(tensor.shape) > 1 else vectors)[tensor.name] = tensor.tensor_type.name
    return vectors, matrices


def describe(fallen: dict[str, str], total: int, quantization: str) -> str:
    """One sentence about the tensors that fell back; `check.json` names them."""
    kinds = ", ".join(f"{count} as {kind.lower()}" for kind, count in Counter(fallen.values()).most_common())
    return (
        f"{len(fallen)} of {total} matrices cannot be {quantization}, whose blocks do not divide their widths; "
        f"llama.cpp wrote {kinds}."
    )
