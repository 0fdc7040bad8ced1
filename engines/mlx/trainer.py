"""One optimizer step on MLX: gradients of micro-batches added up, clipped, and given to AdamW; compiled or not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_map, tree_map_with_path

from engines.mlx.optimizer import adamw, clip, load_state_arrays, state_arrays
from workbench.recipes.training import OptimizerSection

Inputs = tuple[Any, ...]
LONG_SECONDS = 10.0  # a step that takes longer is timed once
SCORE = "score."  # begins the names of the weights of a reward model's head


class Update(NamedTuple):
    """What an optimizer step came to."""

    loss: mx.array
    grad_norm: mx.array  # before clipping
    figures: dict[str, float]


class Trainer:
    """Trains what is trainable of `model`; its weights stay float32, and are multiplied in `dtype`.

    All chance (dropout, noise) follows from `seed` and the number of the step: a resumed training draws the same.
    """

    def __init__(
        self,
        model: Any,
        loss: Callable[..., tuple[mx.array, dict[str, mx.array]]],
        section: OptimizerSection,
        *,
        dtype: mx.Dtype,
        seed: int,
        compiled: bool,
    ):
        """`loss(*inputs)` is a micro-batch's part of the step's loss, and of its figures: sums over the parts."""
        self.model, self._loss, self._dtype, self._seed = model, loss, dtype, seed
        self._most = section.max_grad_norm
        self.optimizer: optim.Optimizer = adamw(section)
        self.optimizer.init(model.trainable_parameters())
        self._compiled = compiled
        self._prepare()

    def step(self, number: int, micro: Sequence[Inputs], learning_rate: float) -> Update:
        """Make optimizer step `number` from its micro-batches."""
        mx.random.seed((self._seed * 1_000_003 + number) % 2**63)
        rate = mx.array(learning_rate)
        found = self._gradients(*micro[0])
        for inputs in micro[1:]:
            mx.eval(found)  # the activations of one micro-batch at a time
            found = tree_map(mx.add, found, self._gradients(*inputs))
        (loss, figures), gradients = found
        norm = self._update(gradients, rate)
        mx.eval(self._state, loss, figures, norm)
        return Update(loss, norm, {name: float(value) for name, value in figures.items()})

    def gradients(self, *inputs: Any) -> tuple[mx.array, Any]:
        """(loss, gradients of the trained weights) of one micro-batch."""
        (loss, _), gradients = self._gradients(*inputs)
        return loss, gradients

    def measured_seconds(self, micro: Sequence[Inputs]) -> float:
        """Of a step of so many micro-batches like the first, tried out without a trace."""
        weights = tree_map(lambda item: item, self.model.trainable_parameters())
        state = state_arrays(self.optimizer)

        def timed() -> float:
            begin = time.perf_counter()
            self.step(0, micro[:1], 0.0)
            return time.perf_counter() - begin

        seconds = timed()  # with the compilation
        if seconds < LONG_SECONDS:
            seconds = min(timed(), timed())
        self.model.update(weights)
        self.load_state(state)
        return seconds * len(micro)

    def state(self) -> dict[str, mx.array]:
        """The optimizer's, by name."""
        return state_arrays(self.optimizer)

    def load_state(self, arrays: dict[str, mx.array]) -> None:
        """The inverse of `state`."""
        load_state_arrays(self.optimizer, arrays)
        self.optimizer.init(self.model.trainable_parameters())
        self._prepare()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model as the training computes with it, without dropout; inside itself it changes nothing more."""
        if not self.model.training:
            yield
            return
        weights = self.model.trainable_parameters()
        self.model.eval()
        self.model.update(self._cast(weights))
        try:
            yield
        finally:
            self.model.update(weights)
            self.model.train()

    def _prepare(self) -> None:
        """Compile the parts of a step; the arrays of model and optimizer are among their inputs and outputs."""
        self._state = [self.model.state, self.optimizer.state, mx.random.state]
        wrap: Any = partial(mx.compile, inputs=self._state, outputs=self._state) if self._compiled else lambda it: it

        def gradients(*inputs: Any) -> tuple[tuple[mx.array, dict[str, mx.array]], Any]:
            weights = self.model.trainable_parameters()

            def loss(weights: Any) -> tuple[mx.array, dict[str, mx.array]]:
                self.model.update(self._cast(weights))
                return self._loss(*inputs)

            found = mx.value_and_grad(loss)(weights)
            self.model.update(weights)
            return found

        def update(gradients: Any, rate: mx.array) -> mx.array:
            clipped, norm = clip(gradients, self._most)
            self.optimizer.learning_rate = rate
            self.optimizer.update(self.model, clipped)
            return norm

        self._gradients, self._update = wrap(gradients), wrap(update)

    def _cast(self, weights: Any) -> Any:
        if self._dtype == mx.float32:
            return weights
        # In bfloat16 a score of 4 has steps of 0.03, and rewards and values are fitted to less.
        return tree_map_with_path(
            lambda name, item: item if name.startswith(SCORE) else item.astype(self._dtype), weights
        )
