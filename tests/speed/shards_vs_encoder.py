"""How fast a corpus becomes shards, beside the raw encoder's own batch function on the same text and cores.

    python -m tests.speed.shards_vs_encoder FOLDER              # of text files; 100 MB of them are taken
    python -m tests.speed.shards_vs_encoder FOLDER --mb 200 --mb 800 --rounds 1    # peak memory on two sizes

A folder with more than 100 MB of text, on Debian 12:

    apt-get download perl-doc linux-doc-6.1 python3.11-doc debian-handbook anarchism
    for package in *.deb; do dpkg-deb -x $package FOLDER; done

The stage runs as a process, from its start to its report: reading Parquet, comparing encoders, encoding, hashing,
writing, joining. Beside it `tiktoken.Encoding.encode_ordinary_batch` has all texts in memory and as many threads, and
its lists of ids are thrown away. Both take turns; the best round counts. On a machine that does other work, too, the
processors' seconds say more than the clock's. Memory is the sum of the processes' proportional set sizes.
Target: at least 0.9.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.speed.corpus_memory import family, proportional_bytes
from workbench.contract import Finished, Job, parse_event
from workbench.corpus import documents
from workbench.corpus.documents import CorpusWriter
from workbench.corpus.encoding import FastEncoder, encoder_called
from workbench.corpus.progress import ProgressReport
from workbench.corpus.tokenizer_training import Part, train_tokenizer
from workbench.recipes.base import validate
from workbench.recipes.tokenizer import TokenizerRecipe
from workbench.reporting import SilentReporter

SUFFIXES = {".txt", ".gz", ".html", ".pod", ".rst", ".md", ".py", ".c", ".h", ".pm", ""}


@dataclass(frozen=True)
class Took:
    """Of one round: `bytes` of text, in so many seconds of the clock and of the processors."""

    bytes: int
    seconds: float
    processor: float
    peak: int = 0  # bytes of memory

    def __str__(self) -> str:
        size = self.bytes / 1e6
        return f"{size / self.seconds:6.1f} MB/s, {size / self.processor:5.1f} MB a processor's second"


def write_corpus(source: Path, folder: Path, megabytes: int) -> None:
    """The readable text files under `source`, over and over until there are so many megabytes."""
    folder.mkdir()
    size, turn = 0, 0
    with CorpusWriter(folder) as writer:
        while size < megabytes * 1_000_000:
            before = size
            for path in sorted(source.rglob("*")):
                if (
                    size >= megabytes * 1_000_000
                    or path.is_symlink()
                    or not path.is_file()
                    or path.suffix not in SUFFIXES
                ):
                    continue
                try:
                    text = path.read_text()
                except UnicodeDecodeError:
                    continue
                if text.strip():
                    writer.add(f"{turn}\n{text}" if turn else text, path.name)
                    size += len(text.encode())
            turn += 1
            if size == before:
                raise SystemExit(f"{source} holds no text.")


def shards(corpus: Path, tokenizer: Path, root: Path, *, memory: bool) -> Took:
    """One run of the stage. Looking at memory ten times a second takes some time itself."""
    for name in ("run", "out"):
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir()
    recipe = {"stage": "shards", "corpus": "c", "tokenizer": "t"}
    inputs = {"corpus": corpus, "tokenizer": tokenizer}
    job = Job(run="r", stage="shards", recipe=recipe, inputs=inputs, output=root / "out", directory=root / "run")
    job.write(root / "run" / "job.json")
    begun, before = time.time(), _processor(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen([sys.executable, "-m", "workbench.corpus", str(root / "run" / "job.json")])
    peak = 0
    while process.poll() is None:
        if memory:
            peak = max(peak, sum(proportional_bytes(pid) for pid in family(process.pid)))
        time.sleep(0.1)
    last = parse_event((root / "run" / "events.jsonl").read_text().splitlines()[-1])
    assert isinstance(last, Finished), last
    assert last.report["encoder"] == "tiktoken"
    return Took(last.report["bytes"], last.time - begun, _processor(resource.RUSAGE_CHILDREN) - before, peak)


def encoder(corpus: Path, tokenizer: Path) -> Took:
    """The encoder by itself."""
    texts = [text for batch in documents.iterate_documents(corpus) for text in batch.column("text").to_pylist()]
    size = sum(len(text.encode()) for text in texts)
    found = encoder_called("tiktoken", tokenizer)
    assert isinstance(found, FastEncoder)
    encoding, threads = found._encoding, len(os.sched_getaffinity(0))
    begun, before = time.time(), _processor(resource.RUSAGE_SELF)
    encoding.encode_ordinary_batch(texts, num_threads=threads)
    return Took(size, time.time() - begun, _processor(resource.RUSAGE_SELF) - before)


def _processor(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("source", type=Path, help="a folder of text files")
    parser.add_argument("--mb", type=int, action="append", help="size of a corpus, in 10^6 bytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where there is room")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        root = Path(name)
        for megabytes in arguments.mb or [100]:
            corpus, tokenizer = root / f"corpus-{megabytes}", root / "tokenizer"
            write_corpus(arguments.source, corpus, megabytes)
            if not tokenizer.is_dir():
                tokenizer.mkdir()
                recipe = validate(TokenizerRecipe, {"corpus": "c", "vocab_size": 32_000, "sample_mib": 16}).resolved()
                train_tokenizer(recipe, [Part("c", corpus, 1.0)], tokenizer, ProgressReport(SilentReporter()), print)
            stages, raw = [], []
            for _ in range(arguments.rounds):
                stages.append(shards(corpus, tokenizer, root, memory=len(arguments.mb or []) > 1))
                if len(arguments.mb or []) < 2:
                    raw.append(encoder(corpus, tokenizer))
            best = min(stages, key=lambda item: item.seconds)
            print(f"{megabytes} MB to shards: {best}" + (f", peak {best.peak / 2**20:.0f} MiB" if best.peak else ""))
            if raw:
                alone = min(raw, key=lambda item: item.seconds)
                print(f"{megabytes} MB encoded: {alone}")
                work = min(item.processor for item in raw) / min(item.processor for item in stages)
                print(
                    f"shards ÷ encoder: {alone.seconds / best.seconds:.2f} by the clock, {work:.2f} by processors' time"
                )


if __name__ == "__main__":
    main()
