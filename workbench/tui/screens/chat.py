"""Chat: a conversation with a model that runs in a process of its own."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widgets import Static

from workbench.chat import commands
from workbench.chat.conversation import SETTINGS, Conversation
from workbench.chat.process import Answer, ModelProcess
from workbench.errors import WorkbenchError
from workbench.registry import CHATS_WITH
from workbench.safe_text import Stripper
from workbench.tui import actions, chat_models, safe
from workbench.tui.chat_models import ChatModel
from workbench.tui.live import Changes
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.widgets.ask import AskArea
from workbench.tui.widgets.empty import Empty
from workbench.tui.widgets.painted import Painted
from workbench.tui.widgets.sections import Sections
from workbench.tui.widgets.table import Column, Table
from workbench.tui.widgets.transcript import Transcript

REPAINT_SECONDS = 1 / 12
REMOTE_REPAINT_SECONDS = 0.7  # over SSH: a screen of text is 2 to 5 KB


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
    finish: str = ""
    stopped: bool = False

    def tokens_per_second(self) -> float | None:
        """Between the first token and the last; None for less than two."""
        return (self.tokens - 1) / (self.last - self.began) if self.tokens > 1 and self.last > self.began else None

    def read(self) -> None:
        """On a thread: take all tokens, until the end or a stop."""
        assert self.answer is not None
        for token in self.answer:
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
        how = {"length": ", cut at max_tokens or the context's end", "stop": ""}.get(self.finish, "")
        return f"{self.tokens} token{'s' if self.tokens != 1 else ''}{speed}{', stopped' if self.stopped else how}"


class Status(Painted, Static):
    """The line between what was said and what is being written. A line of its own: a figure in the pane's border
    would repaint the whole pane, 10 KB at 120x36 instead of 300 bytes."""

    DEFAULT_CSS = "Status { height: 1; text-align: right; }"

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.sentence = ""

    def say(self, sentence: str) -> None:
        if sentence != self.sentence:
            self.sentence = sentence
            self.refresh()

    def render(self) -> Text:
        return self.assemble((self.sentence, "muted"))


class ChatScreen(WorkbenchScreen):
    """Wide: the conversation, and beside it the model and its settings. Narrow: the settings behind `t`."""

    PLACE = "chat"
    BINDINGS = actions.bindings("chat")
    DEFAULT_CSS = """
    ChatScreen #none { display: none; }
    ChatScreen.-empty #none { display: block; }
    ChatScreen.-empty #chat { display: none; }
    ChatScreen #chat { height: 1fr; }
    ChatScreen #talk { height: 1fr; }
    ChatScreen #side { display: none; }
    ChatScreen.-settings #side { display: block; height: auto; }
    ChatScreen #settings { height: auto; }
    ChatScreen #settings Table { height: 8; }
    ChatScreen #about { display: none; height: 1fr; }
    ChatScreen.-wide #chat, ChatScreen.-very-wide #chat { layout: horizontal; }
    ChatScreen.-wide #side, ChatScreen.-very-wide #side { display: block; width: 38; height: 100%; }
    ChatScreen.-very-wide #side { width: 48; }
    ChatScreen.-wide #about, ChatScreen.-very-wide #about { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.conversation = Conversation()
        self.model: ChatModel | None = None
        self.process: ModelProcess | None = None
        self.stream: Stream | None = None
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
        exports = [model for model in known if model.engine == "llamacpp"]
        if self.model is None and self._opening == 0 and exports:
            self.open(exports[0])
        self._show_state()

    def _say_what_to_do(self) -> None:
        live, none = self.app.live, self.query_one("#none", Empty)
        assert live is not None
        going = next((run for run in live.active() if run.produces in CHATS_WITH), None)
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
        if old is not None:
            await asyncio.to_thread(old.close)
        try:
            process = await asyncio.to_thread(ModelProcess, model.engine, model.path)
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
        self.stream = Stream()
        self.query_one(Transcript).say("assistant")
        self.run_worker(self._stream(self.process, self.stream), exit_on_error=True)

    async def _stream(self, process: ModelProcess, stream: Stream) -> None:
        pause = REMOTE_REPAINT_SECONDS if self.app.remote else REPAINT_SECONDS
        beat = self.set_interval(pause, self._repaint)
        self._show_state()
        problem: WorkbenchError | None = None
        try:
            prompt = await asyncio.to_thread(process.render, self.conversation.messages())
            if not stream.stopped:
                stream.answer = process.generate([prompt], self.conversation.sampling)
                await asyncio.to_thread(stream.read)
        except WorkbenchError as error:
            problem = error
        finally:
            beat.stop()
        self._repaint()
        self.conversation.answer("".join(stream.pieces))
        self.stream = None
        if problem is not None:
            self._note(str(problem), "error")
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

    # ------------------------------------------------------------------ the line

    def on_ask_area_sent(self, event: AskArea.Sent) -> None:
        line, ask = event.text, self.query_one(AskArea)
        if not line.strip():
            return
        if self.stream is not None:
            self.app.tell("An answer is being written: Esc stops it.", severity="warning")
            return
        try:
            command = commands.parse(line)
        except WorkbenchError as error:
            self._note(str(error), "error")
            return
        if command is None and self.model is None:
            self.app.tell("Choose a model first: Esc, then m.", severity="warning")
            return
        ask.remember(line)
        ask.offer("")
        if command is not None:
            self._obey(command)
            return
        text = commands.text_of(line)
        joined = self.conversation.awaits_answer
        self.conversation.ask(text)
        if joined:
            self._show_turns()
        else:
            self.query_one(Transcript).say("user", text)
        self._ask()

    def on_ask_area_left(self) -> None:
        if self.stream is not None:
            self.do_stop()
        else:
            self.query_one(Transcript).focus()

    def _ask(self) -> None:
        """Have the last question answered, opening the model again if it was closed."""
        if self.process is not None:
            self._answer()
        elif self.model is not None and self._opening <= 0:
            self.open(self.model)

    def _obey(self, command: commands.Command) -> None:
        project = self.app.project
        assert project is not None
        try:
            outcome = commands.apply(command, self.conversation, folder=project.root)
        except WorkbenchError as error:
            self._note(str(error), "error")
            return
        if outcome.next in ("answer", "cleared", "undone"):
            self._show_turns()
        if outcome.text:
            self._note(outcome.text)
        if outcome.next == "undone":
            self.query_one(AskArea).offer(outcome.question)
        elif outcome.next == "answer":
            self._ask()
        elif outcome.next == "quit":
            self.do_close()
            self.app.go("models")
        self.query_one(Table).refresh()
        self._show_state()

    # ------------------------------------------------------------------ actions

    def why_not_stop(self, _: str = "") -> str | None:
        return None if self.stream is not None else "No answer is being written."

    def do_stop(self, _: str = "") -> None:
        assert self.stream is not None
        self.stream.stopped = True
        if self.stream.answer is not None:
            self.stream.answer.stop()

    def why_not_write(self, _: str = "") -> str | None:
        return None if self.model is not None else "No model is open: m chooses one."

    def do_write(self, _: str = "") -> None:
        self.query_one(AskArea).focus()

    def why_not_model(self, _: str = "") -> str | None:
        return "An answer is being written: Esc stops it." if self.stream is not None else None

    def do_model(self, argument: str = "") -> None:
        live, project = self.app.live, self.app.project
        assert live is not None
        assert project is not None
        if argument:
            self.open(chat_models.find(project, live.artifacts, argument))
            self.remove_class("-empty")
            self.query_one(AskArea).focus()
            return
        known = self.models
        if not known:
            self.app.ask_line("Open the GGUF file", lambda path: self.do_model(path) if path else None, hint="its path")
            return
        from workbench.tui.screens.menu import Choice, Menu

        choices = [Choice(model.id, (), "", safe.line(model.name), safe.line(model.about)) for model in known]
        menu = Menu("Talk to", choices, chosen=self.model.id if self.model else "")
        self.app.push_screen(menu, lambda chosen: self.do_model(chosen) if chosen else None)

    def do_settings(self, argument: str = "") -> None:
        if argument:
            self._note(self._set(argument))
            return
        table = self.query_one(Table)
        if self.has_class("-narrow"):
            self.toggle_class("-settings")
        if table.has_focus or not self.query_one("#side").display:
            self.query_one(AskArea).focus()
        else:
            self.call_after_refresh(table.focus)

    def _set(self, argument: str) -> str:
        key, _, value = argument.partition(" ")
        said = self.conversation.set(key, value)
        self.query_one(Table).refresh()
        self._show_speed()
        return said

    def on_table_opened(self, event: Table.Opened) -> None:
        name: str = event.row
        value: Any = getattr(self.conversation.sampling, name)
        shown = "none" if value in (None, ()) else value[0] if isinstance(value, tuple) else str(value)

        def change(text: str) -> None:
            try:
                self._set(f"{name} {text}")
            except WorkbenchError as error:
                self.app.show_error(error)

        self.app.ask_line(f"{name}: {SETTINGS[name].help}", change, value=shown)

    def _why_not_turn(self, _: str = "") -> str | None:
        if self.stream is not None:
            return "An answer is being written: Esc stops it."
        return None if self.conversation.turns else "Nothing was said yet."

    why_not_retry = why_not_undo = why_not_clear = why_not_save = _why_not_turn

    def do_retry(self, _: str = "") -> None:
        self._obey(commands.Command("retry"))

    def do_undo(self, _: str = "") -> None:
        self._obey(commands.Command("undo"))
        self.query_one(AskArea).focus()

    def do_clear(self, _: str = "") -> None:
        self._obey(commands.Command("new"))

    def do_save(self, argument: str = "") -> None:
        self._obey(commands.Command("save", argument))

    def why_not_close(self, _: str = "") -> str | None:
        return None if self.process is not None else "No model is open."

    def do_close(self, _: str = "") -> None:
        if self.stream is not None:
            self.do_stop()
        process, self.process, self._opening = self.process, None, -abs(self._opening)
        if process is not None:
            self.app.in_background(process.close)
        self._show_state()
