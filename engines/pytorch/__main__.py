"""`python -m engines.pytorch job.json`: one job in a process of its own."""

import os
import sys
from pathlib import Path

# Before torch is imported. Threads that spin while they wait make training 3 to 7 times slower as soon as
# anything else runs on the machine; and nothing here may look anything up on a network.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from engines.pytorch.engine import PyTorchEngine
from workbench.reporting import run_engine

if __name__ == "__main__":
    sys.exit(run_engine(PyTorchEngine, Path(sys.argv[1])))
