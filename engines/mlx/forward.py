"""mlx-lm's models as training needs them: hidden states with attention inside documents, and the loss of the logits.

mlx-lm's models take no mask; each layer asks its cache for one. `Documents` is such a cache, which keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

CHUNK_BYTES = 1 << 28  # float32 logits that are held at once; more are computed again for the gradient

IGNORED = -100  # targets that are not trained on


class Documents:
    """A cache for a layer that reads whole sequences at once, and that hides other documents from each token."""

    offset = 0

    def __init__(self, mask_B1LL: mx.array | None):
        self._mask = mask_B1LL

    def make_mask(self, *_: Any, **__: Any) -> mx.array | str:
        return "causal" if self._mask is None else self._mask

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        return keys, values


def document_mask(places_BL: mx.array) -> mx.array:
    """Whether a token (row) sees another (column): not after it, and in its document. Bool [batch, 1, length, length].

    `places_BL` are the tokens' places in their documents.
    """
    index_L = mx.arange(places_BL.shape[1])
    starts_BL1 = (index_L - places_BL)[..., None]
    return ((index_L <= index_L[:, None]) & (index_L >= starts_BL1))[:, None]


def hidden_states(
    model: Any,
    tokens_BL: mx.array,
    places_BL: mx.array | None,
    embedded_BLD: mx.array | None = None,
    *,
    checkpointed: bool = False,
) -> mx.array:
    """The last hidden states after the final norm, [batch, length, width].

    Positions count on across documents: rotary attention sees only the distances within one. Without `places_BL`
    attention is plainly causal. `embedded_BLD` stands for the tokens' embeddings; with `checkpointed` each layer is
    computed again for the gradient instead of being kept.
    """
    cache = Documents(None if places_BL is None else document_mask(places_BL))
    rest = {} if embedded_BLD is None else {"input_embeddings": embedded_BLD}
    with _recomputed(model) if checkpointed else nullcontext():
        return model.model(tokens_BL, cache=[cache] * len(model.layers), **rest)


@contextmanager
def _recomputed(model: Any) -> Iterator[None]:
    """While the forward pass is written down, its layers keep their inputs alone."""
    originals = {kind: kind.__call__ for kind in {type(layer) for layer in model.layers}}

    def wrapped(original: Any) -> Any:
        def call(layer: Any, x: mx.array, *args: Any, **rest: Any) -> mx.array:
            def inner(weights: Any, x: mx.array) -> mx.array:
                layer.update(weights)
                return original(layer, x, *args, **rest)

            return mx.checkpoint(inner)(layer.trainable_parameters(), x)

        return call

    for kind, original in originals.items():
        kind.__call__ = wrapped(original)
    try:
        yield
    finally:
        for kind, original in originals.items():
            kind.__call__ = original


def head(model: Any) -> Any:
    """The layer whose weights make logits of hidden states: [vocabulary, width]."""
    return model.lm_head if "lm_head" in model else model.model.embed_tokens


class TokenStatistics(NamedTuple):
    """Of the targets [batch, length], float32; 0 for `IGNORED` ones. Only `losses` is differentiable."""

    losses: mx.array  # nats
    entropy: mx.array  # of the distribution, in nats
    right: mx.array  # 1 where the target is the likeliest token


class Targets(NamedTuple):
    """What follows each place, and which places logits are computed of: those before trained tokens."""

    ids_BL: mx.array  # int32; `IGNORED` where nothing is trained on
    places_N: mx.array | None = None  # int32, into the flattened rows; None: all

    @classmethod
    def of(cls, ids_BL: np.ndarray, padded: Callable[[int], int]) -> Targets:
        """`padded` says how many places there are to be: the surplus stands where nothing is trained on."""
        (places_N,) = np.nonzero(ids_BL.reshape(-1) != IGNORED)
        count = padded(max(1, len(places_N)))
        # Nothing is trained on at a row's last place: what follows it is not there.
        filled_N = np.full(count, ids_BL.shape[1] - 1, np.int32)
        filled_N[: len(places_N)] = places_N
        return cls(mx.array(ids_BL.astype(np.int32)), mx.array(filled_N))

    @property
    def trained_BL(self) -> mx.array:
        return self.ids_BL != IGNORED


def token_losses(model: Any, hidden_BLD: mx.array, targets: Targets) -> mx.array:
    """Nats of each target, float32 [batch, length]; 0 for `IGNORED` ones. Differentiable."""
    return _of_logits(model, hidden_BLD, targets, _losses)[0]


def token_statistics(
    model: Any, hidden_BLD: mx.array, targets: Targets, *, temperature: float = 1.0
) -> TokenStatistics:
    """What the logits, divided by `temperature`, say of the targets."""

    def statistics(logits_CV: mx.array, targets_C: mx.array) -> Sequence[mx.array]:
        logits_CV = logits_CV / temperature if temperature != 1.0 else logits_CV
        counts_C = targets_C != IGNORED
        nats_C, normaliser_C, probabilities_CV = _cross_entropy(logits_CV, mx.maximum(targets_C, 0))
        fixed_CV = mx.stop_gradient(logits_CV)
        entropy_C = mx.stop_gradient(normaliser_C - (probabilities_CV * fixed_CV).sum(-1))
        right_C = counts_C & (mx.argmax(fixed_CV, axis=-1) == targets_C)
        return mx.where(counts_C, nats_C, 0.0), mx.where(counts_C, entropy_C, 0.0), right_C.astype(mx.float32)

    return TokenStatistics(*_of_logits(model, hidden_BLD, targets, statistics))


def _losses(logits_CV: mx.array, targets_C: mx.array) -> Sequence[mx.array]:
    nats_C, *_ = _cross_entropy(logits_CV, mx.maximum(targets_C, 0))
    return (mx.where(targets_C == IGNORED, 0.0, nats_C),)


def _with_probabilities(logits_CV: mx.array, targets_C: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """(nats, the logarithm of the sum of exponentials, probabilities); nats alone can be differentiated.

    Each exponential is taken once, the gradient being made of the probabilities: MLX's own cross entropy takes them
    twice, an eighth of the time of a small model's step on a CPU.
    """
    probabilities_CV = mx.softmax(logits_CV, axis=-1)
    likeliest_C1 = mx.argmax(logits_CV, axis=-1, keepdims=True)  # its probability does not underflow

    def taken(of_CV: mx.array, at_C1: mx.array) -> mx.array:
        return mx.take_along_axis(of_CV, at_C1, axis=-1)[:, 0]

    normaliser_C = taken(logits_CV, likeliest_C1) - mx.log(taken(probabilities_CV, likeliest_C1))
    return normaliser_C - taken(logits_CV, targets_C[:, None]), normaliser_C, probabilities_CV


_cross_entropy: Any = mx.custom_function(_with_probabilities)


@_cross_entropy.vjp
def _gradient(
    primals: tuple[mx.array, mx.array], cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
) -> tuple[mx.array, mx.array]:
    targets_C, nats_C, probabilities_CV = primals[1], cotangents[0], outputs[2]
    gradient_CV = probabilities_CV * nats_C[:, None]
    return gradient_CV.at[mx.arange(targets_C.size), targets_C].subtract(nats_C), mx.zeros_like(targets_C)


def _of_logits(
    model: Any,
    hidden_BLD: mx.array,
    targets: Targets,
    read: Callable[[mx.array, mx.array], Sequence[mx.array]],
) -> list[mx.array]:
    """What `read(logits, targets)`, of some tokens, says of each target: float32 arrays [batch, length]."""
    hidden_TD, targets_T = hidden_BLD.reshape(-1, hidden_BLD.shape[-1]), targets.ids_BL.reshape(-1)
    places_N = targets.places_N
    if places_N is not None:
        hidden_TD, targets_T = hidden_TD[places_N], targets_T[places_N]
    weight_VD = head(model).weight

    def found(hidden_CD: mx.array, weight_VD: mx.array, targets_C: mx.array) -> Sequence[mx.array]:
        return read((hidden_CD @ weight_VD.T).astype(mx.float32), targets_C)

    chunk = _chunk(weight_VD)
    if targets_T.size <= chunk:
        parts = [found(hidden_TD, weight_VD, targets_T)]
    else:
        parts = []
        for begin in range(0, targets_T.size, chunk):
            # Its gradients are those of its arguments, all of them.
            again = mx.checkpoint(partial(found, targets_C=targets_T[begin : begin + chunk]))
            parts.append(again(hidden_TD[begin : begin + chunk], weight_VD))
    found_T = [mx.concatenate(list(arrays)) for arrays in zip(*parts, strict=True)]
    if places_N is not None:
        found_T = [mx.zeros(targets.ids_BL.size).at[places_N].add(values_N) for values_N in found_T]
    return [values_T.reshape(targets.ids_BL.shape) for values_T in found_T]


def _chunk(weight_VD: mx.array) -> int:
    """Tokens whose logits are held at once."""
    return max(128, CHUNK_BYTES // (4 * weight_VD.shape[0]))
