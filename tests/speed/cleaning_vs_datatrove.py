"""From text to tokens, against datatrove's own steps: MB/s on the same cores and corpus, and near duplicates found.

    python -m tests.speed.cleaning_vs_datatrove --mb 4                        # Python's own documentation
    python -m tests.speed.cleaning_vs_datatrove --mb 100 --source /tmp/docs   # real pages, see below

Ours is what a person runs: `import --clean web-en` (which also normalises, and drops exact duplicates) and `shards`,
each a process with as many workers as `--workers`. Theirs is `datatrove_pipeline`, which says what it does otherwise;
of what tells a person it replaces e-mail and IP addresses only. Both have the same thresholds, read the same jsonl
files, write the same tokenizer's tokens, and may use the same cores. Starting processes counts. The sides take turns;
what is compared are medians. On a machine that others use, too, look at processor time.

`--pairs` near duplicates of known Jaccard index (evenly from 0.5 to 1) are among the documents: recall is the share
that is found of those at 0.8 or more, precision the share at 0.8 or more of those found.

A corpus of 100 MB: a folder, and in it, as any user of Debian,

    apt-get download anarchism debian-handbook linux-doc-6.1 python3.11-doc && for f in *.deb; do dpkg-deb -x $f .; done

(handbook and kernel come in several languages, the kernel's pages in many near copies).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tests.speed.datatrove_pipeline import filters
from tests.speed.planted_pairs import planted, sentences_of, similarity
from workbench.contract import Finished, Job, parse_event
from workbench.corpus.cleaning.presets import load
from workbench.corpus.cleaning.step import Document, Step

CLEAN = "web-en"
Place = tuple[str, int]  # file, row


@dataclass(frozen=True, slots=True)
class Corpus:
    folder: Path
    megabytes: float
    documents: int
    pairs: list[tuple[Place, Place, float]]  # where each lies, and how similar they are


@dataclass(frozen=True, slots=True)
class Measured:
    wall: float  # seconds
    processor: float


def stage(root: Path, name: str, recipe: dict[str, object], inputs: dict[str, Path]) -> Path:
    """Run one stage of ours in a process of its own, answer its output."""
    job = Job(
        run=name, stage=str(recipe["stage"]), recipe=recipe, inputs=inputs,
        output=root / name, directory=root / f"{name}-run",
    )  # fmt: skip
    for folder in (job.output, job.directory):
        folder.mkdir(parents=True)
    job.write(job.directory / "job.json")
    subprocess.run([sys.executable, "-m", "workbench.corpus", str(job.directory / "job.json")], check=True)
    last = (job.directory / "events.jsonl").read_text().splitlines()[-1]
    assert isinstance(parse_event(last), Finished), last
    return job.output


def rows(corpus: Path) -> Iterator[dict[str, object]]:
    for path in sorted(corpus.glob("documents-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()


def texts_of(sources: list[str], root: Path, megabytes: int) -> list[str]:
    """Texts of the sources in random order, of about so many megabytes (10^6) in all."""
    clean = [{"step": "html-text"}, {"step": "normalise"}]
    found = stage(root, "sources", {"stage": "import", "sources": sources, "clean": clean}, {})
    texts = [str(row["text"]) for row in rows(found)]
    random.Random(1).shuffle(texts)
    size, chosen = 0, []
    for text in texts:
        size += len(text.encode())
        if size > megabytes * 1_000_000:
            break
        chosen.append(text)
    return chosen


def passes(text: str) -> bool:
    """Whether both sides' rules of quality keep it."""
    from datatrove.data import Document as TheirDocument

    for step in load(CLEAN):
        if isinstance(step, Step) and step.name != "pii":
            verdict = step.apply(Document(text, "s"))
            if verdict.outcome == "rejected":
                return False
            text = verdict.text or text
    return all(theirs.filter(TheirDocument(text, "id")) is True for theirs in filters())


def write_corpus(texts: list[str], count: int, folder: Path, files: int) -> Corpus:
    """Texts and planted pairs, mixed, in jsonl files of about the same size."""
    pairs = planted(sentences_of(texts), count, 2, passes)
    tagged = [(text, -1) for text in texts] + [(text, n) for n, pair in enumerate(pairs) for text in pair]
    random.Random(3).shuffle(tagged)
    folder.mkdir()
    places: dict[int, list[Place]] = {}
    size = 0
    for number in range(files):
        name = f"{number:03d}.jsonl"
        with open(folder / name, "w", encoding="utf-8") as file:
            for row, (text, pair) in enumerate(tagged[number::files]):
                places.setdefault(pair, []).append((name, row))
                file.write(json.dumps({"id": f"{name}/{row}", "text": text}) + "\n")
                size += len(text.encode())
    known = [(places[n][0], places[n][1], similarity(*pair)) for n, pair in enumerate(pairs)]
    return Corpus(folder, size / 1e6, len(tagged), known)


