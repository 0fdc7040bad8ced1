"""Decisions on more keys than fit the memory that they are given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from workbench.corpus.cleaning.near_duplicates import NearDuplicates, bands
from workbench.corpus.cleaning.sketches import WORDS

A_PART, PARTS = 20_000, 15
MEMORY = 128 << 20
PROGRAM = """
import resource, sys
from pathlib import Path
import numpy, pyarrow.parquet, duckdb
from workbench.corpus.cleaning import likeness
from workbench.corpus.cleaning.near_duplicates import NearDuplicates
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
NearDuplicates().decide(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB, and pages are given back, on Linux")
def test_keys_beyond_memory_take_the_memory_that_is_given(tmp_path: Path) -> None:
    """300,000 documents with 200 MB of keys in 128 MiB; of each part but the first a fifth are copies."""
    width = bands(NearDuplicates().similarity)[0] + WORDS
    draw = np.random.default_rng(0)
    keys = tmp_path / "keys"
    keys.mkdir()
    before: np.ndarray | None = None
    for part in range(PARTS):
        table = draw.integers(0, 2**63, size=(A_PART, width), dtype=np.uint64)
        if before is not None:
            table[: A_PART // 5] = before[: A_PART // 5]
            table[: A_PART // 5, :3] = draw.integers(0, 2**63, size=(A_PART // 5, 3), dtype=np.uint64)
        before = table
        lists = pa.ListArray.from_arrays(np.arange(A_PART + 1, dtype=np.int32) * width, pa.array(table.reshape(-1)))
        documents = (part << 24) + np.arange(A_PART, dtype=np.uint64)
        lengths = np.full(A_PART, 4000, np.uint32)
        pq.write_table(
            pa.table({"document": documents, "length": lengths, "keys": lists}), keys / f"{part:05d}.parquet"
        )
    decisions = tmp_path / "decisions"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(keys), str(decisions), str(MEMORY)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) * 1024 < MEMORY + (64 << 20)
    gone = sum(pc.sum(pc.invert(pq.read_table(path)["kept"])).as_py() for path in decisions.iterdir())
    assert gone == (PARTS - 1) * A_PART // 5
