"""Log-likelihoods of token windows, what they share at the beginning decoded once.

Quantised log-probabilities depend on how tokens are batched (SmolLM2-135M as Q4_1: a logit moved by 0.9 when a prompt
of 300 tokens was split elsewhere; a tiny model as Q8_0: 0.05 nats between 4 and 7 continuations of 16 tokens in one
batch). So that a window scores the same in any company, each stem and continuation is decoded alone, a stem in pieces
that end at multiples of `PIECE`; of the stem before it only whole pieces are kept. With weights in floating point
several stems are decoded together, then all their continuations: that moves scores by some 0.005 nats, since keys and
values are in f16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engines.harness import Window, common
from engines.llamacpp.context import Context
from engines.llamacpp.sampling import TextStream
from engines.log_probabilities import log_softmax
from workbench.contract import TokenProbability
from workbench.errors import WorkbenchError

PIECE = 128  # tokens; SmolLM2 as Q4_1 reads 150 a second in pieces of 128 or more, 105 in pieces of 64
FLOATING_POINT = ("0", "1", "32")  # general.file_type of F32, F16 and BF16


@dataclass(frozen=True, slots=True)
class Cell:
    """A token to decode, and the (window, token) pairs whose probability its logits tell."""

    token: int
    position: int
    sequence: int
    targets: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Windows with one stem."""

    stem: tuple[int, ...]
    numbers: list[int]

    def first(self, windows: Sequence[Window]) -> list[tuple[int, int]]:
        """(window, token) of the tokens right after the stem."""
        return [(number, windows[number].ids[len(self.stem)]) for number in self.numbers]


