"""The batches that a recipe trains on, token by token: what the inspector shows, before a run or beside it.

Everything comes from where the engines take it: `training_data`, `packing` and `pretraining_data`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from workbench.corpus.chats import training_data
from workbench.corpus.chats.checks import Finding
from workbench.corpus.chats.packing import PackedSequence, TrainingRows
from workbench.corpus.chats.pairs import Mark, Pair
from workbench.corpus.chats.tokens import ChatTokenizer, Conversation, Encoded
from workbench.corpus.pretraining_data import pretraining_data
from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe
from workbench.recipes.preference import KtoRecipe, PreferenceRecipe
from workbench.recipes.pretrain import PretrainRecipe
from workbench.recipes.sft import ContinueRecipe, SftRecipe

TEXT = "text"  # the role of tokens that belong to no message


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token. `text` is empty where it holds only part of a character; the last part has all of it."""

    id: int
    text: str
    role: str
    trained: bool


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A conversation, an answer or a piece of text within a sequence, from token `start` to `stop`."""

    row: int  # in the order of the data, without what is held out; -1 where rows are not counted
    source: str
    start: int
    stop: int
    cut: bool  # whether it was longer
    label: str = ""  # "chosen", "rejected", "good", "bad"


@dataclass(frozen=True, slots=True)
class SequenceView:
    """One row of the batch."""

    tokens: tuple[TokenView, ...]
    documents: tuple[DocumentView, ...]

    @property
    def trained(self) -> int:
        return sum(token.trained for token in self.tokens)


@dataclass(frozen=True, slots=True)
class BatchView:
    """What one optimizer step is trained on."""

    step: int
    epoch: int
    sequences: tuple[SequenceView, ...]

    @property
    def tokens(self) -> int:
        return sum(len(item.tokens) for item in self.sequences)

    @property
    def trained(self) -> int:
        return sum(item.trained for item in self.sequences)

    @property
    def repeated(self) -> tuple[int, int]:
        """(how many rows stand in the batch more than once, how often the most frequent does); (0, 1) if none."""
        seen = Counter((part.row, part.label) for item in self.sequences for part in item.documents if part.row >= 0)
        times: dict[int, int] = {}
        for (row, _), count in seen.items():
            times[row] = max(count, times.get(row, 0))
        return sum(count > 1 for count in times.values()), max(times.values(), default=1)


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds for all batches of a recipe."""

    stage: str
    rows: int  # that are trained on
    held_out: int  # that are not
    cut: int  # rows that were too long
    cut_tokens: int  # that fell off; 0 where it is not counted
    untrained: int  # rows left out, with nothing to train on
    max_length: int
    batch_size: int
    steps_per_epoch: int
    packing: bool
    template: str  # where the chat template comes from; "" for plain text
    findings: tuple[Finding, ...]


class Inspector(Protocol):
    """The batches of one recipe; make it with `inspector`."""

    facts: Facts

    def batch(self, step: int) -> BatchView:
        """The global batch of optimizer step `step`, from 0."""

    def token_bytes(self, number: int) -> bytes:
        """The bytes that a token stands for."""


def inspector(recipe: Recipe, inputs: Mapping[str, Path]) -> Inspector:
    """The inspector of a resolved recipe; `inputs`: role -> the artifact's folder.

    Raises `WorkbenchError` if the recipe trains on nothing that can be shown, or its data cannot be used.
    """
    if isinstance(recipe, SftRecipe):
        return _Conversations(recipe, inputs)
    if isinstance(recipe, ContinueRecipe):
        return _Documents(recipe, inputs)
    if isinstance(recipe, PreferenceRecipe):
        return _Judged(recipe, inputs)
    if isinstance(recipe, PretrainRecipe):
        return _Windows(recipe, inputs)
    raise WorkbenchError(
        f"A recipe of {recipe.stage} has no batches to look at.",
        "There are some of pretrain, continue, sft, reward, dpo, orpo and kto.",
    )


class _Tokens:
    _tokenizer: ChatTokenizer

    def token_bytes(self, number: int) -> bytes:
        return self._tokenizer.token_bytes(number)


