"""Reward models on MLX: the body of a language model with a head of one output in the place of its logits.

Folders are transformers' for sequence classification with one label, or adapters of one. mlx-lm has no such models: its
language models get another head, whose weights stay float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.utils import _get_classes

from engines.adapters import ADAPTER_WEIGHTS, base_of, is_adapter
from engines.mlx import device
from engines.mlx.folders import LORA_PREFIX, context_length, merge, open_causal_lm, open_folder, read_weights
from engines.mlx.forward import hidden_states
from engines.text_reward import TextReward
from workbench.errors import WorkbenchError

HEAD = "score.weight"  # [1, width]
CLASSIFIER = "ForSequenceClassification"  # ends the names of transformers' classes


class MlxReward(TextReward):
    """Satisfies `workbench.contract.RewardModel`."""

    def __init__(self, folder: Path, *, dtype: str = "auto"):
        """Raises `WorkbenchError` if `folder` holds no reward model, or one is not whole."""
        super().__init__(folder)
        device.set_limits()
        self._model, config = open_reward_model(folder, device.choose_dtype(dtype))
        self.context_length = context_length(config)

    def score_ids(self, rows: Sequence[Sequence[int]]) -> list[float]:
        ids_BL = np.full((len(rows), max(map(len, rows))), self.pad_id, np.int32)
        for place, row in enumerate(rows):
            ids_BL[place, : len(row)] = row
        scores_B = scores_of(self._model, mx.array(ids_BL), mx.array([len(row) - 1 for row in rows]))
        return [float(score) for score in np.array(scores_B)]

    def close(self) -> None:
        del self._model
        mx.clear_cache()


def scores_of(
    model: Any, ids_BL: mx.array, last_B: mx.array, *, checkpointed: bool = False, head: mx.array | None = None
) -> mx.array:
    """The score of each row, float32 [batch], read at its token `last_B`; padding is on the right.

    `head` stands for the model's own weights [1, width].
    """
    hidden_BLD = hidden_states(model, ids_BL, None, checkpointed=checkpointed)
    return values_of(model, mx.take_along_axis(hidden_BLD, last_B[:, None, None], axis=1), head=head)[:, 0]


def values_of(model: Any, hidden_BLD: mx.array, *, head: mx.array | None = None) -> mx.array:
    """What the head makes of each place, float32 [batch, length]; `head` as of `scores_of`."""
    weight_1D = model.score.weight if head is None else head
    return (hidden_BLD.astype(mx.float32) @ weight_1D.T)[..., 0]


def new_reward_model(base: Path, *, seed: int) -> tuple[Any, dict[str, Any]]:
    """(a reward model on the body of the language model in `base`, in float32; its configuration)."""
    model, config = open_causal_lm(base)
    give_head(model, seed=seed)
    return model, config


def give_head(model: Any, *, seed: int) -> None:
    """Put the head of a reward model in the place of the output layer.

    It is normal with deviation 1 / sqrt(width + 1) (Stiennon et al. 2020), drawn from `seed`.
    """
    model.pop("lm_head", None)
    width = model.model.embed_tokens.weight.shape[1]
    model.score = nn.Linear(width, 1, bias=False)
    model.score.weight = mx.random.normal((1, width), scale=(width + 1) ** -0.5, key=mx.random.key(seed))


def open_reward_model(folder: Path, dtype: mx.Dtype = mx.float32) -> tuple[Any, dict[str, Any]]:
    """(the reward model in `folder`, an adapter merged into its base; its configuration).

    Raises `WorkbenchError` if `folder` holds no reward model.
    """
    if is_adapter(folder):
        model, config = new_reward_model(base_of(folder), seed=0)
        merge(model, folder)
        trained = read_weights(folder / ADAPTER_WEIGHTS).get(LORA_PREFIX + HEAD)
        if trained is None:
            raise _no_reward_model(folder, "adapter of a language model")
        model.score.weight = trained.astype(mx.float32)
    else:
        model, config = open_folder(folder, partial(_classes, folder=folder))
    model.eval()
    model.model.set_dtype(dtype)
    mx.eval(model.parameters())
    return model, config


def classifier_config(config: dict[str, Any], pad_id: int) -> dict[str, Any]:
    """transformers' configuration of a reward model on a language model's."""
    names = [str(name).replace("ForCausalLM", CLASSIFIER) for name in config.get("architectures") or []]
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    return config | {"architectures": names, "pad_token_id": pad_id} | labels


def _classes(config: dict[str, Any], folder: Path) -> tuple[type, type]:
    """mlx-lm's class for the architecture, with the head of a reward model."""
    names = config.get("architectures") or ["model"]
    if CLASSIFIER not in names[0] or len(config.get("id2label") or {}) != 1:
        raise _no_reward_model(folder, names[0])
    kind, arguments = _get_classes(config)

    class Classifier(kind):  # type: ignore[misc, valid-type]
        def __init__(self, args: Any):
            super().__init__(args)
            give_head(self, seed=0)

    return Classifier, arguments


def _no_reward_model(folder: Path, kind: str) -> WorkbenchError:
    return WorkbenchError(f"{folder} is no reward model: it is a {kind}.", "Train one with `workbench reward`.")
