"""A conversation: what was said, the system message, and how answers are drawn."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.contract import Message, Sampling
from workbench.errors import WorkbenchError

FORMAT = 1


@dataclass(slots=True)
class Conversation:
    """Turns alternate between "user" and "assistant"; the last may be the user's, not yet answered."""

    model: str = ""  # the export's name, for the reader of a saved file
    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    turns: list[dict[str, str]] = field(default_factory=list)

    def messages(self) -> list[Message]:
        """What the model is given: the system message, if any, then all turns."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.turns]

    @property
    def awaits_answer(self) -> bool:
        return bool(self.turns) and self.turns[-1]["role"] == "user"

    def ask(self, text: str) -> None:
        """Add the user's turn; to one that was never answered it is appended, as templates want turns to alternate."""
        if self.awaits_answer:
            self.turns[-1]["content"] += "\n\n" + text
        else:
            self.turns.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """Add the model's turn, whole or as far as it came. An empty one is left out, so that a retry can follow."""
        if text:
            self.turns.append({"role": "assistant", "content": text})

    def retry(self) -> None:
        """Take back the last answer, so that the question awaits another.

        Raises `WorkbenchError` if nothing was asked.
        """
        if not self.turns:
            raise WorkbenchError("There is nothing to answer again.", "Ask something first.")
        if not self.awaits_answer:
            self.turns.pop()

    def undo(self) -> str:
        """Take back the last question and its answer; answers with the question.

        Raises `WorkbenchError` if nothing was asked.
        """
        if not self.turns:
            raise WorkbenchError("There is nothing to undo.", "Ask something first.")
        if not self.awaits_answer:
            self.turns.pop()
        return self.turns.pop()["content"]

    def clear(self) -> None:
        """Forget all turns; the system message and the settings stay."""
        self.turns.clear()

    def set(self, key: str, value: str) -> str:
        """Change a sampling setting from its text; answers with what it is now.

        Raises `WorkbenchError` naming the nearest key, or what the value must be.
        """
        if key not in SETTINGS:
            near = difflib.get_close_matches(key, SETTINGS, 1, cutoff=0.5)
            remedy = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(SETTINGS)}."
            raise WorkbenchError(f"There is no setting called {key!r}.", remedy)
        setting = SETTINGS[key]
        try:
            parsed = setting.parse(value.strip())
        except (ValueError, TypeError):
            parsed = None
            valid = False
        else:
            valid = setting.holds(parsed)
        if not valid:
            raise WorkbenchError(f"{key} cannot be {value!r}.", f"It is {setting.help}.")
        self.sampling = replace(self.sampling, **{key: parsed})
        return f"{key} is {shown(getattr(self.sampling, key))}"

    def save(self, path: Path) -> None:
        """Write it as JSON; an earlier file is replaced whole.

        Raises `WorkbenchError` if it cannot be written there.
        """
        plain = {"format": FORMAT, "model": self.model, "system": self.system}
        try:
            durable.write_json(path, {**plain, "sampling": asdict(self.sampling), "turns": self.turns})
        except OSError as error:
            raise WorkbenchError(
                f"The conversation cannot be saved to {path}: {error.strerror or error}.", "Choose another place."
            ) from None

    @classmethod
    def load(cls, path: Path) -> Conversation:
        """Read a saved conversation. Raises `WorkbenchError` if the file is not one."""
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            known = {item.name for item in fields(Sampling)}
            sampling: dict[str, Any] = {key: value for key, value in plain["sampling"].items() if key in known}
            sampling["stop"] = tuple(sampling.get("stop", ()))
            turns = [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in plain["turns"]]
            return cls(plain["model"], plain["system"], Sampling(**sampling), turns)
        except OSError as error:
            raise WorkbenchError(f"{path} cannot be read: {error.strerror}.", "Check its name.") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise WorkbenchError(f"{path} is not a saved conversation.", "Choose a file that /save wrote.") from None


@dataclass(frozen=True, slots=True)
class Setting:
    """One of `Sampling`'s fields as a person types it."""

    parse: Callable[[str], Any]
    holds: Callable[[Any], bool]
    help: str


def shown(value: Any) -> str:
    """A setting's value as a person would type it."""
    if isinstance(value, tuple):
        return ", ".join(json.dumps(text, ensure_ascii=False) for text in value) or "none"
    return "none, another draw each time" if value is None else str(value)


def _optional_integer(text: str) -> int | None:
    return None if text.lower() in ("none", "random") else int(text)


def _texts(text: str) -> tuple[str, ...]:
    """A JSON list, `none`, or one text in which \\n and \\t stand for themselves."""
    if text.lower() == "none":
        return ()
    if text.startswith("["):
        return tuple(str(item) for item in json.loads(text))
    return (text.replace("\\n", "\n").replace("\\t", "\t"),)


SETTINGS: dict[str, Setting] = {
    "max_tokens": Setting(int, lambda value: value >= 1, "a whole number of tokens, 1 or more"),
    "temperature": Setting(
        float, lambda value: 0 <= value <= 5, "a number from 0, which takes the likeliest, to 5, which draws at random"
    ),
    "top_p": Setting(float, lambda value: 0 < value <= 1, "a share above 0, at most 1, which keeps all"),
    "top_k": Setting(int, lambda value: value >= 0, "a whole number of tokens; 0 keeps all"),
    "min_p": Setting(float, lambda value: 0 <= value <= 1, "a share of the likeliest token's, from 0 to 1"),
    "repetition_penalty": Setting(float, lambda value: 0 < value <= 10, "a number above 0; 1 does nothing"),
    "seed": Setting(
        _optional_integer,
        lambda value: value is None or 0 <= value < 2**63,
        "a whole number from 0, or none for another draw each time",
    ),
    "stop": Setting(_texts, lambda value: all(value), 'a text that ends the answer, ["several", "texts"], or none'),
}