class _Conversations(_Tokens):
    def __init__(self, recipe: SftRecipe, inputs: Mapping[str, Path]):
        self._tokenizer = ChatTokenizer(inputs["base"])
        self._train_on = recipe.conversations.train_on
        length = training_data.max_length(recipe.max_length, inputs["base"])
        split = training_data.conversation_rows(recipe, inputs, self._tokenizer, max_length=length)
        self._rows, self._conversations = split.train, split.conversations
        self.facts = _facts(recipe, split.train, split.held_out.rows, split.findings, self._tokenizer)

    def batch(self, step: int) -> BatchView:
        batch = self._rows.batch(step)
        return BatchView(step, batch.epoch, tuple(self._view(item) for item in batch.sequences))

    def _view(self, sequence: PackedSequence) -> SequenceView:
        tokens: list[TokenView] = []
        documents = []
        stops = (*sequence.starts[1:], len(sequence.ids_L))
        for start, stop, row, cut in zip(sequence.starts, stops, sequence.rows, sequence.cut, strict=True):
            conversation = self._conversations[row]
            # Encoded once more for its characters: batches keep none.
            [encoded] = self._tokenizer.conversations([conversation], self._train_on)
            assert np.array_equal(encoded.ids_L[: stop - start], sequence.ids_L[start:stop])
            tokens += _tokens(encoded, conversation, stop - start)
            documents.append(DocumentView(row, conversation.source, start, stop, cut))
        return SequenceView(tuple(tokens), tuple(documents))


class _Documents(_Tokens):
    def __init__(self, recipe: ContinueRecipe, inputs: Mapping[str, Path]):
        self._tokenizer = ChatTokenizer(inputs["base"])
        length = training_data.max_length(recipe.max_length, inputs["base"])
        split = training_data.document_rows(recipe, inputs["corpus"], self._tokenizer, max_length=length)
        self._rows = split.train
        self.facts = _facts(recipe, split.train, split.held_out.rows, split.findings, None)

    def batch(self, step: int) -> BatchView:
        batch = self._rows.batch(step)
        return BatchView(step, batch.epoch, tuple(self._view(item) for item in batch.sequences))

    def _view(self, sequence: PackedSequence) -> SequenceView:
        stops = (*sequence.starts[1:], len(sequence.ids_L))
        spans = zip(sequence.starts, stops, sequence.rows, sequence.cut, strict=True)
        documents = tuple(DocumentView(row, "", start, stop, cut) for start, stop, row, cut in spans)
        return SequenceView(_plain(self._tokenizer, sequence.ids_L, sequence.trained_L), documents)


