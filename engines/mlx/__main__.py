"""`python -m engines.mlx job.json`: one job in a process of its own."""

import os
import sys
from pathlib import Path

# Threads of torch's BLAS that spin while the rest of MLX works on one core: beside a busy process a step took 850 ms
# instead of 115.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from engines.mlx.engine import MlxEngine
from workbench.reporting import run_engine

if __name__ == "__main__":
    sys.exit(run_engine(MlxEngine, Path(sys.argv[1])))
