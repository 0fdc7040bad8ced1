"""A conversation with a model that runs in a process of its own: what is seen of it, and how answers come."""

from __future__ import annotations

import asyncio

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from workbench.chat.conversation import SETTINGS, Conversation
from workbench.chat.process import ModelProcess
from workbench.errors import WorkbenchError
from workbench.registry import ANSWERING
from workbench.tui import chat_models, safe
from workbench.tui.chat_models import ChatModel
from workbench.tui.live import Changes
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.stream import Stream
from workbench.tui.widgets.ask import AskArea
from workbench.tui.widgets.empty import Empty
from workbench.tui.widgets.sections import Sections
from workbench.tui.widgets.status import Status
from workbench.tui.widgets.table import Column, Table
from workbench.tui.widgets.transcript import Transcript

REPAINT_SECONDS = 1 / 12
REMOTE_REPAINT_SECONDS = 0.7  # over SSH: a screen of text is 2 to 5 KB


class Talk(WorkbenchScreen):
    """Wide: the conversation, and beside it the model and its settings. Narrow: the settings behind `t`."""

    DEFAULT_CSS = """
    Talk #none { display: none; }
    Talk.-empty #none { display: block; }
    Talk.-empty #chat { display: none; }
    Talk #chat { height: 1fr; }
    Talk #talk { height: 1fr; }
    Talk #side { display: none; }
    Talk.-settings #side { display: block; height: auto; }
    Talk #settings { height: auto; }
    Talk #settings Table { height: 8; }
    Talk #about { display: none; height: 1fr; }
    Talk.-wide #chat, Talk.-very-wide #chat { layout: horizontal; }
    Talk.-wide #side, Talk.-very-wide #side { display: block; width: 38; height: 100%; }
    Talk.-very-wide #side { width: 48; }
    Talk.-wide #about, Talk.-very-wide #about { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.conversation = Conversation()
        self.model: ChatModel | None = None
        self.process: ModelProcess | None = None
        self._left = False
        self.stream: Stream | None = None
        self.cleared: list[dict[str, str]] = []  # turns that a new conversation put away
        self._opening = 0  # counts the models that were asked for: a late one is closed again

    def body(self) -> ComposeResult:
        yield Empty("No model to talk to yet.", id="none")
        with Container(id="chat"):
            with Vertical(id="talk", classes="pane"):
                yield Transcript()
                yield Status()
                yield AskArea("Write, Enter sends; /help lists the commands")
            with Vertical(id="side"):
                with Vertical(id="settings", classes="pane") as pane:
                    pane.border_title = "Settings"
                    yield Table(
                        (Column(title="Setting", width=18), Column(title="Value", width=8, grow=1)),
                        self.cells,
                        key=lambda name: name,
                        header=False,
                    )
                with Vertical(id="about", classes="pane") as pane:
                    pane.border_title = "Model"
                    yield Sections()

    def on_unmount(self) -> None:
        self._left = True
        if self.process is not None:
            self.process.close()

    # ------------------------------------------------------------------ what is shown

    @property
    def models(self) -> list[ChatModel]:
        live, project = self.app.live, self.app.project
        return chat_models.chat_models(project, live.artifacts) if live and project else []

    def show(self, changes: Changes) -> None:
        live = self.app.live
        if live is None or not live.loaded:
            return
        known = self.models
        empty = not known and self.model is None
        self.set_class(empty, "-empty")
        if empty:
            self._say_what_to_do()
            return
        self.query_one(Table).set_rows(list(SETTINGS))
        if self.focused is None:
            self.query_one(AskArea).focus()
        exports = [model for model in known if model.kind == "export"]
        if self.model is None and self._opening == 0 and exports:
            self.open(exports[0])
        self._show_state()

    def _say_what_to_do(self) -> None:
        live, none = self.app.live, self.query_one("#none", Empty)
        assert live is not None
        going = next((run for run in live.active() if run.produces in ANSWERING), None)
        if going is not None:
            none.say(f"No model to talk to yet: {safe.line(going.id)} is making one.", ("g r", "watch it"))
        else:
            none.say(
                "No model to talk to yet. Train one and export it, or open a GGUF file from elsewhere.",
                ("g m", "the road to a model, on the map"),
                ("m", "open a GGUF file"),
            )

    def cells(self, name: str) -> list[Text]:
        on = self.query_one(Table)
        value = getattr(self.conversation.sampling, name)
        shown = (
            "none" if value in (None, ()) else ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value)
        )
        return [on.assemble((name, "muted")), on.assemble(safe.line(shown))]

    def _show_state(self) -> None:
        """The pane's title, the line above the input, and the model's pane."""
        self.query_one(AskArea).waits = self.stream is not None
        talk = self.query_one("#talk")
        if self.model is None:
            entitle(talk, "No model is open")
        elif self.process is None:
            entitle(talk, f"{self.model.name}: " + ("being opened" if self._opening > 0 else "closed"))
        else:
            kind = "" if self.process.chat_template else "  continues text"
            entitle(talk, f"{self.model.name}{kind}")
        self._show_speed()
        about = self.query_one("#about Sections", Sections)
        about.begin()
        if self.model is not None:
            about.pairs(
                [("model", self.model.name), ("what", self.model.about), ("engine", self.model.engine)], names=9
            )
            if self.process is not None:
                about.pairs([("context", f"{self.process.context_length:,} tokens")], names=9)
                about.heading(("What it does", "strong"))
                if self.process.chat_template:
                    about.sentence("It was trained on conversations, and answers.")
                else:
                    about.sentence(
                        "A base model: it was never trained on conversations, and continues the text that you write."
                    )
        if self.conversation.system:
            about.heading(("System message", "strong"))
            about.sentence(self.conversation.system, "text")
        about.end()
        self.refresh_keys()

    def _show_speed(self) -> None:
        if self.stream is not None:
            rate = self.stream.tokens_per_second()
            written = f"{self.stream.tokens} tokens" + (f", {rate:.1f} tokens/s" if rate else "")
            self.query_one(Status).say(written if self.stream.tokens else "reading what was said ...")
            return
        if self.model is not None and self.process is None and self._opening > 0:
            self.query_one(Status).say("being opened: what you send is answered once it is there")
            return
        drawn = self.conversation.sampling
        settings = f"temperature {drawn.temperature:g}, top_p {drawn.top_p:g}, max_tokens {drawn.max_tokens}"
        # Where there is room, the settings stand beside the talk.
        self.query_one(Status).say(settings if self.has_class("-narrow") else "")

    def _note(self, text: str, speaker: str = "note") -> None:
        self.query_one(Transcript).say(speaker, text)

    def _show_turns(self) -> None:
        turns = [(turn["role"], turn["content"]) for turn in self.conversation.turns]
        self.query_one(Transcript).show(turns)

    # ------------------------------------------------------------------ the model

    def open(self, model: ChatModel) -> None:
        """Start the model's process, in place of the one that is open."""
        self._opening = abs(self._opening) + 1
        self.model, old, self.process = model, self.process, None
        self.conversation.model = model.name
        self._show_state()
        self.run_worker(self._open(model, old, self._opening), exit_on_error=True)

    async def _open(self, model: ChatModel, old: ModelProcess | None, number: int) -> None:
        def start() -> ModelProcess:
            process = ModelProcess(model.engine, model.path)
            if self._left:  # while it was being opened: nobody waits for this any more
                process.close()
            return process

        if old is not None:
            await asyncio.to_thread(old.close)
        try:
            process = await asyncio.to_thread(start)
        except WorkbenchError as error:
            if number == self._opening:
                self._opening = -number
                self._note(str(error), "error")
                self._show_state()
            return
        if number != self._opening:
            await asyncio.to_thread(process.close)
            return
        self.process = process
        if process.chat_template is None:
            self._note(f"{model.name} is a base model: it continues your text.")
        if self.conversation.awaits_answer and self.stream is None:
            self._answer()
        self._show_state()

    def _answer(self) -> None:
        """Stream the answer that the conversation awaits."""
        assert self.process is not None
        self.stream = Stream(max_tokens=self.conversation.sampling.max_tokens)
        self.query_one(Transcript).say("assistant")
        self.run_worker(self._stream(self.process, self.stream), exit_on_error=True)

    async def _stream(self, process: ModelProcess, stream: Stream) -> None:
        pause = REMOTE_REPAINT_SECONDS if self.app.remote else REPAINT_SECONDS
        beat = self.set_interval(pause, self._repaint)
        self._show_state()
        problem = await stream.fill(process, self.conversation.messages(), self.conversation.sampling)
        beat.stop()
        self._repaint()
        self.conversation.answer("".join(stream.pieces))
        self.stream = None
        if problem is not None:
            begin = " /new does that." if "new conversation" in problem.remedy else ""
            self._note(f"{problem}{begin}", "error")
            await self._look_after(process)
        else:
            self._note(stream.summary())
        self._show_state()

    async def _look_after(self, process: ModelProcess) -> None:
        """After an error: a process that is gone is let go of; the next question opens the model again."""
        try:
            await asyncio.to_thread(process.tokenize, "")
        except WorkbenchError:
            await asyncio.to_thread(process.close)
            if self.process is process:
                self.process, self._opening = None, -abs(self._opening)

    def _repaint(self) -> None:
        if self.stream is not None and (text := self.stream.fresh()):
            self.query_one(Transcript).add(text)
        self._show_speed()

    def _ask(self) -> None:
        """Have the last question answered, opening the model again if it was closed."""
        if self.process is not None:
            self._answer()
        elif self.model is not None and self._opening <= 0:
            self.open(self.model)
