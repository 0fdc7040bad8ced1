"""The harness's (lm-eval's) view of our language models: any engine that scores and generates is benchmarked alike.

Imports lm-eval: only for the engine's process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from workbench.benchmarks.answered import Answered, key_of
from workbench.contract import LanguageModel, Message, Sampling, Score, ScoresTexts
from workbench.errors import WorkbenchError

CHARACTERS = 12_000  # of requests between two looks at whether to stop: seconds on a CPU
PROMPTS = 8  # answered together
DEFAULT_ANSWER_TOKENS = 256  # as in lm-eval

SCORE, TEXT, ANSWER = "score", "text", "answer"  # kinds of requests


class Bridge(LM):
    """Answers the harness's requests from `model`, and from what `answered` has of it.

    `advance(n)` hears of each n requests that are dealt with, known ones too, and may end the work by raising.
    What is asked at once does not depend on what is known, so that a benchmark that was ended and goes on comes to
    the same figures to the last bit.
    """

    def __init__(
        self,
        model: LanguageModel,
        answered: Answered,
        *,
        seed: int = 0,
        advance: Callable[[int], None] = lambda _: None,
        scale: int = 1,
    ):
        """`scale`: how many times as much as on a CPU is asked at once."""
        super().__init__()
        self.model, self.answered, self.seed, self.scale = model, answered, seed, scale
        self._advance = advance
        self.computed = self.known = 0

    # ------------------------------------------------------------------ lm-eval's side

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(nats, whether it is the likeliest) of each (context, continuation)."""
        scores = self.scores([instance.args for instance in requests])
        return [(score.log_likelihood, score.greedy) for score in scores]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Nats of each whole text."""
        return [score.log_likelihood for score in self.text_scores([instance.args[0] for instance in requests])]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """What the model writes after each (context, settings)."""
        return [answer["text"] for answer in self.answers([instance.args for instance in requests])]

    @property
    def tokenizer_name(self) -> str:
        return ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt for the assistant's turn; without `add_generation_prompt` the last message is its beginning."""
        if add_generation_prompt:
            return self.model.render(chat_history)
        opening: Sequence[Message] = chat_history[:-1]
        return self.model.render(opening) + chat_history[-1]["content"]

    # ------------------------------------------------------------------ our side

    def scores(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        """Of each (context, continuation). Pairs of one context are asked together."""

        def ask(chosen: Sequence[tuple[str, str]]) -> list[Any]:
            return [asdict(score) for score in self.model.score(chosen)]

        order = sorted(set(pairs), key=lambda pair: (-len(pair[0]), pair))
        keyed = {pair: key_of(SCORE, *pair) for pair in order}
        stems = _grouped(order, lambda pair: pair[0])
        self._ask(_chunks(stems, CHARACTERS * self.scale), keyed, ask)
        return [Score(**self.answered.get(keyed[pair])) for pair in pairs]

    def text_scores(self, texts: Sequence[str]) -> list[Score]:
        """Of each whole text, every token scored once."""
        model = self.model
        if not isinstance(model, ScoresTexts):
            raise WorkbenchError("This engine cannot score whole texts.", "Take tasks with questions and answers.")

        def ask(chosen: Sequence[str]) -> list[Any]:
            return [asdict(score) for score in model.score_texts(chosen)]

        order = sorted(set(texts), key=lambda text: (-len(text), text))
        keyed = {text: key_of(TEXT, text) for text in order}
        self._ask(_chunks([[text] for text in order], CHARACTERS * self.scale), keyed, ask)
        return [Score(**self.answered.get(keyed[text])) for text in texts]

    def answers(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
        """{"text", "tokens", "truncated"} of each (context, settings); the same one asked again is drawn anew."""
        drawn: dict[tuple[str, str], int] = {}
        rows = []
        for context, settings in requests:
            sampling = sampling_of(settings, self.model.context_length, self.seed)
            number = drawn[(context, repr(sampling))] = drawn.get((context, repr(sampling)), -1) + 1
            rows.append((context, sampling, number if sampling.temperature > 0 else 0))
        keyed = {row: key_of(ANSWER, row[0], asdict(row[1]), row[2]) for row in rows}
        kinds: dict[Any, list[Any]] = {}
        for row in sorted(keyed, key=lambda row: (-len(row[0]), row[0], row[2])):
            kinds.setdefault((row[1], row[2]), []).append(row)  # one sampling and seed for all that is asked at once
        size = PROMPTS * self.scale
        chunks = [group[at : at + size] for group in kinds.values() for at in range(0, len(group), size)]
        self._ask(chunks, keyed, self._write)
        return [self.answered.get(keyed[row]) for row in rows]

    def kept(
        self, requests: Sequence[Any], parts: Callable[[Any], Sequence[Any]], ask: Callable[[Any], Any]
    ) -> list[Any]:
        """What `ask` answers to each request, one at a time; `parts` are what a request is known by."""
        keyed = {request: key_of(*parts(request)) for request in dict.fromkeys(requests)}
        self._ask([[request] for request in keyed], keyed, lambda chosen: [ask(request) for request in chosen])
        return [self.answered.get(keyed[request]) for request in requests]

    def _write(self, rows: Sequence[tuple[str, Sampling, int]]) -> list[dict[str, Any]]:
        _, sampling, number = rows[0]
        prompts, cut = zip(*(self._fitting(row[0], sampling.max_tokens) for row in rows), strict=True)
        seed = int(key_of("seed", self.seed, number)[:8], 16)
        texts, tokens = [""] * len(rows), [0] * len(rows)
        ends = self._special(sampling.stop)
        ended: set[int] = set()  # prompts
        for token in self.model.generate(prompts, _seeded(sampling, seed)):
            if token.id in ends:
                ended.add(token.prompt)
            if token.prompt in ended:
                continue
            texts[token.prompt] += token.text
            tokens[token.prompt] += token.id is not None
        return [
            {"text": text, "tokens": count, "truncated": short}
            for text, count, short in zip(texts, tokens, cut, strict=True)
        ]

    def _special(self, stops: Sequence[str]) -> set[int]:
        """The stop texts that are special tokens: an engine, which looks for stops in text, never sees them."""
        found = {stop: self.model.tokenize(stop, special=True) for stop in stops}
        return {ids[0] for stop, ids in found.items() if len(ids) == 1 and self.model.tokenize(stop) != ids}

    def _fitting(self, prompt: str, answer_tokens: int) -> tuple[str, bool]:
        """The end of the prompt that leaves room for the answer, and whether that is not all of it."""
        room = self.model.context_length - answer_tokens - 1  # one for BOS
        if len(self.model.tokenize(prompt, special=True)) <= room:
            return prompt, False
        low, high = 0, len(prompt)  # it fits without its first `high` characters
        while high - low > 1:
            middle = (low + high) // 2
            if len(self.model.tokenize(prompt[middle:], special=True)) <= room:
                high = middle
            else:
                low = middle
        return prompt[high:], True

    def _ask(self, chunks: Iterable[Sequence[Any]], keyed: Mapping[Any, str], ask: Callable[[Any], list[Any]]) -> None:
        for chunk in chunks:
            waiting = [request for request in chunk if self.answered.get(keyed[request]) is None]
            if waiting:
                found = ask(waiting)
                self.answered.add({keyed[request]: answer for request, answer in zip(waiting, found, strict=True)})
            self.computed += len(waiting)
            self.known += len(chunk) - len(waiting)
            self._advance(len(chunk))


def sampling_of(settings: Mapping[str, Any], context_length: int, seed: int) -> Sampling:
    """How the harness's generation settings draw tokens; an answer gets at most half of the context.

    As in lm-eval: greedy unless `do_sample` or a temperature says otherwise.
    """
    temperature = float(settings.get("temperature") or 0.0)
    if settings.get("do_sample") is False:
        temperature = 0.0
    until = settings.get("until") or []
    wanted = int(settings.get("max_gen_toks") or settings.get("max_new_tokens") or DEFAULT_ANSWER_TOKENS)
    return Sampling(
        max_tokens=min(wanted, max(1, context_length // 2)),
        temperature=temperature,
        top_p=float(settings.get("top_p") or 1.0),
        top_k=int(settings.get("top_k") or 0),
        seed=seed,
        stop=tuple([until] if isinstance(until, str) else until),
    )


def _seeded(sampling: Sampling, seed: int) -> Sampling:
    from dataclasses import replace

    return replace(sampling, seed=seed)


def _grouped(pairs: Sequence[Any], key: Callable[[Any], Any]) -> list[list[Any]]:
    """Neighbours with one key together."""
    groups: list[list[Any]] = []
    for pair in pairs:
        if groups and key(groups[-1][0]) == key(pair):
            groups[-1].append(pair)
        else:
            groups.append([pair])
    return groups


def _chunks(groups: Iterable[Sequence[Any]], characters: int) -> Iterable[list[Any]]:
    """Whole groups together, up to so many characters, but at least one group.

    What a context shares with the one before, as worked examples, is computed once and counts once.
    """
    chunk: list[Any] = []
    size, before = 0, ""
    for group in groups:
        context = group[0] if isinstance(group[0], str) else group[0][0]
        own = sum(len(request[1]) for request in group if not isinstance(request, str))
        new = len(context) - len(os.path.commonprefix([before, context]))  # noqa: RUF071 (texts, not paths)
        if chunk and size + new + own > characters:
            yield chunk
            chunk, size, new = [], 0, len(context)
        chunk.extend(group)
        size, before = size + new + own, context
    if chunk:
        yield chunk
