"""What a tokenizer makes of texts: how short they become, by source and language, and what is never used."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from workbench.corpus import documents, sampling
from workbench.corpus.encoding import Encoder, ExactEncoder, choose_encoder
from workbench.corpus.tokenizer import load_tokenizer, special_tokens, vocabulary
from workbench.errors import WorkbenchError

SAMPLE_BYTES = 4 << 20  # 2 s in tokenizers' encoder
PIECE_CHARACTERS = 1 << 16
SHOWN = 10  # longest and rarest tokens
MAX_SOURCES = 20
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Text:
    """A document, or a piece of a long one."""

    text: str
    corpus: str
    source: str
    language: str | None
    given: str  # which of the corpus' sources it is of, if there were several

    @property
    def group(self) -> str:
        """The corpus, and in it the source that was given, or of a single one the folder `a/` or the kind `*.a`."""
        if self.given:
            return f"{self.corpus}: {self.given}"
        top, slash, _ = self.source.partition("/")
        if slash:
            return f"{self.corpus}: {top}/"
        suffix = Path(self.source.partition(":")[0]).suffix
        return f"{self.corpus}: *{suffix}" if suffix else self.corpus


@dataclass(slots=True)
class _Sums:
    bytes: int = 0
    tokens: int = 0
    words: int = 0

    def add(self, text: str, tokens: int) -> None:
        self.bytes += len(text.encode())
        self.tokens += tokens
        self.words += len(_WORD.findall(text))

    def plain(self) -> dict[str, Any]:
        return {
            "bytes": self.bytes,
            "tokens": self.tokens,
            "bytes_per_token": round(self.bytes / max(self.tokens, 1), 4),
            "tokens_per_word": round(self.tokens / max(self.words, 1), 4),  # called fertility
        }


def of_sample(
    folder: Path,
    corpora: Mapping[str, Path],
    *,
    against: Sequence[Path] = (),
    limit: int = SAMPLE_BYTES,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """The report on the tokenizer in `folder`, from about `limit` bytes of `corpora` (name -> folder).

    A word is a run without white space. `against` are tokenizer.json files, or folders with one, that are given the
    same texts. `advance` hears of the bytes done. Raises `WorkbenchError` for a tokenizer that cannot be read.
    """
    texts = list(draw(corpora, limit))
    tokenizer = load_tokenizer(folder)
    whole = _Sums()
    by_source: dict[str, _Sums] = defaultdict(_Sums)
    by_language: dict[str, _Sums] = defaultdict(_Sums)
    used = np.zeros(tokenizer.get_vocab_size(), np.int64)
    failed: list[Text] = []
    compared = (item.text[:4096] for item in texts[:: max(1, len(texts) // 64)])
    for item, ids in zip(texts, _encoded(choose_encoder(folder, compared), texts, advance), strict=True):
        used += np.bincount(ids, minlength=len(used))
        for sums in (whole, by_source[item.group], by_language[item.language or "unknown"]):
            sums.add(item.text, len(ids))
        if tokenizer.decode(ids.tolist(), skip_special_tokens=False) != item.text:
            failed.append(item)
    unknown = special_tokens(folder).get("unk_token")
    unknown_id = tokenizer.token_to_id(unknown) if unknown else None
    largest = sorted(by_source.items(), key=lambda pair: -pair[1].bytes)[:MAX_SOURCES]
    report = {
        **whole.plain(),
        "unknown": int(used[unknown_id]) if unknown_id is not None else 0,
        "round_trip": {"texts": len(texts), "failed": len(failed), "first": failed[0].source if failed else None},
        "by_source": [{"source": name, **sums.plain()} for name, sums in largest],
        "by_language": {name: sums.plain() for name, sums in sorted(by_language.items(), key=lambda it: -it[1].bytes)},
        **_tokens(folder, tokenizer, used),
    }
    if against:
        report["against"] = [_compared(path, texts, whole.words) for path in against]
    return report


def draw(corpora: Mapping[str, Path], limit: int) -> Iterator[Text]:
    """Documents of `corpora`, evenly along each, in pieces of at most 65,536 characters; `limit` bytes in all."""
    sizes = {name: documents.text_bytes(folder) for name, folder in corpora.items()}
    share = min(1.0, limit / max(sum(sizes.values()), 1))
    for name, folder in corpora.items():
        chosen = sampling.Share(share)
        batches = documents.iterate_documents(folder, ("text", "source", "language"))
        rows = (row for batch in batches for row in batch.to_pylist())
        for row, given in zip(rows, documents.sources_of(folder), strict=False):
            for piece in sampling.pieces(row["text"], PIECE_CHARACTERS):
                if chosen.take(len(piece.encode())):
                    yield Text(piece, name, row["source"], row.get("language"), given)


def _encoded(
    encoder: Encoder, texts: Sequence[Text], advance: Callable[[int], None] | None = None
) -> Iterator[np.ndarray]:
    """Ids [tokens] of each text."""
    for item in texts:
        yield encoder.encode([item.text])[0]
        if advance is not None:
            advance(len(item.text))


def _tokens(folder: Path, tokenizer: Tokenizer, used: np.ndarray) -> dict[str, Any]:
    """The longest tokens, those that the texts use least, and how many they never use."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {item["id"] for item in content["added_tokens"]}
    learnt = [number for text, number in vocabulary(content).items() if number not in added and len(text) > 1]
    texts = {number: tokenizer.decode([number]) for number in learnt}
    longest = sorted(learnt, key=lambda number: (-len(texts[number]), texts[number]))[:SHOWN]
    rarest = sorted((number for number in learnt if used[number]), key=lambda number: (used[number], texts[number]))
    return {
        "longest_tokens": [texts[number] for number in longest],
        "rarest_tokens": [{"token": texts[number], "times": int(used[number])} for number in rarest[:SHOWN]],
        "never_used": int((used[learnt] == 0).sum()) if learnt else 0,
    }


def _compared(path: Path, texts: Sequence[Text], words: int) -> dict[str, Any]:
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise WorkbenchError(
            f"There is no tokenizer.json at {str(path)!r}.", "Give the file, or the folder of a model."
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise WorkbenchError(f"{file} cannot be read: {error}.", "Give a tokenizer.json of Hugging Face's.") from None
    tokenizer.encode_special_tokens = True
    sums = _Sums(words=words)
    for item, ids in zip(texts, _encoded(ExactEncoder(tokenizer), texts), strict=True):
        sums.bytes += len(item.text.encode())
        sums.tokens += len(ids)
    return {"tokenizer": str(path), "vocab_size": tokenizer.get_vocab_size(), **sums.plain()}
