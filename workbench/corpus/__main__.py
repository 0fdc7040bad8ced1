"""`python -m workbench.corpus job.json`: one stage, in a process of its own."""

import sys
from pathlib import Path

from workbench.corpus.engine import CorpusEngine
from workbench.reporting import run_engine

if __name__ == "__main__":  # worker processes import this module under another name
    sys.exit(run_engine(CorpusEngine, Path(sys.argv[1])))
