"""What the language models of engines in Python share: prompts, streamed answers, and which tokens are scored."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from engines.harness import Request, ScoresByWindow, Splitter, Window, scores
from engines.stop_texts import StopGate
from engines.tokenizer import TextTokenizer
from workbench.contract import Message, Sampling, Score, Token, TokenProbability
from workbench.errors import WorkbenchError


class TextModel(ScoresByWindow):
    """A `workbench.contract.LanguageModel` on an engine that draws ids and scores windows of them."""

    context_length: int  # tokens; set by subclasses

    def __init__(self, folder: Path):
        """Raises `WorkbenchError` if there is no readable tokenizer in `folder`."""
        self._tokenizer = TextTokenizer(folder)
        self._ends = end_ids(folder, self._tokenizer)
        self.chat_template = self._tokenizer.chat_template

    @abstractmethod
    def _drawn(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, numbers: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        """(row, id) of answers to prompts of ids, one token of each at a time; an end token is a row's last.

        `numbers` say which of all prompts they are: each draws by `sampling.seed` and its number.
        """

    @abstractmethod
    def _groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Places of prompts that are answered together."""

    @abstractmethod
    def _window_scores(self, windows: Sequence[Window]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy decoding would write them) of each window's scored tokens."""

    @abstractmethod
    def _log_probabilities(
        self, ids: Sequence[int], count: int, top: int
    ) -> list[tuple[float, list[tuple[int, float]]]]:
        """Of the last `count` of `ids`: each one's own, and the `top` likeliest there with theirs, in nats."""

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return self._tokenizer.encode(text, special=special)

    def render(self, messages: Sequence[Message]) -> str:
        if self.chat_template is None:
            return "\n\n".join(message["content"] for message in messages)
        roles = ("bos_token", "eos_token", "pad_token")
        names: dict[str, Any] = {role: self._tokenizer.special_text(role) or "" for role in roles}
        conversation = [dict(message) for message in messages]
        rendered: Any = render_jinja_template(
            [conversation], chat_template=self.chat_template, add_generation_prompt=True, **names
        )
        return rendered[0][0]  # of the first conversation; the second item are masks

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> Iterator[Token]:
        """As the contract says; several prompts are answered at once, those of similar length together."""
        batch = [self._prompt_ids(prompt) for prompt in prompts]  # all, so that a bad one fails before any is written
        for group in self._groups([len(ids) for ids in batch], sampling.max_tokens):
            yield from self._answers(group, [batch[number] for number in group], sampling)

    def probabilities(self, context: str, continuation: str, *, top: int = 5) -> list[TokenProbability]:
        # Put into tokens apart, as an answer follows its prompt.
        before, after = self._prompt_ids(context), self._tokenizer.encode(continuation, special=False)
        ids = [*before, *after]
        if len(ids) > self.context_length:
            raise WorkbenchError(
                f"The answer and what came before have {len(ids):,} tokens, but the model's context holds "
                f"{self.context_length:,}.",
                "Begin a new conversation.",
            )
        pieces = self._tokenizer.pieces()
        return [
            TokenProbability(
                id=token,
                text=pieces.add(token),
                log_probability=own,
                alternatives=[(self._tokenizer.decode([name]), value) for name, value in likeliest],
            )
            for token, (own, likeliest) in zip(after, self._log_probabilities(ids, len(after), top), strict=True)
        ]

    def _text_ids(self, tokens: Sequence[int]) -> list[int]:
        """What is read to predict each of `tokens`, the first after BOS, else EOS.

        Raises `WorkbenchError` if that does not fit into the context.
        """
        start = self._splitter().beginning()
        if len(tokens) > self.context_length:
            raise WorkbenchError(
                f"A text of {len(tokens):,} tokens does not fit into the context of {self.context_length:,}.",
                "Shorten it.",
            )
        return [*start, *tokens[:-1]]

    def _prompt_ids(self, prompt: str) -> list[int]:
        ids = self._tokenizer.encode(prompt, special=True)
        bos = self._tokenizer.bos
        if bos is not None and self._tokenizer.adds_bos and ids[:1] != [bos]:
            ids = [bos, *ids]
        if not ids:
            raise WorkbenchError("The prompt is empty, and the model has no token to begin with.", "Write a prompt.")
        if len(ids) >= self.context_length:
            raise WorkbenchError(
                f"The prompt has {len(ids):,} tokens, and the model's context is {self.context_length:,}.",
                "Shorten the prompt, or begin a new conversation.",
            )
        return ids

    def _answers(self, numbers: Sequence[int], prompts: Sequence[list[int]], sampling: Sampling) -> Iterator[Token]:
        """The answers to prompts that are written together; `numbers` say which of all prompts they are."""
        allowed = [min(sampling.max_tokens, self.context_length - len(ids)) for ids in prompts]
        pieces = [self._tokenizer.pieces() for _ in prompts]
        gates = [StopGate(sampling.stop) for _ in prompts]
        written = [0] * len(prompts)
        going = set(range(len(prompts)))
        drawn = self._drawn(prompts, replace(sampling, max_tokens=max(allowed)), numbers)
        for row, token in drawn:
            if row not in going:
                continue
            number, gate = numbers[row], gates[row]
            if token in self._ends:
                yield Token(text=gate.rest(), prompt=number, finish="stop")
                going.discard(row)
                continue
            text = gate.add(pieces[row].add(token))
            written[row] += 1
            yield Token(text=text, id=token, prompt=number, finish="stop" if gate.stopped else None)
            if not gate.stopped and written[row] == allowed[row]:
                yield Token(text=gate.rest(), prompt=number, finish="length")
            if gate.stopped or written[row] == allowed[row]:
                going.discard(row)
            if not going:
                return

    def _splitter(self) -> Splitter:
        tokenizer = self._tokenizer
        return Splitter(
            lambda text: tokenizer.encode(text, special=True),
            start=tokenizer.bos if tokenizer.bos is not None else tokenizer.eos,
            adds_bos=tokenizer.adds_bos,
            length=self.context_length,
        )

    def _scores(self, requests: Sequence[Request]) -> list[Score]:
        return scores(requests, self._window_scores([window for request in requests for window in request.windows]))


def grouped_by_length(lengths: Sequence[int], max_tokens: int, *, most: int) -> list[list[int]]:
    """Places of prompts that are answered together: of similar length, so that little is padded.

    `most` are the tokens of a group, prompts and answers.
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if groups and (len(groups[-1]) + 1) * (lengths[groups[-1][0]] + max_tokens) <= most:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def end_ids(folder: Path, tokenizer: TextTokenizer) -> set[int]:
    """The tokens that end an answer: what generation_config.json and the tokenizer name."""
    ends: set[int | None] = {tokenizer.eos}
    path = folder / "generation_config.json"
    if path.is_file():
        named: Any = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
        ends.update(named if isinstance(named, list) else [named])
    return {end for end in ends if end is not None}
