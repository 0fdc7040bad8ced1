"""Peak memory of an import, parent and workers together, on inputs of different sizes; and the time to its first row.

    python -m tests.speed.corpus_memory                        # 1 and 4 GB: wants 15 GB of disk, and patience
    python -m tests.speed.corpus_memory --mb 100 --mb 400 --clean web-en

The input is generated: jsonl of documents of 25 sentences, one in ten a copy, one in ten nearly so. Memory is
the sum of the processes' proportional set sizes (what they share is counted once), looked at ten times a second. The
peak on the largest input is to be within 20% of that on the smallest, and the first row within 2 s of the start.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workbench.contract import Finished, Job, Progress, parse_event

DOCUMENT_SENTENCES = 25


def sentences() -> list[str]:
    """English of which there is some in every Python: the topics of its help."""
    from pydoc_data.topics import topics

    text = " ".join(" ".join(topic.split()) for topic in topics.values())
    found = re.findall(r"[A-Z][a-z]+ [^.*=|{}]{40,240}[a-z]\.", text)
    assert len(found) > 1_000
    return found


def write_input(path: Path, megabytes: int) -> None:
    """About so many megabytes (10^6 bytes) of jsonl."""
    draw = random.Random(megabytes)
    drawn_from = sentences()
    size, before = 0, ""
    with open(path, "w") as file:
        while size < megabytes * 1_000_000:
            text = " ".join(draw.choices(drawn_from, k=DOCUMENT_SENTENCES))
            kind = draw.random()
            if kind < 0.1 and before:
                text = before
            elif kind < 0.2 and before:
                text = f"{before} {text[:60]}"
            before = text
            line = json.dumps({"text": text}) + "\n"
            file.write(line)
            size += len(line)


def measure(source: Path, clean: str, workers: int | None) -> dict[str, float]:
    """Seconds in all and to the first row, and peak bytes, of one import."""
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        root = Path(folder)
        for name in ("run", "out"):
            (root / name).mkdir()
        recipe = {"stage": "import", "sources": [str(source)], "clean": clean, "workers": workers}
        job = Job(run="r", stage="import", recipe=recipe, inputs={}, output=root / "out", directory=root / "run")
        job.write(root / "run" / "job.json")
        begun = time.time()
        process = subprocess.Popen([sys.executable, "-m", "workbench.corpus", str(root / "run" / "job.json")])
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(proportional_bytes(pid) for pid in family(process.pid)))
            time.sleep(0.1)
        events = [parse_event(line) for line in (root / "run" / "events.jsonl").read_text().splitlines()]
        assert isinstance(events[-1], Finished), events[-1]
        first = next(event.time for event in events if isinstance(event, Progress) and event.done)
        report = events[-1].report
        return {
            "seconds": events[-1].time - begun, "first_row": first - begun, "peak": peak,
            "documents": report["documents"], "bytes": report["bytes"],
        }  # fmt: skip


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for process in found:
        try:
            found += map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
        except OSError:
            continue
    return found


def proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0  # it has just ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--mb", type=int, action="append", help="size of an input, in 10^6 bytes")
    parser.add_argument("--clean", default="plain")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--folder", type=Path, help="where there is room")
    arguments = parser.parse_args()
    sizes = arguments.mb or [1_000, 4_000]
    print(f"{arguments.clean}, {arguments.workers or len(os.sched_getaffinity(0))} workers")
    peaks = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for megabytes in sizes:
            source = Path(folder, f"{megabytes}.jsonl")
            write_input(source, megabytes)
            found = measure(source, arguments.clean, arguments.workers)
            source.unlink()
            peaks.append(found["peak"])
            print(
                f"{megabytes:6} MB: {found['seconds']:7.1f} s, {megabytes / found['seconds']:6.1f} MB/s, "
                f"first row after {found['first_row']:.2f} s, peak {found['peak'] / 2**20:.0f} MiB, "
                f"{found['documents']:,} documents"
            )
    print(f"peak on the largest ÷ on the smallest: {peaks[-1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