class _Judged(_Tokens):
    def __init__(self, recipe: PreferenceRecipe, inputs: Mapping[str, Path]):
        self._tokenizer = tokenizer = ChatTokenizer(inputs["base"])
        length = training_data.max_length(recipe.max_length, inputs["base"])
        rows: training_data.Judged[Pair] | training_data.Judged[Mark]
        if isinstance(recipe, KtoRecipe):
            rows = training_data.mark_rows(recipe, inputs["preferences"], tokenizer, max_length=length)
        else:
            rows = training_data.pair_rows(recipe, inputs["preferences"], tokenizer, max_length=length)
        self._rows = rows
        self.facts = Facts(
            stage=recipe.stage,
            rows=len(rows.train),
            held_out=len(rows.held_out),
            cut=rows.cut,
            cut_tokens=rows.cut_tokens,
            untrained=rows.untrained,
            max_length=length,
            batch_size=rows.order.batch_size,
            steps_per_epoch=rows.order.steps_per_epoch,
            packing=False,
            template=_template(tokenizer),
            findings=tuple(rows.findings),
        )

    def batch(self, step: int) -> BatchView:
        rows = self._rows.order.batch(step)
        views = [view for row in rows for view in self._views(row)]
        return BatchView(step, step * self.facts.batch_size // self._rows.order.rows, tuple(views))

    def _views(self, row: int) -> Iterator[SequenceView]:
        item, encoded = self._rows.items[row], self._rows.train[row]
        if isinstance(item, Pair):
            answers = [("chosen", item.chosen), ("rejected", item.rejected)]
        else:
            answers = [("good" if item.label else "bad", item.completion)]
        for (label, answer), tokens in zip(answers, encoded, strict=True):
            conversation = Conversation([*item.prompt, *answer], source=item.source)
            length = len(tokens.ids_L)
            document = DocumentView(row, item.source, 0, length, tokens.cut, label)
            yield SequenceView(tuple(_tokens(tokens, conversation, length)), (document,))


class _Windows(_Tokens):
    """Pretraining's windows over shards; the first token of each has nothing before it that predicts it."""

    def __init__(self, recipe: PretrainRecipe, inputs: Mapping[str, Path]):
        self._tokenizer = ChatTokenizer(inputs["tokenizer"])
        data = pretraining_data(recipe, inputs)
        self._batches = data.batches
        self._names = [item.name for item in data.sources] if len(data.sources) > 1 else [""]
        self._stops = recipe.data.packing == "documents"
        length, size = data.batches.length, data.batches.batch_size
        rows = sum(item.windows.count for item in data.sources)
        self.facts = Facts(
            stage=recipe.stage,
            rows=rows,
            held_out=sum(item.validation.tokens for item in data.sources) // length,
            cut=0,
            cut_tokens=0,
            untrained=0,
            max_length=length,
            batch_size=size,
            steps_per_epoch=-(-rows // size),
            packing=self._stops,
            template="",
            findings=(),
        )

    def batch(self, step: int) -> BatchView:
        tokens_BL1 = self._batches.global_batch(step)
        epoch = step * self.facts.batch_size // self.facts.rows
        names = [self._names[source] for source in self._batches.sources_of(step)]
        return BatchView(step, epoch, tuple(map(self._view, tokens_BL1, names)))

    def _view(self, ids_L1: np.ndarray, source: str) -> SequenceView:
        bos = self._tokenizer.bos_id
        trained = ids_L1 != (-1 if bos is None else bos)
        trained[0] = False
        starts = [0]
        if self._stops and bos is not None:
            starts += [place for place in np.flatnonzero(ids_L1 == bos).tolist() if place]
        stops = (*starts[1:], len(ids_L1))
        spans = zip(starts, stops, strict=True)
        documents = tuple(DocumentView(-1, source, start, stop, False) for start, stop in spans)
        return SequenceView(_plain(self._tokenizer, ids_L1, trained), documents)


def _facts(
    recipe: SftRecipe | ContinueRecipe,
    rows: TrainingRows,
    held_out: int,
    findings: Sequence[Finding],
    tokenizer: ChatTokenizer | None,
) -> Facts:
    return Facts(
        stage=recipe.stage,
        rows=rows.rows,
        held_out=held_out,
        cut=rows.cut,
        cut_tokens=rows.cut_tokens,
        untrained=rows.untrained,
        max_length=rows.max_length,
        batch_size=rows.batch_size,
        steps_per_epoch=rows.steps_per_epoch,
        packing=rows.packing,
        template=_template(tokenizer) if tokenizer else "",
        findings=tuple(findings),
    )


def _template(tokenizer: ChatTokenizer) -> str:
    if not tokenizer.has_own_template:
        return "ChatML: the model brings none"
    return "the model's" + (", with markers" if tokenizer.has_markers else "")


def _tokens(encoded: Encoded, conversation: Conversation, length: int) -> list[TokenView]:
    """The first `length` tokens, each with the characters that it adds to those before it."""
    views = []
    done = 0
    offsets = encoded.offsets_L2[:length].tolist()
    for place, (_, stop) in enumerate(offsets):
        # Parts of one character have the same span: it is shown at the last.
        whole = place + 1 == len(encoded.ids_L) or encoded.offsets_L2[place + 1][1] > stop
        text = encoded.text[done:stop] if whole else ""
        done = max(done, stop) if whole else done
        message = conversation.messages[int(encoded.role_L[place])]
        views.append(TokenView(int(encoded.ids_L[place]), text, str(message["role"]), bool(encoded.trained_L[place])))
    return views


def _plain(tokenizer: ChatTokenizer, ids_L: np.ndarray, trained_L: np.ndarray) -> tuple[TokenView, ...]:
    texts = tokenizer.pieces(ids_L.tolist())
    return tuple(
        TokenView(number, text, TEXT, bool(trained))
        for number, text, trained in zip(ids_L.tolist(), texts, trained_L.tolist(), strict=True)
    )
