"""The tokenizer stage: BPE (Sennrich et al. 2016) or Unigram (Kudo 2018) over bytes, learnt from a sample of corpora.

BPE is trained by rustbpe where that finds the same tokens as tokenizers' trainer on a part of the sample: it takes a
third of the time. The two differ in the order of merges that are equally frequent alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.corpus import documents, sampling
from workbench.corpus.encoding import byte_of_character
from workbench.corpus.progress import ProgressReport
from workbench.corpus.tokenizer import PATTERNS, SPECIAL_TOKENS, new_tokenizer, write_tokenizer
from workbench.corpus.tokenizer_report import of_sample
from workbench.recipes.tokenizer import TokenizerRecipe

if TYPE_CHECKING:
    from tokenizers import Tokenizer

COMPARED_BYTES = 1 << 20  # 0.3 s in the slower trainer
COMPARED_TOKENS = 1024
MAX_PIECE_CHARACTERS = 24  # of a Unigram piece: eight CJK characters
NO_GGUF = "llama.cpp knows no Unigram over bytes: a model with this tokenizer cannot be exported to GGUF."


@dataclass(frozen=True, slots=True)
class Part:
    """A corpus and its share of the sample."""

    name: str
    folder: Path
    weight: float


def train_tokenizer(
    recipe: TokenizerRecipe,
    parts: Sequence[Part],
    output: Path,
    progress: ProgressReport,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Train on `parts`, write the tokenizer's files into `output`, answer the report."""
    started = time.monotonic()
    assert recipe.sample_mib is not None  # resolved
    sample = Sample(parts, recipe.sample_mib << 20)
    special = [*SPECIAL_TOKENS, *(text for text in recipe.extra_tokens if text not in SPECIAL_TOKENS)]
    tokenizer, trainer = _train(recipe, special, sample, progress)
    vocab_size = tokenizer.get_vocab_size()
    if vocab_size < recipe.vocab_size:
        corpus = "corpus has" if len(parts) == 1 else "corpora have"
        warn(
            f"The {corpus} text for {vocab_size:,} of the {recipe.vocab_size:,} tokens asked for; "
            "the vocabulary is smaller than that."
        )
    if recipe.kind == "unigram":
        warn(NO_GGUF)
    write_tokenizer(tokenizer, output)
    progress.begin("measuring")
    return {
        "kind": recipe.kind,
        "pre_tokenizer": recipe.pre_tokenizer,
        "vocab_size": vocab_size,
        "trained_on_bytes": sum(sample.taken.values()),
        "trained_on": sample.taken,
        "trainer": trainer,
        "seconds": round(time.monotonic() - started, 2),
        **of_sample(output, {part.name: part.folder for part in parts}, advance=progress.advance),
    }


class Sample:
    """Texts of several corpora, in the proportion of their weights; a corpus with less than its share gives all.

    `taken` tells the bytes drawn from each so far.
    """

    def __init__(self, parts: Sequence[Part], limit: int):
        whole = sum(part.weight for part in parts)
        self._parts = parts
        self._limits = [int(limit * part.weight / whole) for part in parts]
        self.taken = {part.name: 0 for part in parts}
        self.size = sum(documents.text_bytes(part.folder) for part in parts)  # of all that is read through

    def texts(self, advance: Callable[[int], None]) -> Iterator[str]:
        """In pieces: trainers share their work out by texts. `advance` hears of all bytes passed."""
        self.taken = dict.fromkeys(self.taken, 0)
        for part, limit in zip(self._parts, self._limits, strict=True):
            for piece in sampling.draw(part.folder, limit, advance=advance):
                self.taken[part.name] += len(piece.encode())
                yield piece


