"""`python -m tests.corpus.small_parts job.json`: a stage with small parts, in processes from the first on."""

import sys
from pathlib import Path

from workbench.corpus.engine import CorpusEngine
from workbench.corpus.pipeline import batches, pool, writing
from workbench.reporting import run_engine

batches.FIRST_BYTES = 16 << 10
batches.BATCH_BYTES = 32 << 10
writing.FILE_BYTES = 128 << 10
pool.ALONE_SECONDS = -1.0

if __name__ == "__main__":
    sys.exit(run_engine(CorpusEngine, Path(sys.argv[1])))
