"""A GGUF model that generates and scores; satisfies `contract.LanguageModel`."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.harness import Request, ScoresByWindow, Splitter, common, scores
from engines.llamacpp.chat_template import compile_template
from engines.llamacpp.context import Context, available_threads
from engines.llamacpp.distributions import distributions
from engines.llamacpp.sampling import Sampler, TextStream
from engines.llamacpp.scoring import Scorer, token_probabilities
from engines.llamacpp.weights import Weights, find_file
from workbench.contract import Message, Sampling, Score, Token, TokenProbability
from workbench.errors import WorkbenchError

LARGEST_DEFAULT_CONTEXT = 8192  # tokens; a model made for 131,072 would take gigabytes for keys and values
PARALLEL = 8  # answers decoded together
SEQUENCES = 64  # what is scored together: stems and continuations


@dataclass(slots=True)
class _Answer:
    number: int  # of its prompt
    prompt: Sequence[int]
    room: int  # tokens that it may still draw
    sampler: Sampler
    text: TextStream
    sequence: int = -1
    length: int = 0  # tokens in the cache
    pending: int = -1  # drawn, but not yet decoded
    place: int = 0  # of its logits in the last batch

    def most(self) -> int:
        """Cells of the cache that it may come to hold."""
        return len(self.prompt) + self.room


@dataclass(slots=True)
class _Batch:
    """The answers under way, and the sequences that nobody uses."""

    single: bool  # one answer in all: what it leaves in the cache is kept for the next turn
    active: list[_Answer] = field(default_factory=list)
    free: list[int] = field(default_factory=lambda: list(range(PARALLEL)))


class LlamaCppModel(ScoresByWindow):
    """One opened GGUF file. Not for several threads at once."""

    def __init__(self, path: Path, *, context_length: int | None = None, threads: int | None = None):
        """`path` is a GGUF file, or a folder with one.

        Raises `WorkbenchError` if it cannot be opened, or not with this context.
        """
        self._weights = Weights(find_file(Path(path)))
        longest = self._weights.trained_length
        if context_length is not None and not 1 < context_length <= longest:
            raise WorkbenchError(
                f"A context of {context_length:,} tokens was asked for, but the model was made for {longest:,}.",
                f"Choose from 2 to {longest:,}.",
            )
        self._context = Context(
            self._weights,
            length=context_length or min(longest, LARGEST_DEFAULT_CONTEXT),
            threads=threads or available_threads(),
            sequences=SEQUENCES,
        )
        self._scorer = Scorer(self._context)
        self.context_length = self._context.length
        self.chat_template = self._weights.chat_template()
        self._render = self.chat_template and compile_template(self.chat_template, self._special_tokens())
        self._current: Generator[Token] | None = None
        self._held: list[int] = []  # what sequence 0 has in the cache: the next turn of a chat begins with it

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return self._weights.tokenize(text, special=special)

    def render(self, messages: Sequence[Message]) -> str:
        if self._render:
            return self._render(messages)
        return "".join(message["content"] for message in messages)

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> Iterator[Token]:
        tokens = [self._weights.prompt(text) for text in prompts]
        for prompt in tokens:
            if not prompt:
                raise WorkbenchError("The prompt is empty.", "This model has no BOS token to begin with: write a word.")
            if len(prompt) >= self.context_length:
                raise WorkbenchError(
                    f"The prompt has {len(prompt):,} tokens, but the model's context holds {self.context_length:,}.",
                    "Shorten it, or begin a new conversation.",
                )
        self._end_current()
        self._scorer.forget()
        self._current = self._generate(tokens, sampling)
        return self._current

    def probabilities(self, context: str, continuation: str, *, top: int = 5) -> list[TokenProbability]:
        self._end_current()
        self._held = []
        self._scorer.forget()
        return token_probabilities(self._context, context, continuation, top=top)

    def distributions(self, tokens: Sequence[int], places: int) -> Iterator[Any]:
        self._end_current()
        self._held = []
        self._scorer.forget()
        return distributions(self._context, tokens, places)

    def close(self) -> None:
        self._end_current()
        self._context.close()
        self._weights.close()

    def _splitter(self) -> Splitter:
        weights = self._weights
        return Splitter(
            lambda text: weights.tokenize(text, special=True),
            start=weights.start(),
            adds_bos=weights.adds_bos,
            length=self.context_length,
        )

    def _scores(self, requests: Sequence[Request]) -> list[Score]:
        self._end_current()
        self._held = []
        return scores(requests, self._scorer.score([window for request in requests for window in request.windows]))

    def _generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> Generator[Token]:
        answers = [
            _Answer(
                number,
                prompt,
                min(sampling.max_tokens, self.context_length - len(prompt)),
                Sampler(sampling, self._context, number=number, prompt=prompt),
                TextStream(sampling.stop),
            )
            for number, prompt in enumerate(prompts)
        ]
        waiting, batch = deque(answers), _Batch(single=len(answers) == 1)
        if not batch.single:
            self._reset()
        finished = False
        try:
            while waiting or batch.active:
                while waiting and self._fits(waiting[0], batch):
                    answer = waiting.popleft()
                    if answer.room <= 0:
                        yield Token(text="", prompt=answer.number, finish="length")
                        continue
                    yield from self._begin(answer, batch)
                    yield self._draw(answer, batch)
                if batch.active:
                    self._step(batch.active)
                    # All are drawn before any is shown: a listener's pause never sees a half-drawn batch.
                    yield from [self._draw(answer, batch) for answer in list(batch.active)]
            finished = True
        except GeneratorExit:
            finished = True  # the listener has had enough; what is in the cache is whole
            raise
        finally:
            for answer in answers:
                answer.sampler.close()
            if not finished or not batch.single:
                self._reset()

    def _fits(self, answer: _Answer, batch: _Batch) -> bool:
        taken = sum(other.most() for other in batch.active)
        return not batch.active or bool(batch.free and taken + answer.most() <= self.context_length)

    def _begin(self, answer: _Answer, batch: _Batch) -> Iterator[Token]:
        """Decode the prompt; the logits after it are at the answer's `place` in the last batch.

        Empty pieces between its parts let a listener stop while a long prompt is read.
        """
        answer.sequence = sequence = batch.free.pop(0)
        twin = next((other for other in batch.active if other.prompt == answer.prompt), None)
        if twin is not None:  # many answers to one prompt: it is read once
            start = len(answer.prompt) - 1
            self._context.share(twin.sequence, sequence, start)
        else:
            start = min(common(self._held, answer.prompt), len(answer.prompt) - 1) if sequence == 0 else 0
            self._context.forget(sequence, start)
        if sequence == 0:
            del self._held[start:]
        answer.length = start
        batch.active.append(answer)
        size = self._context.batch_tokens
        while answer.length < len(answer.prompt):
            if answer.length > start:
                yield Token(text="", prompt=answer.number)
            piece = answer.prompt[answer.length : answer.length + size]
            end = answer.length + len(piece)
            self._context.decode(piece, range(answer.length, end), [sequence] * len(piece), [len(piece) - 1])
            answer.length, answer.place = end, len(piece) - 1
            if sequence == 0:
                self._held.extend(piece)

    def _step(self, active: Sequence[_Answer]) -> None:
        """Decode the token that each answer drew last."""
        self._context.decode(
            [answer.pending for answer in active],
            [answer.length for answer in active],
            [answer.sequence for answer in active],
            range(len(active)),
        )
        for place, answer in enumerate(active):
            answer.length += 1
            answer.place = place
            if answer.sequence == 0:
                self._held.append(answer.pending)

    def _draw(self, answer: _Answer, batch: _Batch) -> Token:
        token = answer.pending = answer.sampler.draw(self._context, answer.place)
        answer.room -= 1
        ended = self._weights.ends_answer(token)
        length = not ended and answer.room <= 0
        text = answer.text.push(b"" if ended else self._weights.piece(token), final=ended or length)
        finish = "stop" if ended or answer.text.stopped else "length" if length else None
        if finish:
            batch.active.remove(answer)
            batch.free.append(answer.sequence)
            if not batch.single:
                self._context.forget(answer.sequence)
                if answer.sequence == 0:
                    self._held = []
        return Token(text=text, id=token, prompt=answer.number, finish=finish)

    def _end_current(self) -> None:
        """End an answer that nobody listens to any more: the cache is one."""
        if self._current is not None:
            self._current.close()
            self._current = None

    def _reset(self) -> None:
        self._context.forget(-1)
        self._held = []

    def _special_tokens(self) -> dict[str, str]:
        roles = {"bos_token": self._weights.bos, "eos_token": self._weights.eos, "pad_token": self._weights.pad}
        return {role: self._weights.text(token) for role, token in roles.items() if token is not None}
