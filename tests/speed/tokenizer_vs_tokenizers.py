"""Training a tokenizer: our stage, from a corpus on disk to the folder with its report, against tokenizers' trainer on
the same texts in memory, in turns.

    python -m tests.speed.tokenizer_vs_tokenizers --mb 20 --vocab-size 32000 [--source FOLDER]

Without a source, the text is that of Python's own documentation and library, over and over until it is enough.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from workbench.corpus import sampling
from workbench.corpus.documents import CorpusWriter
from workbench.corpus.progress import ProgressReport
from workbench.corpus.tokenizer import SPECIAL_TOKENS
from workbench.corpus.tokenizer_training import Part, exact, train_tokenizer
from workbench.recipes.base import validate
from workbench.recipes.tokenizer import TokenizerRecipe
from workbench.reporting import SilentReporter

AIM = 1.0


def texts(source: Path, limit: int) -> Iterator[str]:
    size = 0
    for copy in itertools.count():
        before = size
        for path in sorted(source.rglob("*")):
            if path.suffix not in (".py", ".txt", ".md", ".html", ".rst", ".pod") or not path.is_file():
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            yield f"{copy}\n{text}" if copy else text
            size += len(text.encode())
            if size >= limit:
                return
        if size == before:
            raise SystemExit(f"{source} holds no text.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=20)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", type=Path, default=Path(sysconfig.get_path("stdlib")))
    options = parser.parse_args()
    limit = options.mb * 10**6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "corpus")
        folder.mkdir()
        with CorpusWriter(folder) as writer:
            for number, text in enumerate(texts(options.source, limit)):
                writer.add(text, f"text-{number}")
        pieces = list(sampling.draw(folder, 1 << 62))
        size = sum(len(piece.encode()) for piece in pieces)
        recipe = validate(TokenizerRecipe, {"corpus": "c", "vocab_size": options.vocab_size, "sample_mib": 1 << 20})
        ratios = []
        for round_ in range(options.rounds):
            seconds, processor = {}, {}
            output = Path(name, f"out-{round_}")
            output.mkdir()
            begun, used = time.perf_counter(), time.process_time()
            report = train_tokenizer(
                recipe.resolved(), [Part("c", folder, 1.0)], output, ProgressReport(SilentReporter()), print
            )
            seconds["ours"], processor["ours"] = time.perf_counter() - begun, time.process_time() - used
            begun, used = time.perf_counter(), time.process_time()
            exact("bpe", "qwen2", options.vocab_size, SPECIAL_TOKENS, iter(pieces))
            seconds["tokenizers"], processor["tokenizers"] = time.perf_counter() - begun, time.process_time() - used
            ratios.append(seconds["tokenizers"] / seconds["ours"])
            print(
                f"round {round_}: ours ({report['trainer']}) {size / 1e6 / seconds['ours']:.2f} MB/s, "
                f"tokenizers {size / 1e6 / seconds['tokenizers']:.2f} MB/s; processors' seconds "
                f"{processor['ours']:.1f} and {processor['tokenizers']:.1f}"
            )
    print(
        f"training speed, ours / tokenizers': {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}; aim: at least {AIM}), {os.cpu_count()} cores, {size / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
