"""Drives the program in tests: waits for what it does beside the screen, reads what is on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

SIZES = [(80, 24), (120, 36), (200, 50)]

NAMES = {
    " ": "space", "/": "slash", ".": "full_stop", ":": "colon", "-": "minus", "_": "underscore", "?": "question_mark",
    ",": "comma", "'": "apostrophe", '"': "quotation_mark", "=": "equals_sign", "\n": "ctrl+j", "*": "asterisk",
}  # fmt: skip


async def until(pilot: Pilot[Any], condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Let the program go on until `condition()` holds; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain; on the screen:\n{text_of(pilot)}"
        await pilot.pause(0.03)
    await pilot.pause()


async def typed(pilot: Pilot[Any], text: str) -> None:
    """Press the keys of `text`, one by one."""
    for character in text:
        await pilot.press(NAMES.get(character, character))


async def loaded(pilot: Pilot[Any]) -> None:
    """The project is read."""
    await until(pilot, lambda: pilot.app.live.loaded)  # type: ignore[attr-defined]


def text_of(pilot: Pilot[Any]) -> str:
    """What is on the screen, as plain lines."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def words_of(pilot: Pilot[Any]) -> str:
    """What is on the screen with single spaces, without the lines of boxes: for sentences that wrap."""
    return " ".join(word for word in text_of(pilot).split() if not set(word) <= set("│─╭╮╰╯▃▇▁"))
