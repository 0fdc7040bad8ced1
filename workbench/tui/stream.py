"""An answer while it is being written. No Textual here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.chat.process import Answer, ModelProcess
from workbench.contract import Message, Sampling
from workbench.errors import WorkbenchError
from workbench.safe_text import Stripper


@dataclass(slots=True)
class Stream:
    """An answer under way: a thread adds to it, the screen takes from it."""

    answer: Answer | None = None
    pieces: list[str] = field(default_factory=list)  # as the model wrote them
    shown: int = 0  # of the pieces
    stripper: Stripper = field(default_factory=Stripper)
    began: float = 0.0  # when the first token came
    last: float = 0.0
    tokens: int = 0
    max_tokens: int | None = None
    finish: str = ""
    stopped: bool = False

    def tokens_per_second(self) -> float | None:
        """Between the first token and the last; None for less than two."""
        return (self.tokens - 1) / (self.last - self.began) if self.tokens > 1 and self.last > self.began else None

    async def fill(
        self, process: ModelProcess, messages: Sequence[Message], sampling: Sampling
    ) -> WorkbenchError | None:
        """Have the model answer; what went wrong, if something did."""
        try:
            prompt = await asyncio.to_thread(process.render, messages)
            if not self.stopped:
                self.answer = process.generate([prompt], sampling)
                await asyncio.to_thread(self._read, self.answer)
        except WorkbenchError as error:
            return error
        return None

    def _read(self, answer: Answer) -> None:
        """On a thread: take all tokens, until the end or a stop."""
        for token in answer:
            self.last = time.perf_counter()
            if token.id is not None:
                self.tokens += 1
                if self.tokens == 1:
                    self.began = self.last
            self.finish = token.finish or self.finish
            self.pieces.append(token.text)

    def fresh(self) -> str:
        """What came since the last call, safe to show."""
        end = len(self.pieces)
        text = "".join(self.pieces[self.shown : end])
        self.shown = end
        return self.stripper.feed(text)

    def summary(self) -> str:
        """How it went, in one line."""
        rate = self.tokens_per_second()
        speed = f", {rate:.1f} tokens/s" if rate else ""
        cut = self.tokens == self.max_tokens
        how = (", cut at max_tokens" if cut else ", cut: the context is full") if self.finish == "length" else ""
        return f"{self.tokens} token{'s' if self.tokens != 1 else ''}{speed}{', stopped' if self.stopped else how}"
