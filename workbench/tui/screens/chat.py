"""Chat: the line to the model, and what can be done in a talk."""

from __future__ import annotations

import shlex
from typing import Any

from workbench.chat import commands
from workbench.chat.conversation import SETTINGS
from workbench.errors import WorkbenchError
from workbench.tui import actions, chat_models, safe
from workbench.tui.screens.talk import Talk
from workbench.tui.stages import split_words
from workbench.tui.widgets.ask import AskArea
from workbench.tui.widgets.table import Table
from workbench.tui.widgets.transcript import Transcript

ELSEWHERE = "elsewhere:"  # no id of an artifact has a colon


class ChatScreen(Talk):
    """Answers to keys and commands."""

    PLACE = "chat"
    BINDINGS = actions.bindings("chat")

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

    def _obey(self, command: commands.Command) -> None:
        project = self.app.project
        assert project is not None
        before = list(self.conversation.turns)
        try:
            outcome = commands.apply(command, self.conversation, folder=project.root)
        except WorkbenchError as error:
            self._note(str(error), "error")
            return
        if outcome.next == "cleared":
            self.cleared = before
        if outcome.next in ("answer", "cleared", "undone"):
            self._show_turns()
        if outcome.text:
            self._note(outcome.text)
        if outcome.next == "undone":
            ask = self.query_one(AskArea)
            ask.offer(outcome.question)
            ask.select_all()  # another question, or a command, takes its place
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
            self._ask_for_a_file()
            return
        from workbench.tui.screens.menu import Choice, Menu

        choices = [Choice(model.id, (), "", safe.line(model.name), safe.line(model.about)) for model in known]
        choices.append(Choice(ELSEWHERE, (), "", "a GGUF file", "from elsewhere, by its path"))
        menu = Menu("Talk to", choices, chosen=self.model.id if self.model else "")
        self.app.push_screen(menu, self._chosen)

    def _chosen(self, model: str | None) -> None:
        if model == ELSEWHERE:
            self._ask_for_a_file()
        elif model:
            self.do_model(model)

    def why_not_engine(self, _: str = "") -> str | None:
        return self.why_not_write() or self.why_not_model()

    def do_engine(self, argument: str = "") -> None:
        assert self.model is not None
        if argument:
            self.open(self.model.with_engine(argument))
            return
        from workbench.tui.screens.menu import Choice, Menu

        choices = [
            Choice(name, (), "", name, safe.line(devices), why_not and safe.line(why_not))
            for name, devices, why_not in chat_models.engines_of(self.model)
        ]
        menu = Menu(f"Open {safe.line(self.model.name)} with", choices, chosen=self.model.engine)
        self.app.push_screen(menu, lambda name: self.do_engine(name) if name else None)

    def _ask_for_a_file(self) -> None:
        self.app.ask_line("Open the GGUF file", lambda path: self.do_model(path) if path else None, hint="its path")

    def why_not_side_by_side(self, argument: str = "") -> str | None:
        if self.stream is not None:
            return "An answer is being written: Esc stops it."
        if argument or self.models:
            return None
        return "There is no model yet. Two files are given as :side-by-side A.gguf B.gguf."

    def do_side_by_side(self, argument: str = "") -> None:
        live, project = self.app.live, self.app.project
        assert live is not None
        assert project is not None
        names = split_words(argument)
        if len(names) == 2:
            self._show_side_by_side([chat_models.find(project, live.artifacts, name) for name in names])
            return
        if names:
            raise WorkbenchError(f"{len(names)} models were given.", "Give two: side-by-side A B")
        from workbench.tui.screens.menu import Choice, Menu

        choices = [Choice(model.id, (), "", safe.line(model.name), safe.line(model.about)) for model in self.models]
        first = self.model.id if self.model else ""

        def second(one: str | None) -> None:
            if one:
                self.app.push_screen(
                    Menu("... and B", choices),
                    lambda two: self.do_side_by_side(shlex.join([one, two])) if two else None,
                )

        self.app.push_screen(Menu("Side by side: A", choices, chosen=first), second)

    def _show_side_by_side(self, models: list[chat_models.ChatModel]) -> None:
        from workbench.tui.screens.side_by_side import SideBySideScreen

        talk = self.conversation

        def back(_: None) -> None:
            """Esc is pressed there to leave a line: on the line here, the next keys would be typed."""
            self.query_one(Transcript).focus()

        self.app.push_screen(SideBySideScreen(models, sampling=talk.sampling, system=talk.system), back)

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

    why_not_retry = why_not_clear = why_not_save = _why_not_turn

    def why_not_undo(self, _: str = "") -> str | None:
        return self._why_not_turn() if self.stream is not None or not self.cleared else None

    def do_retry(self, _: str = "") -> None:
        self._obey(commands.Command("retry"))

    def do_undo(self, _: str = "") -> None:
        if not self.conversation.turns:
            self.conversation.turns, self.cleared = self.cleared, []
            self._show_turns()
            self._show_state()
            return
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
