"""Fast matrix products for MLX on a Linux CPU: those of torch's library instead of MLX's own.

MLX's wheel for Linux brings the reference BLAS: 3 to 6 billion operations a second on one core, where torch's library
(MKL on x86) reaches 130. MLX calls `cblas_sgemm`, a wrapper of the Fortran routine `sgemm_`, and the loader binds that
name to the first library of the process that offers it to all: torch's, if it is loaded so before MLX.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from importlib.util import find_spec
from pathlib import Path


@functools.cache
def use_torch_blas() -> bool:
    """Have matrix products made by torch's library; to be called before mlx is imported. Returns whether they are.

    Without effect where MLX has a BLAS of its own that is fast (macOS), and where torch's library offers none.
    """
    if sys.platform != "linux" or (torch := find_spec("torch")) is None or torch.origin is None:
        return False
    # Its threads would spin while the rest of MLX works on one core: beside a busy process a step took 850 ms, not 115.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    library = Path(torch.origin).parent / "lib" / "libtorch_cpu.so"
    return library.exists() and hasattr(ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL), "sgemm_")