class Scorer:
    """Scores windows in one context; keeps the last stem there for the next call."""

    def __init__(self, context: Context):
        self._context = context
        self._together = context.weights.metadata("general.file_type") in FLOATING_POINT
        self._held: tuple[int, ...] = ()  # in sequence 0, decoded in pieces
        self._results: list[tuple[float, bool]] = []

    def forget(self) -> None:
        """Say that the context is used for something else."""
        self._held = ()

    def score(self, windows: Sequence[Window]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy decoding would write them) of each window's scored tokens."""
        self._results = [(0.0, True)] * len(windows)
        if not self._held:
            self._context.forget(-1)
        stems: dict[tuple[int, ...], list[int]] = {}
        for number, window in enumerate(windows):
            stems.setdefault(window.stem, []).append(number)
        groups = [Group(stem, numbers) for stem, numbers in sorted(stems.items())]  # neighbours share most
        try:
            if self._together:
                for some in self._rounds(windows, groups):
                    self._score_together(windows, some)
            else:
                for group in groups:
                    self._score_alone(windows, group)
        except WorkbenchError:
            self.forget()
            raise
        return self._results

    def _score_alone(self, windows: Sequence[Window], group: Group) -> None:
        size = min(PIECE, self._context.batch_tokens)
        stem, end = group.stem, len(group.stem)
        kept = self._keep(stem, end - 1)
        cells = [Cell(stem[place], place, 0) for place in range(kept, end - 1)]
        self._decode([*cells, Cell(stem[-1], end - 1, 0, group.first(windows))], size)
        self._held = stem
        for number in group.numbers:
            self._decode(_after(windows[number], number, 0), size)
            self._context.forget(0, end)

    def _score_together(self, windows: Sequence[Window], groups: Sequence[Group]) -> None:
        """Sequence 0 holds what all share; each stem and each longer continuation has one of its own."""
        context, size = self._context, self._context.batch_tokens
        shared = min(common(groups[0].stem, groups[-1].stem), *(len(group.stem) - 1 for group in groups))
        trunk = groups[0].stem[: shared // PIECE * PIECE]
        kept = self._keep(trunk, len(trunk))
        self._decode([Cell(trunk[place], place, 0) for place in range(kept, len(trunk))], min(PIECE, size))
        self._held = trunk
        free = iter(range(1, context.sequences))
        stems, afters = [], []
        for group in groups:
            sequence, end = next(free), len(group.stem) - 1
            context.share(0, sequence)
            stems += [Cell(group.stem[place], place, sequence) for place in range(len(trunk), end)]
            stems.append(Cell(group.stem[end], end, sequence, group.first(windows)))
            afters.append((group, sequence))
        self._decode(stems, size)
        cells = []
        for group, source in afters:
            for number in group.numbers:
                if windows[number].count > 1:
                    sequence = next(free)
                    context.share(source, sequence)
                    cells += _after(windows[number], number, sequence)
        self._decode(cells, size)
        for sequence in range(1, context.sequences):
            context.forget(sequence)

    def _rounds(self, windows: Sequence[Window], groups: Sequence[Group]) -> Iterator[list[Group]]:
        """Groups, divided where needed, for which the context has room and sequences."""
        found: list[Group] = []
        tokens, sequences = 0, 1
        for group in groups:
            for number in group.numbers:
                added = windows[number].count - 1
                new = not found or found[-1].stem != group.stem
                if found and (
                    tokens + added + new * len(group.stem) > self._context.length
                    or sequences + 1 + new > self._context.sequences
                ):
                    yield found
                    found, tokens, sequences, new = [], 0, 1, True
                if new:
                    found.append(Group(group.stem, []))
                found[-1].numbers.append(number)
                tokens += added + new * len(group.stem)
                sequences += 1 + new
        if found:
            yield found

    def _keep(self, tokens: Sequence[int], most: int) -> int:
        """Leave of sequence 0 the whole pieces that `tokens` begin with, up to `most` tokens; says how many."""
        kept = min(common(self._held, tokens), most) // PIECE * PIECE
        self._held = ()
        self._context.forget(0, kept)
        return kept

    def _decode(self, cells: Sequence[Cell], size: int) -> None:
        """Decode `size` tokens at a time, and add what their logits tell to the results."""
        for begin in range(0, len(cells), size):
            part = cells[begin : begin + size]
            wanted = [place for place, cell in enumerate(part) if cell.targets]
            self._context.decode(
                [cell.token for cell in part],
                [cell.position for cell in part],
                [cell.sequence for cell in part],
                wanted or [len(part) - 1],
            )
            for place in wanted:
                row = log_softmax(self._context.logits(place))
                likeliest = int(row.argmax())
                for number, token in part[place].targets:
                    value, greedy = self._results[number]
                    self._results[number] = (value + float(row[token]), greedy and token == likeliest)


def _after(window: Window, number: int, sequence: int) -> list[Cell]:
    """What is decoded of a window after its stem."""
    start, last = len(window.stem), len(window.ids) - 1
    return [Cell(window.ids[at], at, sequence, [(number, window.ids[at + 1])]) for at in range(start, last)]


def token_probabilities(context: Context, before: str, after: str, *, top: int) -> list[TokenProbability]:
    """The tokens of `after` following `before`, each with the `top` likeliest. Forgets what `context` held.

    Raises `WorkbenchError` if both together are longer than the context.
    """
    weights = context.weights
    # Put into tokens apart, as an answer follows its prompt.
    head, tail = weights.prompt(before), weights.tokenize(after, special=False)
    if not tail:
        return []
    if len(head) + len(tail) > context.length:
        raise WorkbenchError(
            f"The answer and what came before have {len(head) + len(tail):,} tokens, but the model's context holds "
            f"{context.length:,}.",
            "Begin a new conversation.",
        )
    context.forget(-1)
    stream, found = TextStream(()), []
    tokens, first = [*head, *tail[:-1]], len(head) - 1  # the logits at `first` are about the first token of `tail`
    for start in range(0, len(tokens), context.batch_tokens):
        piece = tokens[start : start + context.batch_tokens]
        wanted = [place for place in range(len(piece)) if start + place >= first] or [len(piece) - 1]
        context.decode(piece, range(start, start + len(piece)), [0] * len(piece), wanted)
        for place in wanted:
            number = start + place - first
            if 0 <= number < len(tail):
                row = log_softmax(context.logits(place))
                best = np.argsort(-row)[:top].tolist()
                found.append(
                    TokenProbability(
                        id=tail[number],
                        text=stream.push(weights.piece(tail[number])),
                        log_probability=float(row[tail[number]]),
                        alternatives=[(weights.text(token), float(row[token])) for token in best],
                    )
                )
    context.forget(-1)
    return found
