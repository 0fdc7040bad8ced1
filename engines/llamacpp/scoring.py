"""Log-likelihoods of continuations, by decoding each context once.

Quantised log-probabilities depend on how tokens are batched: a context is decoded alone, then shared
by its continuations, which go through in one batch, so that a pair scores the same in any company.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from engines.llamacpp.context import Context
from engines.llamacpp.sampling import TextStream
from engines.llamacpp.weights import Weights
from workbench.contract import Score, TokenProbability
from workbench.errors import WorkbenchError


def score_pairs(context: Context, pairs: Sequence[tuple[str, str]]) -> list[Score]:
    """Scores of (context, continuation) texts, in nats. Forgets what `context` held.

    Raises `WorkbenchError` if a pair is longer than the context or its continuation is empty.
    """
    split = [_split(context.weights, before, after) for before, after in pairs]
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, (before, after) in enumerate(split):
        if not after:
            raise WorkbenchError(f"The continuation {pairs[number][1]!r} has no tokens.", "Leave this pair out.")
        if len(before) + len(after) > context.length:
            raise WorkbenchError(
                f"A pair to score has {len(before) + len(after):,} tokens, but the model's context holds "
                f"{context.length:,}.",
                "Shorten it.",
            )
        groups.setdefault(tuple(before), []).append(number)
    scores: dict[int, Score] = {}
    for shared, numbers in groups.items():
        scores |= _score_group(context, shared, {number: split[number][1] for number in numbers})
    context.forget(-1)
    return [scores[number] for number in range(len(pairs))]


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


def log_softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Log-probabilities along the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _split(weights: Weights, before: str, after: str) -> tuple[list[int], list[int]]:
    """Token ids of both, cut where the context's own tokens end (as lm-eval does).

    White space at the context's end goes to the continuation, whose first token usually holds it.
    """
    bare = before.rstrip()
    before, after = bare, before[len(bare) :] + after
    whole = weights.tokenize(before + after, special=True)
    cut = len(weights.tokenize(before, special=True))
    head = whole[:cut]
    start = weights.start()
    if start is not None and (not head or (weights.adds_bos and head[0] != start)):
        head.insert(0, start)
    if not head:
        raise WorkbenchError("The context is empty.", "This model has no BOS token to begin with: write a word.")
    return head, whole[cut:]


def _score_group(context: Context, before: Sequence[int], afters: dict[int, list[int]]) -> dict[int, Score]:
    context.forget(-1)
    size = context.batch_tokens
    for start in range(0, len(before), size):
        piece = before[start : start + size]
        context.decode(piece, range(start, start + len(piece)), [0] * len(piece), [len(piece) - 1])
    first = log_softmax(context.logits(len(piece) - 1))
    scores: dict[int, Score] = {}
    waiting = list(afters)
    while waiting:
        room = context.length - len(before)
        numbers: list[int] = []
        while waiting and len(numbers) < context.sequences - 1 and len(afters[waiting[0]]) <= room:
            room -= len(afters[waiting[0]])
            numbers.append(waiting.pop(0))
        scores |= _score_round(context, len(before), first, {number: afters[number] for number in numbers})
    return scores


def _score_round(
    context: Context, start: int, first: np.ndarray[Any, Any], afters: dict[int, list[int]]
) -> dict[int, Score]:
    """Continuations that fit together, each in a sequence of its own; `first` scores their first tokens."""
    chosen = {number: [first[after[0]]] for number, after in afters.items()}
    greedy = {number: bool(first.argmax() == after[0]) for number, after in afters.items()}
    cells = []  # (number, token to decode, its position, sequence, the token that follows it)
    for sequence, (number, after) in enumerate(afters.items(), start=1):
        context.share(0, sequence)
        for place, (token, following) in enumerate(itertools.pairwise(after)):
            cells.append((number, token, start + place, sequence, following))
    for begin in range(0, len(cells), context.batch_tokens):
        part = cells[begin : begin + context.batch_tokens]
        _, tokens, positions, sequences, _ = zip(*part, strict=True)
        context.decode(tokens, positions, sequences, range(len(part)))
        for place, (number, _, _, _, following) in enumerate(part):
            row = log_softmax(context.logits(place))
            chosen[number].append(row[following])
            greedy[number] &= bool(row.argmax() == following)
    for sequence in range(1, len(afters) + 1):
        context.forget(sequence)
    return {
        number: Score(log_likelihood=float(sum(values)), tokens=len(values), greedy=greedy[number])
        for number, values in chosen.items()
    }