def ours(corpus: Corpus, tokenizer: Path, root: Path, workers: int) -> set[Place]:
    """Import and tokenise; the documents that are in the corpus."""
    recipe = {"stage": "import", "sources": [str(corpus.folder)], "clean": CLEAN, "workers": workers}
    cleaned = stage(root, "corpus", recipe, {})
    recipe = {"stage": "shards", "corpus": "corpus", "tokenizer": "tokenizer", "workers": workers}
    stage(root, "shards", recipe, {"corpus": cleaned, "tokenizer": tokenizer})
    return {(Path(str(row["source"])).name, int(str(row["position"]))) for row in rows(cleaned)}


def theirs(corpus: Corpus, tokenizer: Path, root: Path, workers: int) -> set[Place]:
    """Their pipeline; the documents that their filters and their search for duplicates kept."""
    command = [sys.executable, "-m", "tests.speed.datatrove_pipeline"]
    paths = map(str, (corpus.folder, tokenizer / "tokenizer.json", root))
    done = subprocess.run([*command, *paths, str(workers)], stderr=subprocess.PIPE, text=True)  # its log, too
    assert done.returncode == 0, done.stderr[-4000:]

    def places(name: str) -> set[Place]:
        lines = [line for path in (root / name).glob("*.jsonl") for line in path.read_text().splitlines()]
        ids = [json.loads(line)["id"].split("/") for line in lines]
        return {(file, int(row)) for file, row in ids}

    assert list((root / "tokens").glob("*.ds"))
    return places("passed") - places("removed")


def found_among(corpus: Corpus, kept: set[Place]) -> tuple[float, float, int]:
    """(recall, precision, pairs of which both are gone) of the planted pairs."""
    gone = [(one not in kept) + (other not in kept) for one, other, _ in corpus.pairs]
    alike = [similar >= 0.8 for _, _, similar in corpus.pairs]
    hits = sum(n == 1 and same for n, same in zip(gone, alike, strict=True))
    return hits / sum(alike), hits / max(1, sum(n == 1 for n in gone)), sum(n == 2 for n in gone)


def timed(side, corpus: Corpus, tokenizer: Path, root: Path, workers: int) -> tuple[Measured, set[Place]]:  # type: ignore[no-untyped-def]
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    wall, processor = time.perf_counter(), spent()
    kept = side(corpus, tokenizer, root, workers)
    return Measured(time.perf_counter() - wall, spent() - processor), kept


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mb", type=int, default=100, help="size of the corpus, in 10^6 bytes")
    parser.add_argument("--source", action="append", help="files or folders to import; Python's documentation if none")
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocab-size", type=int, default=16_000)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.workers])
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        texts = texts_of(arguments.source or ["python-docs"], root, arguments.mb)
        corpus = write_corpus(texts, arguments.pairs, root / "texts", 2 * arguments.workers)
        recipe = {"stage": "tokenizer", "corpus": ["sources"], "vocab_size": arguments.vocab_size}
        tokenizer = stage(root, "tokenizer", recipe, {"corpus.0": root / "sources"})
        print(f"{corpus.documents:,} documents, {corpus.megabytes:.1f} MB, {arguments.workers} workers")
        measured: dict[str, list[Measured]] = {"ours": [], "datatrove": []}
        kept = {}
        for _ in range(arguments.rounds):
            for side, function in (("ours", ours), ("datatrove", theirs)):
                one, kept[side] = timed(function, corpus, tokenizer, root / side, arguments.workers)
                measured[side].append(one)
                print(f"{side:10} {one.wall:7.1f} s, {one.processor:7.1f} s of processor", flush=True)
        for side, several in measured.items():
            wall, processor = (
                statistics.median(getattr(one, what) for one in several) for what in ("wall", "processor")
            )
            recall, precision, both = found_among(corpus, kept[side])
            print(
                f"{side:10} {corpus.megabytes / wall:6.2f} MB/s, {corpus.megabytes / processor:6.2f} MB a second of "
                f"processor; kept {len(kept[side]):,}; planted pairs: recall {recall:.4f}, precision {precision:.4f}"
                + (f", both gone of {both}" if both else "")
            )
        for what in ("wall", "processor"):
            ratio = statistics.median(getattr(one, what) for one in measured["datatrove"]) / statistics.median(
                getattr(one, what) for one in measured["ours"]
            )
            print(f"datatrove's {what} time ÷ ours: {ratio:.1f} (to be 5 or more)")


if __name__ == "__main__":
    main()
