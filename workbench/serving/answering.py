"""One model and many who ask: answers are written one at a time, in the order in which they were asked for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from workbench.chat.process import ModelFailed, ModelProcess
from workbench.contract import Token
from workbench.errors import WorkbenchError
from workbench.serving.refusal import Refusal
from workbench.serving.requests import Question


class Writing:
    """An answer on its way: iterate over its tokens as they come.

    They are kept until they are read, so that one who reads slowly keeps nobody waiting.
    """

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.tokens = 0  # written so far
        self.began = 0.0  # seconds on the clock `time.perf_counter`: when its turn came
        self.ended = 0.0
        self._pieces: asyncio.Queue[Token | Refusal | None] = asyncio.Queue()

    def put(self, piece: Token | Refusal | None) -> None:
        """A token; or the end: None, or why there are no more."""
        self.ended = time.perf_counter()
        if isinstance(piece, Token) and piece.id is not None:
            self.tokens += 1
        self._pieces.put_nowait(piece)

    @property
    def tokens_per_second(self) -> float:
        """Since its turn came: reading the prompt counts."""
        return self.tokens / max(self.ended - self.began, 1e-9)

    async def __aiter__(self) -> AsyncIterator[Token]:
        """Raises `Refusal` if the model cannot answer, or no longer."""
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, Refusal):
                raise piece
            yield piece


class Desk:
    """Owns the model's process, and opens it anew after its death, when it is next asked."""

    def __init__(self, engine: str, path: Path, *, say: Callable[[str], None]):
        """Opens the model; `say` is told when it has to be opened again. Raises `WorkbenchError` if it cannot be."""
        self._engine, self._path, self._say = engine, path, say
        self._turn = asyncio.Lock()  # it wakes who waits in their order
        self._closed = False
        self._opening: asyncio.Future[ModelProcess] | None = None
        self.model = self._open()

    @property
    def alive(self) -> bool:
        return self.model.alive

    @contextlib.asynccontextmanager
    async def answer(self, question: Question) -> AsyncIterator[Writing]:
        """The answers to a question; leaving the context stops the work on them, or takes it out of the queue."""
        writing = Writing()
        task = asyncio.create_task(self._write(question, writing))
        try:
            yield writing
        finally:
            task.cancel()
            await asyncio.wait([task])

    def close(self) -> None:
        """End the model's process."""
        self._closed = True
        self.model.close()

    async def _write(self, question: Question, writing: Writing) -> None:
        try:
            async with self._turn:
                writing.began = time.perf_counter()
                model = await self._opened()
                prompts, writing.prompt_tokens = await asyncio.to_thread(_prepared, model, question)
                repeated = [prompt for prompt in prompts for _ in range(question.answers)]
                answer = model.generate(repeated, question.sampling)
                try:
                    async for token in answer:
                        writing.put(token)
                        await asyncio.sleep(0)  # tokens may come faster than others get a word in
                finally:
                    answer.stop()
        except Refusal as refusal:
            writing.put(refusal)
        except ModelFailed as error:
            writing.put(self._failure(error))
        except WorkbenchError as error:
            # Nothing but a prompt without room: what a request may hold was looked at before.
            long = writing.prompt_tokens >= self.model.context_length
            writing.put(Refusal(error.what, error.remedy, code="context_length_exceeded" if long else None))
        else:
            writing.put(None)

    def _failure(self, error: ModelFailed) -> Refusal:
        if self._closed:
            return Refusal("The server is ending.", status=503)
        if self.alive:
            return Refusal(error.what, "Ask for less at once, or begin the server again.", status=500)
        self._say(error.what)
        return Refusal(error.what, "Ask again: the model is opened anew.", status=503)

    async def _opened(self) -> ModelProcess:
        """The model; opened again if its process has ended. Raises `Refusal` if it cannot be."""
        if self._opening is None and not self.alive:
            self._say("The model's process has ended: it is opened again.")
            self.model.close()
            self._opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        if self._opening is not None:
            opening = self._opening
            try:
                self.model = await asyncio.shield(opening)  # whoever asks next needs it, even if this one goes away
            except WorkbenchError as error:
                raise Refusal(error.what, error.remedy, status=503) from None
            finally:
                if opening.done():
                    self._opening = None
        return self.model

    def _open(self) -> ModelProcess:
        model = ModelProcess(self._engine, self._path)
        if self._closed:  # meanwhile
            model.close()
        return model


def _prepared(model: ModelProcess, question: Question) -> tuple[list[str], int]:
    """The prompts, and their tokens together. Raises `Refusal` if the template does not take the messages."""
    prompts = list(question.prompts)
    if question.messages:
        try:
            prompts = [model.render(question.messages)]
        except ModelFailed as error:
            if not model.alive:
                raise
            raise Refusal(
                f"The model's chat template refuses the messages: {error.what}.",
                "Most want turns of user and assistant, the user's first and last.",
                parameter="messages",
            ) from None
    return prompts, sum(len(model.tokenize(prompt, special=True)) for prompt in prompts)
