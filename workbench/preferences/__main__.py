"""`python -m workbench.preferences job.json`: one stage, in a process of its own."""

import os
import sys
from pathlib import Path

# Before a model's engine is imported. Threads that spin while they wait make it several times slower as soon as
# anything else runs on the machine; and nothing here may look anything up on a network.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from workbench.preferences.engine import PreferencesEngine
from workbench.reporting import run_engine

sys.exit(run_engine(PreferencesEngine, Path(sys.argv[1])))
