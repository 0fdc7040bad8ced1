"""`python -m engines.llamacpp job.json`: the engine process of one job."""

import os
import sys
from pathlib import Path

# Read by OpenMP when torch and llama.cpp load: threads that spin while they wait slow a busy machine 3 to 7 times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from engines.llamacpp.engine import LlamaCppEngine
from workbench.reporting import run_engine

sys.exit(run_engine(LlamaCppEngine, Path(sys.argv[1])))
