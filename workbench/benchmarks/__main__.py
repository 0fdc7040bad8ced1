"""`python -m workbench.benchmarks job.json`: one stage, in a process of its own."""

import os
import sys
from pathlib import Path

# Before a model's engine is imported. Threads that spin while they wait make it several times slower as soon as
# anything else runs on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from workbench.benchmarks.engine import BenchmarksEngine
from workbench.reporting import run_engine

sys.exit(run_engine(BenchmarksEngine, Path(sys.argv[1])))
