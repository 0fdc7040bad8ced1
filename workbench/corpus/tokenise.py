"""The shards stage: a corpus to token ids on disk, each document between BOS and EOS.

Parts of the corpus are encoded in as many processes as there are cores, and joined in order while they are. What is
finished lies in the run's own folder: a stage that was stopped or killed goes on there. Shards hold the same bytes
whatever happened, and however many processes there were.

A process takes about 180 MiB and 8 times its largest document (Chinese text: 15 times), however large the corpus. The
one that joins and two that encode, which share some of that, took 425 MiB for 250 MB of text and 497 MiB for 1 GB, with
documents of up to 4 MB. The disk holds the tokens twice until the last part is joined.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import xxhash

from workbench import durable
from workbench.corpus import documents, sampling
from workbench.corpus.documents import RowGroup
from workbench.corpus.encoding import choose_encoder
from workbench.corpus.parts import Tokenising, encode_part, parts_of
from workbench.corpus.pipeline.pool import Pool, cores
from workbench.corpus.progress import ProgressReport
from workbench.corpus.shards import ShardWriter
from workbench.corpus.tokenizer import load_tokenizer, special_tokens
from workbench.errors import WorkbenchError
from workbench.recipes.corpus import ShardsRecipe

COMPARED_BYTES = 1 << 20  # 0.3 s in the slower encoder
COMPARED_GROUPS = 8  # that those are drawn from: to read the whole corpus for them would take minutes
ALONE_BYTES = 8 << 20  # a second of work; starting a process takes half of one
PLAN = "plan.json"


def tokenise(
    recipe: ShardsRecipe,
    corpus: Path,
    tokenizer_folder: Path,
    output: Path,
    work: Path,
    progress: ProgressReport,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Write the corpus in folder `corpus` as shards into the folder `output`, answer the report.

    `work` holds what is finished until all is. Texts of special tokens inside documents stay text.
    Raises `WorkbenchError` if the tokenizer lacks BOS or EOS, or a process is killed.
    """
    started = time.monotonic()
    tokenising = _prepared(corpus, tokenizer_folder, work, progress)
    receipts = {number: tokenising.receipt(number) for number in range(len(tokenising.parts))}
    progress.begin("tokenising", total=documents.text_bytes(corpus), unit="bytes")
    progress.advance(sum(receipt.bytes for receipt in receipts.values() if receipt))
    missing = [number for number, receipt in receipts.items() if receipt is None]
    finished = {number for number, receipt in receipts.items() if receipt}
    following = size = 0
    with ShardWriter(output, vocab_size=tokenising.vocab_size, shard_tokens=recipe.shard_tokens) as shards:
        for number in itertools.chain([None], _encoded(tokenising, missing, recipe.workers or cores(), progress, warn)):
            if number is not None:
                finished.add(number)
            while following in finished:
                shards.extend(*tokenising.read(following))
                receipt = tokenising.receipt(following)
                assert receipt is not None
                size += receipt.bytes
                following += 1
        description = shards.finish()
    progress.end()
    shutil.rmtree(work)
    return {
        "tokens": description["tokens"],
        "documents": description["documents"],
        "bytes": size,
        "bytes_per_token": round(size / description["tokens"], 4),
        "vocab_size": description["vocab_size"],
        "dtype": description["dtype"],
        "encoder": tokenising.encoder,
        "files": len(description["files"]),
        "seconds": round(time.monotonic() - started, 2),
    }


def _encoded(
    tokenising: Tokenising, missing: list[int], workers: int, progress: ProgressReport, warn: Callable[[str], None]
) -> Iterator[int]:
    """Encodes the parts that are missing; the number of each as it is finished."""
    sizes = {number: sum(group.bytes for group in tokenising.parts[number]) for number in missing}
    workers = min(workers, len(missing))
    if workers < 2 or sum(sizes.values()) < ALONE_BYTES:
        for number in missing:
            yield encode_part(tokenising, number, progress.advance)
        return
    with Pool(workers, progress.check, warn) as pool:
        pool.alone_seconds = -1.0  # there is enough for all
        for number in pool.map(encode_part, tokenising, ((f"part {number}", number) for number in missing)):
            progress.advance(sizes[number])
            yield number


def _prepared(corpus: Path, tokenizer_folder: Path, work: Path, progress: ProgressReport) -> Tokenising:
    """What is to be done. Parts in `work` of another corpus or tokenizer are swept away."""
    tokenizer = load_tokenizer(tokenizer_folder)
    named = special_tokens(tokenizer_folder)
    bos, eos = (tokenizer.token_to_id(named.get(role, "")) for role in ("bos_token", "eos_token"))
    if bos is None or eos is None:
        what = f"The tokenizer in {tokenizer_folder} names no token that begins or ends a document."
        raise WorkbenchError(what, "Bring it in again: workbench import-tokenizer adds what is lacking.")
    parts = parts_of(corpus)
    groups = [group for part in parts for group in part]
    made_from = {
        "corpus": xxhash.xxh3_128_hexdigest(json.dumps([astuple(group) for group in groups]).encode()),
        "tokenizer": xxhash.xxh3_128_hexdigest((tokenizer_folder / "tokenizer.json").read_bytes()),
    }
    plan = _read(work / PLAN)
    if {key: plan.get(key) for key in made_from} != made_from:
        durable.fresh_directory(work)
        progress.begin("comparing encoders")
        plan = {**made_from, "encoder": choose_encoder(tokenizer_folder, _sample(corpus, groups)).name}
        durable.write_json(work / PLAN, plan)
    for unfinished in work.glob(".part-*.tmp"):
        unfinished.unlink()
    return Tokenising(
        corpus=corpus,
        tokenizer=tokenizer_folder,
        encoder=plan["encoder"],
        work=work,
        vocab_size=tokenizer.get_vocab_size(),
        bos=bos,
        eos=eos,
        parts=parts,
    )


def _sample(corpus: Path, groups: Sequence[RowGroup]) -> Iterator[str]:
    """Pieces of documents from a few row groups, spread over the corpus."""
    chosen = groups[:: -(-len(groups) // COMPARED_GROUPS)]
    share = sampling.Share(min(1.0, COMPARED_BYTES / sum(max(group.bytes, 1) for group in chosen)))
    for group in chosen:
        for text in documents.read_row_group(corpus, group).column("text").to_pylist():
            yield from (piece for piece in sampling.pieces(text, 4096) if share.take(len(piece)))


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
