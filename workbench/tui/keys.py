"""Keys that come faster than screens open: typed ahead, pasted by a terminal multiplexer, held up by a slow line."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen

PATIENCE = 10.0  # seconds for what a key does, before the next one goes on regardless: a busy machine takes three
WHILE = 0.01  # seconds between looks at whether a dialog has the focus


class KeyQueue:
    """Hands one key on at a time.

    Textual hands a key to what has the focus when it comes in. Of ":import", typed at once, the letters would go to
    the screen that the colon is about to cover, and come late or in another order, or not at all.
    """

    def __init__(self, app: App[Any], hand_on: Callable[[events.Key], Awaitable[None]]):
        self._app, self._hand_on = app, hand_on
        self._waiting: deque[events.Key] = deque()
        self._turn = 0  # counts the keys: what an earlier one still calls is of no account
        self._since: float | None = None  # a key is on its way since then

    async def take(self, key: events.Key) -> None:
        """Hand the key on, at once or in its turn."""
        self._waiting.append(key)
        if self._since is None or time.monotonic() - self._since > PATIENCE:
            await self._next()

    async def _next(self) -> None:
        if not self._waiting:
            self._since = None
            return
        self._turn += 1
        self._since = time.monotonic()
        screen = self._app.screen
        target = screen.focused or screen
        await self._hand_on(self._waiting.popleft())
        self._follow(target, screen, self._turn)

    def _follow(self, node: DOMNode, screen: Screen[Any], turn: int) -> None:
        """Behind the key, through the queues of all that it may bubble to, up to the app's."""
        parent = node.parent
        if not isinstance(parent, DOMNode) or not node.call_later(self._follow, parent, screen, turn):
            self._app.call_later(self._settle, screen, turn)

    def _settle(self, screen: Screen[Any], turn: int) -> None:
        """A screen that came to the front is first laid out, then it says where the focus is."""
        if turn != self._turn:
            return
        front = self._app.screen
        if front is screen and isinstance(front, ModalScreen) and front.focused is None and front.focus_chain:
            front.set_timer(WHILE, partial(self._settle, front, turn))  # it has yet to say where keys go
        elif front is screen:
            self._app.call_later(self._next)
        else:
            front.call_after_refresh(front.call_after_refresh, self._app.call_later, self._settle, front, turn)
