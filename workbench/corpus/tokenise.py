"""The shards stage: a corpus to token ids on disk, each document between BOS and EOS."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from workbench.corpus import documents, sampling
from workbench.corpus.encoding import choose_encoder
from workbench.corpus.progress import ProgressReport
from workbench.corpus.shards import ShardWriter
from workbench.corpus.tokenizer import SPECIAL_TOKENS, load_tokenizer
from workbench.errors import WorkbenchError
from workbench.recipes.corpus import ShardsRecipe

COMPARED_BYTES = 1 << 20  # 0.3 s in the slower encoder


def tokenise(
    recipe: ShardsRecipe, corpus: Path, tokenizer_folder: Path, output: Path, progress: ProgressReport
) -> dict[str, Any]:
    """Write the corpus in folder `corpus` as shards into the folder `output`, answer the report.

    Texts of special tokens inside documents stay text. Raises `WorkbenchError` if the tokenizer lacks BOS or EOS.
    """
    started = time.monotonic()
    tokenizer = load_tokenizer(tokenizer_folder)
    bos, eos = (tokenizer.token_to_id(token) for token in SPECIAL_TOKENS[:2])
    if bos is None or eos is None:
        what = f"The tokenizer in {tokenizer_folder} lacks {' or '.join(SPECIAL_TOKENS[:2])}."
        raise WorkbenchError(what, "Use one that workbench tokenizer trained.")
    progress.begin("comparing encoders")
    encoder = choose_encoder(tokenizer_folder, sampling.draw(corpus, COMPARED_BYTES, piece_characters=4096))
    size = 0
    ends = np.array([bos]), np.array([eos])
    progress.begin("tokenising", total=documents.text_bytes(corpus), unit="bytes")
    with ShardWriter(output, vocab_size=tokenizer.get_vocab_size(), shard_tokens=recipe.shard_tokens) as shards:
        for batch in documents.iterate_documents(corpus):
            for text in batch.column("text").to_pylist():
                shards.append(np.concatenate((ends[0], encoder.encode(text), ends[1])))
                length = len(text.encode())
                size += length
                progress.advance(length)
        description = shards.finish()
    progress.end()
    seconds = time.monotonic() - started
    return {
        "tokens": description["tokens"],
        "documents": description["documents"],
        "bytes": size,
        "bytes_per_token": round(size / description["tokens"], 4),
        "vocab_size": description["vocab_size"],
        "dtype": description["dtype"],
        "encoder": encoder.name,
        "files": len(description["files"]),
        "seconds": round(seconds, 2),
    }
