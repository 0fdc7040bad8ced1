"""Log-likelihoods of many token windows, what they share at the beginning computed once.

Sorted windows are a tree: each adds only the tokens in which it differs from the one before it. Trees are packed into
rows of one batch, where every token attends to those on its own path alone (tree attention, as in SpecInfer, Miao et
al. 2023). The choices of a question share its stem thereby, and choices of one token cost nothing but the stem. A
beginning that outlasts a row, such as a few-shot header, is computed once as keys and values and kept for the next
calls. What is computed together follows from one call's windows alone: the same call gives the same numbers to the last
bit, whatever came before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from engines.harness import Window, common

ROW_TOKENS = 192  # a row ends at the first window beyond it that shares little with the one before
BATCH_TOKENS = {"cpu": 512, "cuda": 32_768}
HEADER_TOKENS = 32  # a shorter common beginning is not worth a cache
LOGIT_PLACES = 256  # whose logits are held at once: 50 MB at a vocabulary of 50,000


@dataclass(slots=True)
class Row:
    """Paths of tokens packed into one sequence, as a tree."""

    header: int  # tokens that all paths have before the row's
    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    paths: list[tuple[int, list[int]]] = field(default_factory=list)  # (first new place, places from the row's root on)
    targets: list[tuple[int, int, int]] = field(default_factory=list)  # (window, place, the token that follows there)

    @property
    def branches(self) -> bool:
        return len(self.paths) > 1

    def add(self, number: int, window: Window, shared: int) -> None:
        """Add a window of which the first `shared` tokens are those of the window added last."""
        begin = len(self.tokens)
        path = self.paths[-1][1][: shared - self.header] if self.paths else []
        new = window.ids[self.header + len(path) : -1]
        path = [*path, *range(begin, begin + len(new))]
        self.positions.extend(range(self.header + len(path) - len(new), self.header + len(path)))
        self.tokens.extend(new)
        self.paths.append((begin, path))
        for following, place in zip(window.ids[-window.count :], path[-window.count :], strict=True):
            self.targets.append((number, place, following))

    def mask(self, size: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[size, header + size]: whether a token (row) sees another (column)."""
        seen_LK = np.zeros((size, self.header + size), dtype=np.bool_)
        seen_LK[:, : self.header] = True
        seen_LK[range(size), range(self.header, self.header + size)] = True  # padding sees itself, lest it becomes NaN
        for begin, path in self.paths:
            new = sum(place >= begin for place in path)
            own = slice(self.header + begin, self.header + begin + new)
            seen_LK[begin : begin + new, [self.header + place for place in path[: len(path) - new]]] = True
            seen_LK[begin : begin + new, own] = np.tri(new, dtype=np.bool_)
        return seen_LK


