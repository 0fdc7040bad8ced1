"""`python -m workbench.preferences job.json`: one stage, in a process of its own."""

import sys
from pathlib import Path

from workbench.preferences.engine import PreferencesEngine
from workbench.reporting import run_engine

sys.exit(run_engine(PreferencesEngine, Path(sys.argv[1])))