def _train(
    recipe: TokenizerRecipe, special: list[str], sample: Sample, progress: ProgressReport
) -> tuple[Tokenizer, str]:
    """The trained tokenizer, and the name of the library that trained it."""
    result: list[tuple[Tokenizer, str]] = []
    failures: list[BaseException] = []

    def texts() -> Iterator[str]:
        progress.begin("reading", total=sample.size, unit="bytes")
        yield from sample.texts(progress.advance)
        progress.begin("merging" if recipe.kind == "bpe" else "weighing pieces")

    def work() -> None:
        try:
            if recipe.kind == "bpe" and recipe.pre_tokenizer in PATTERNS:
                progress.begin("comparing trainers")
                if trainers_agree(recipe.pre_tokenizer, sample.texts(lambda _: progress.check())):
                    result.append((fast_bpe(recipe.pre_tokenizer, recipe.vocab_size, special, texts()), "rustbpe"))
                    return
            trained = exact(recipe.kind, recipe.pre_tokenizer, recipe.vocab_size, special, texts())
            result.append((trained, "tokenizers"))
        except BaseException as error:
            failures.append(error)

    # Training calls nothing back: on a thread of its own tokenizers cannot keep a stop from being heard, and
    # rustbpe only while it merges.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        progress.check()
    if failures:
        raise failures[0]
    return result[0]


def exact(kind: str, pre_tokenizer: str, vocab_size: int, special: list[str], texts: Iterator[str]) -> Tokenizer:
    """Trained by tokenizers."""
    from tokenizers import pre_tokenizers, trainers

    tokenizer = new_tokenizer(pre_tokenizer, kind)
    shared: dict[str, Any] = {
        "vocab_size": vocab_size,
        "special_tokens": special,
        "initial_alphabet": pre_tokenizers.ByteLevel.alphabet(),
        "show_progress": False,
    }
    if kind == "unigram":
        shared["max_piece_length"] = MAX_PIECE_CHARACTERS
    trainer = (trainers.BpeTrainer if kind == "bpe" else trainers.UnigramTrainer)(**shared)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def fast_bpe(pre_tokenizer: str, vocab_size: int, special: list[str], texts: Iterator[str]) -> Tokenizer:
    """BPE trained by rustbpe, in the form that tokenizers' trainer gives it."""
    import rustbpe
    from tokenizers import AddedToken, models

    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(texts, vocab_size - len(special), pattern=PATTERNS[pre_tokenizer])
    ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    written = {byte: character for character, byte in byte_of_character().items()}

    def text(token: bytes) -> str:
        return "".join(map(written.__getitem__, token))

    learnt = sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__)
    entries = [*special, *sorted(written.values()), *map(text, learnt)]
    merges = [(text(left), text(right)) for left, right in (_parents(token, ranks) for token in learnt)]
    tokenizer = new_tokenizer(pre_tokenizer)
    tokenizer.model = models.BPE(vocab={entry: number for number, entry in enumerate(entries)}, merges=merges)
    tokenizer.add_special_tokens([AddedToken(entry, special=True, normalized=False) for entry in special])
    return tokenizer


def _parents(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that are merged into `token`: what merging its bytes by the earlier ranks comes to."""
    parts = [bytes([byte]) for byte in token]
    before = ranks[token]
    while len(parts) > 2:
        pairs = (ranks.get(parts[n] + parts[n + 1], before) for n in range(len(parts) - 1))
        _, place = min((rank, n) for n, rank in enumerate(pairs))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def trainers_agree(pre_tokenizer: str, texts: Iterator[str]) -> bool:
    """Whether rustbpe learns the tokens that tokenizers' trainer does from the beginning of `texts`."""
    try:
        import rustbpe  # noqa: F401
    except ImportError:
        return False
    part, size = [], 0
    for piece in texts:
        part.append(piece)
        size += len(piece.encode())
        if size >= COMPARED_BYTES:
            break
    fast = fast_bpe(pre_tokenizer, COMPARED_TOKENS, SPECIAL_TOKENS, iter(part)).get_vocab()
    slow = exact("bpe", pre_tokenizer, COMPARED_TOKENS, SPECIAL_TOKENS, iter(part)).get_vocab()
    # The last merges may be equally frequent ones, of which each takes others.
    return len(set(fast) ^ set(slow)) <= 0.01 * COMPARED_TOKENS