class Scorer:
    """Scores windows with one model."""

    def __init__(self, model: Any):
        self._model = model
        self._device: torch.device = model.device
        self._header: tuple[int, ...] = ()  # what the kept keys and values are of
        self._cache: Any = None
        self._packs: bool | None = None  # not tried yet

    @torch.inference_mode()
    def score(self, windows: Sequence[Window]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy decoding would write them) of each window's scored tokens."""
        if self._packs is None:
            self._packs = self._try_packing()
        longest = max((len(window.ids) for window in windows), default=0) - 1
        if not self._packs or longest > self._reach():
            return [self._alone(window) for window in windows]
        return self._packed(windows)

    def _packed(self, windows: Sequence[Window]) -> list[tuple[float, bool]]:
        results = [(0.0, True)] * len(windows)
        rows: dict[tuple[int, ...], list[Row]] = {}
        apart: list[int] = []
        for numbers in _alike(windows):
            header = _shared(windows, numbers)
            found = pack(windows, numbers, header=len(header)) if header else []
            if len(found) > 1:
                rows[header] = found
            else:
                apart += numbers
        rows[()] = pack(windows, apart, header=0)
        for ids, packed in rows.items():
            for batch in _batches(packed, BATCH_TOKENS.get(self._device.type, BATCH_TOKENS["cpu"])):
                for number, value, greedy in self._run(batch, ids):
                    results[number] = (results[number][0] + value, results[number][1] and greedy)
        return results

    def _run(self, rows: Sequence[Row], header: tuple[int, ...]) -> Iterator[tuple[int, float, bool]]:
        """(window, log-probability, whether it was the likeliest) of each scored token."""
        size = max(len(row.tokens) for row in rows)
        tokens_BL = torch.zeros(len(rows), size, dtype=torch.int64)
        positions_BL = torch.zeros(len(rows), size, dtype=torch.int64)
        for number, row in enumerate(rows):
            tokens_BL[number, : len(row.tokens)] = torch.tensor(row.tokens)
            positions_BL[number, : len(row.tokens)] = torch.tensor(row.positions)
        inputs: dict[str, Any] = {"input_ids": tokens_BL.to(self._device), "use_cache": False}
        if header or any(row.branches for row in rows):
            mask_BLK = torch.from_numpy(np.stack([row.mask(size) for row in rows]))
            inputs |= {
                "attention_mask": mask_BLK[:, None].to(self._device),
                "position_ids": positions_BL.to(self._device),
            }
        if header:
            inputs |= {"past_key_values": self._after(header, len(rows)), "use_cache": True}
        hidden_BLD = self._model.base_model(**inputs).last_hidden_state
        places = sorted({(number, place) for number, row in enumerate(rows) for _, place, _ in row.targets})
        index = {where: number for number, where in enumerate(places)}
        wanted = [
            (index[number, place], window, following)
            for number, row in enumerate(rows)
            for window, place, following in row.targets
        ]
        wanted.sort()
        hidden_PD = hidden_BLD[[number for number, _ in places], [place for _, place in places]]
        yield from self._read(hidden_PD, wanted)

    def _read(
        self, hidden_PD: torch.Tensor, wanted: Sequence[tuple[int, int, int]]
    ) -> Iterator[tuple[int, float, bool]]:
        """`wanted` are (place in `hidden_PD`, window, token), by place."""
        head = self._model.get_output_embeddings()
        begin = 0
        for start in range(0, len(hidden_PD), LOGIT_PLACES):
            logits_PV = head(hidden_PD[start : start + LOGIT_PLACES]).float()
            end = begin
            while end < len(wanted) and wanted[end][0] < start + LOGIT_PLACES:
                end += 1
            places_T = torch.tensor([place - start for place, _, _ in wanted[begin:end]], device=self._device)
            tokens_T = torch.tensor([token for _, _, token in wanted[begin:end]], device=self._device)
            values_T = logits_PV[places_T, tokens_T] - logits_PV.logsumexp(-1)[places_T]
            greedy_T = logits_PV.argmax(-1)[places_T] == tokens_T
            windows = [window for _, window, _ in wanted[begin:end]]
            yield from zip(windows, values_T.tolist(), greedy_T.tolist(), strict=True)
            begin = end

    def _after(self, header: tuple[int, ...], rows: int) -> Any:
        """The keys and values of `header` for each of so many rows."""
        if header != self._header:
            self._cache = DynamicCache()
            ids_1L = torch.tensor([header], device=self._device)
            self._model.base_model(input_ids=ids_1L, past_key_values=self._cache, use_cache=True)
            self._header = header
        cache = DynamicCache()
        for number, layer in enumerate(self._cache.layers):
            cache.update(*(item.expand(rows, -1, -1, -1) for item in (layer.keys, layer.values)), number)
        return cache

    def _alone(self, window: Window) -> tuple[float, bool]:
        ids_1L = torch.tensor([window.ids[:-1]], device=self._device)
        logits_CV = self._model(input_ids=ids_1L, use_cache=False, logits_to_keep=window.count).logits[0].float()
        targets_C = torch.tensor(window.ids[-window.count :], device=self._device)
        values_C = logits_CV.log_softmax(-1).gather(-1, targets_C[:, None])
        return float(values_C.sum()), bool((logits_CV.argmax(-1) == targets_C).all())

    def _reach(self) -> float:
        """Tokens up to which attention sees everything before it."""
        config = self._model.config.get_text_config()
        limits = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
        return min((limit for limit in limits if limit), default=float("inf"))

    def _try_packing(self) -> bool:
        """Whether this architecture heeds mask, positions and cache as packing needs it; some count by themselves."""
        vocabulary = self._model.config.get_text_config().vocab_size
        draw = np.random.default_rng(0).integers(vocabulary, size=HEADER_TOKENS + 24).tolist()
        header, stem = tuple(draw[:HEADER_TOKENS]), draw[: HEADER_TOKENS + 8]
        windows = [Window((*stem, *draw[-size:]), 3) for size in (3, 6, 9)]
        expected = [self._alone(window)[0] for window in windows]
        found = [0.0] * len(windows)
        try:
            for window, value, _ in self._run(pack(windows, range(len(windows)), header=HEADER_TOKENS), header):
                found[window] += value
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            return False
        # Tokens drawn at random have log-probabilities of 10 to 20 nats, which a wrong sight changes by whole ones.
        allowed = 1e-2 if self._model.dtype == torch.float32 else 1.0
        return all(abs(one - other) < allowed for one, other in zip(found, expected, strict=True))


def pack(windows: Sequence[Window], numbers: Sequence[int], *, header: int) -> list[Row]:
    """Rows of the windows `numbers`, which are sorted and have their first `header` tokens in common."""
    rows: list[Row] = []
    before: tuple[int, ...] = ()
    for number in numbers:
        window = windows[number]
        shared = common(before, window.ids[:-1])
        again = shared - header  # tokens that a new row would have to repeat
        new = len(window.ids) - 1 - shared
        size = len(rows[-1].tokens) + new if rows else 0
        if not rows or (size > ROW_TOKENS and (new > again or size > 2 * (ROW_TOKENS + again))):
            rows.append(Row(header))
        rows[-1].add(number, window, shared)
        before = window.ids[:-1]
    return rows


def _alike(windows: Sequence[Window]) -> Iterator[list[int]]:
    """Sorted windows by what they begin with: all that could share a header are together."""
    group: list[int] = []
    for number in sorted(range(len(windows)), key=lambda number: windows[number].ids):
        if group and windows[group[-1]].ids[:HEADER_TOKENS] != windows[number].ids[:HEADER_TOKENS]:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _shared(windows: Sequence[Window], numbers: Sequence[int]) -> tuple[int, ...]:
    """What the sorted windows `numbers` begin with, without the token whose logits come first.

    In whole multiples of HEADER_TOKENS: questions that happen to begin alike seldom make another header of it.
    """
    first, last = windows[numbers[0]].ids, windows[numbers[-1]].ids
    size = min(common(first, last), *(len(windows[number].stem) - 1 for number in numbers))
    return first[: size // HEADER_TOKENS * HEADER_TOKENS]


def _batches(rows: Sequence[Row], most: int) -> Iterator[list[Row]]:
    """Rows of similar length, of at most so many tokens with padding, the longest first."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: -len(row.tokens)):
        if batch and (len(batch) + 1) * len(batch[0].tokens) > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
