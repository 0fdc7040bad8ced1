"""Answers of a policy on MLX: written many at once, scored token by token, and rewarded by models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from engines.mlx.folders import context_length, open_causal_lm
from engines.mlx.forward import IGNORED, Targets, TokenStatistics, head, hidden_states, token_statistics
from engines.mlx.generation import BATCH_TOKENS, decode
from engines.mlx.reward_model import MlxReward
from engines.mlx.sampling import inverse_transform
from engines.reinforcement.answers import Drawing, Written, uniform_numbers, written_of
from engines.reinforcement.prompts import Prompt
from engines.reinforcement.sources import JudgeSource, ModelSource
from engines.text_model import grouped_by_length


class Rows(NamedTuple):
    """Prompts with answers, padded on the right: arrays [batch, length]."""

    ids_BL: mx.array  # int32
    targets_BL: mx.array  # int32: at the place before each token of an answer that token, else `IGNORED`
    places_N: mx.array  # where targets are, as of `Targets`
    last_B: mx.array  # the place of the answer's last token

    def spread(self, values_N: np.ndarray) -> mx.array:
        """The values of the answers' tokens, row after row, at the places before them; 0 elsewhere."""
        values_BL = np.zeros(self.ids_BL.shape, np.float32)
        values_BL[self.answered] = values_N
        return mx.array(values_BL)

    def gathered(self, values_BL: mx.array) -> np.ndarray:
        """The inverse of `spread`: float32 [tokens of all answers]."""
        return np.array(values_BL.astype(mx.float32))[self.answered]

    @property
    def answered(self) -> np.ndarray:
        """Where targets are."""
        return np.array(self.targets_BL) != IGNORED


def rows_of(written: Sequence[Written], pad_id: int, padded: Callable[[int], int]) -> Rows:
    """`padded` says how long rows are made."""
    ids_BL = np.full((len(written), padded(max(item.length for item in written))), pad_id, np.int32)
    targets_BL = np.full_like(ids_BL, IGNORED)
    for row, item in enumerate(written):
        start, stop = len(item.prompt), item.length
        ids_BL[row, :start], ids_BL[row, start:stop] = item.prompt, item.answer
        targets_BL[row, start - 1 : stop - 1] = item.answer
    last = mx.array([item.length - 1 for item in written])
    return Rows(mx.array(ids_BL), *Targets.of(targets_BL, padded), last)  # type: ignore[arg-type]


def write(model: Any, prompts: Sequence[Prompt], drawing: Drawing, key: tuple[int, ...]) -> list[Written]:
    """Answers of `model`, which is without dropout; the draws are a function of `key` and the prompt's place."""
    uniform_RT = uniform_numbers(len(prompts), drawing.max_tokens, *key)
    every = [prompt.ids_L for prompt in prompts]
    answers: list[list[int]] = [[] for _ in prompts]
    for group in grouped_by_length([len(ids) for ids in every], drawing.max_tokens, most=BATCH_TOKENS):
        numbers = np.array(group)

        def drawn(logits_AV: np.ndarray, rows: Sequence[int], place: int, own: np.ndarray = numbers) -> list[int]:
            return inverse_transform(logits_AV / drawing.temperature, uniform_RT[own[list(rows)], place])

        chosen = [every[number].tolist() for number in group]
        for row, token in decode(model, chosen, drawn, max_tokens=drawing.max_tokens, ends=drawing.end_ids):
            answers[group[row]].append(token)
    return written_of(every, [np.array(answer, np.int64) for answer in answers], drawing)


def answer_statistics(model: Any, rows: Rows, temperature: float, *, checkpointed: bool = False) -> TokenStatistics:
    """Of the answers' tokens at the temperature that they were drawn at, [batch, length]."""
    hidden_BLD = hidden_states(model, rows.ids_BL, None, checkpointed=checkpointed)
    return token_statistics(model, hidden_BLD, Targets(rows.targets_BL, rows.places_N), temperature=temperature)


class RewardModel(ModelSource):
    """On MLX."""

    def __init__(self, folder: Path, dtype: str):
        self._model = MlxReward(folder, dtype=dtype)
        super().__init__(self._model.tokenizer, self._model.context_length)

    def scores(self, written: Sequence[Written]) -> list[float]:
        return self._model.score_ids([[*item.prompt.tolist(), *item.answer.tolist()] for item in written])


class Judge(JudgeSource):
    """On MLX."""

    def __init__(self, folder: Path, dtype: mx.Dtype):
        self._model, config = open_causal_lm(folder, dtype)
        super().__init__(folder, context_length(config))

    def digit_logits(self, asked: Sequence[np.ndarray]) -> np.ndarray:
        ids_BL = np.zeros((len(asked), max(map(len, asked))), np.int32)
        for row, ids in enumerate(asked):
            ids_BL[row, : len(ids)] = ids
        last_B = mx.array([len(ids) - 1 for ids in asked])
        hidden_BLD = hidden_states(self._model, mx.array(ids_BL), None)
        hidden_BD = mx.take_along_axis(hidden_BLD, last_B[:, None, None], axis=1)[:, 0]
        weights_MD = head(self._model).weight[mx.array(self.digits)]
        return np.array((hidden_BD @ weights_MD.T).astype(mx.float32))
