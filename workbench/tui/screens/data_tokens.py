"""A document as the tokens that a tokenizer makes of it, with the id and the bytes of the one under the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical

from workbench.errors import WorkbenchError
from workbench.tui import actions, safe
from workbench.tui.live import ArtifactRow, Changes
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.widgets.facts import Facts
from workbench.tui.widgets.token_text import Cell, Stretch, TokenText

if TYPE_CHECKING:
    from workbench.corpus.token_view import DocumentToken


class TokensScreen(WorkbenchScreen):
    """The text with its tokens' boundaries by background; below, what is known of one."""

    PLACE = "document"
    BINDINGS = actions.bindings("document")
    DEFAULT_CSS = """
    TokensScreen #text { height: 1fr; }
    TokensScreen #token { height: 5; }
    """

    def __init__(self, title: str, text: str, tokenizers: Sequence[ArtifactRow]):
        """`tokenizers` are to choose from; the first is used."""
        super().__init__()
        self.of, self.text, self.tokenizers = title, text, tokenizers
        self.tokens: Sequence[DocumentToken] = ()
        self.chosen = 0

    def heading(self) -> str:
        return safe.line(f"Tokens of {self.of}")

    def body(self) -> ComposeResult:
        with Vertical(id="text", classes="pane"):
            yield TokenText()
        with Vertical(id="token", classes="pane") as pane:
            pane.border_title = "Token"
            yield Facts()

    def on_mount(self) -> None:
        self.query_one(TokenText).focus()
        self._read()

    def show(self, changes: Changes) -> None:
        pass  # an artifact does not change

    def _read(self) -> None:
        self.beside(partial(self._reading, self.tokenizers[self.chosen]), group="tokens")

    async def _reading(self, tokenizer: ArtifactRow) -> None:
        from workbench.corpus.token_view import document_tokens

        assert self.app.project is not None
        folder = self.app.project.folder("tokenizer") / tokenizer.id
        self.tokens = await asyncio.to_thread(document_tokens, folder, self.text)
        size = sum(len(token.bytes) for token in self.tokens)
        ratio = f"{size / len(self.tokens):.2f} bytes per token" if self.tokens else "no tokens"
        entitle(self.query_one("#text"), f"{len(self.tokens):,} tokens by {tokenizer.id}", ratio)
        self.query_one(TokenText).show([Stretch([Cell(token.text, "masked") for token in self.tokens])])

    def on_token_text_moved(self, event: TokenText.Moved) -> None:
        facts = self.query_one(Facts)
        if event.place >= len(self.tokens):
            facts.state(facts.assemble(("no token", "muted")), (), ())
            return
        token = self.tokens[event.place]
        shown = repr(token.text) if token.text else "part of a character"
        facts.state(
            facts.assemble((safe.line(shown), "strong")), (),
            [
                ("id", f"{token.id:,}"), ("bytes", token.bytes.hex(" ")),
                ("place", f"{event.place:,} of {len(self.tokens):,}"),
            ],
        )  # fmt: skip

    def why_not_tokenizer(self, _: str = "") -> str | None:
        return None if len(self.tokenizers) > 1 else "The project has no other tokenizer."

    def do_tokenizer(self, argument: str = "") -> None:
        names = [item.id for item in self.tokenizers]
        if argument and argument not in names:
            raise WorkbenchError(f"There is no tokenizer {argument!r}.", f"There are: {', '.join(names)}.")
        self.chosen = names.index(argument) if argument else (self.chosen + 1) % len(names)
        self._read()

    def do_back(self, _: str = "") -> None:
        self.dismiss()
