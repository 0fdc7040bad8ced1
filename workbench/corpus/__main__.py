"""`python -m workbench.corpus job.json`: one stage, in a process of its own."""

import sys
from pathlib import Path

from workbench.corpus.engine import CorpusEngine
from workbench.reporting import run_engine

sys.exit(run_engine(CorpusEngine, Path(sys.argv[1])))
