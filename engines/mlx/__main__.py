"""`python -m engines.mlx job.json`: one job in a process of its own."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from engines.mlx.engine import MlxEngine
from workbench.reporting import run_engine

if __name__ == "__main__":
    sys.exit(run_engine(MlxEngine, Path(sys.argv[1])))
