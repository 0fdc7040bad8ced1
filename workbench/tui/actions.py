"""The one registry of actions: it feeds the keys, the footer, the command line, the palette, the `.` menu, the help
and the documentation.

An action belongs to a place. Whoever is that place (a screen or a widget with the class variable `PLACE`;
the app for "everywhere") carries it out in `do_<verb>(argument)`, and says in `why_not_<verb>(argument)`,
if it has that, why it cannot be done now: one sentence, or None.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.binding import Binding

from workbench.tui.action_list import ACTIONS, Action
from workbench.tui.places import BY_ID, PARTS, PLACES, SCREENS

if TYPE_CHECKING:
    from textual.dom import DOMNode

BY_ACTION = {action.id: action for action in ACTIONS}

KEY_NAMES = {
    "slash": "/", "full_stop": ".", "colon": ":", "question_mark": "?", "plus": "+", "space": "Space",
    "escape": "Esc", "enter": "Enter", "up": "↑", "down": "↓", "left": "←", "right": "→", "pageup": "PgUp",
    "pagedown": "PgDn", "home": "Home", "end": "End", "tab": "Tab", "equals_sign": "=", "backspace": "Backspace",
    "less_than_sign": "<", "greater_than_sign": ">",
}  # fmt: skip
WRITTEN_KEYS = ("slash", "full_stop", "colon", "question_mark", "plus", "space", "equals_sign", "less_than_sign",
                "greater_than_sign")  # fmt: skip
PLAIN_KEY_NAMES = {"up": "Up", "down": "Down", "left": "Left", "right": "Right"}


def shown_key(action: Action, *, ascii: bool = False) -> str:
    """The key as it is printed on keyboards; "" for an action without one."""
    names = KEY_NAMES | (PLAIN_KEY_NAMES if ascii else {})
    return " ".join(names.get(key, key) for key in action.key.split(",") if key)


def types_a_character(action: Action) -> bool:
    """Whether its key writes into a line that has the focus, instead of doing it."""
    return any(len(key) == 1 or key in WRITTEN_KEYS for key in action.key.split(","))


def of(place: str) -> list[Action]:
    return [action for action in ACTIONS if action.place == place]


def bindings(place: str) -> list[Any]:
    """Textual's bindings for whoever is `place`: the value of its class variable `BINDINGS`."""
    return [
        Binding(action.key, f"app.perform('{action.id}')", action.title, show=False)
        for action in of(place)
        if action.key
    ]


def reason(owner: DOMNode, action: Action, argument: str = "") -> str | None:
    """Why `owner` cannot do it now, in a sentence; None if it can."""
    why_not = getattr(owner, f"why_not_{action.method}", None)
    return why_not(argument) if why_not else None


def as_offered(owner: DOMNode, action: Action) -> Action:
    """With the title that `title_<verb>()` of `owner` gives, if it has that: one key may do now this, now that."""
    title = getattr(owner, f"title_{action.method}", None)
    return replace(action, title=title()) if title else action


def places_of(node: DOMNode | None) -> list[tuple[str, DOMNode]]:
    """Each place that has the focus, innermost first, with who is that place."""
    found: list[tuple[str, DOMNode]] = []
    while node is not None:
        place = getattr(node, "PLACE", "")
        if place and place not in [name for name, _ in found]:
            found.append((place, node))
        node = node.parent
    return found


def named(word: str, active: Iterable[str] = ()) -> Action | None:
    """The action that the first word of a command means: of the active places first, then of any."""
    wanted = word.strip().lower()
    return next((action for action in commands(active) if wanted in (action.verb, action.id)), None)


def commands(active: Iterable[str]) -> list[Action]:
    """What can be typed: the actions of the active places, then those of everywhere and of the other screens."""
    ranked = [place for place in active if place not in PARTS] + ["everywhere", *(place.id for place in SCREENS)]
    return [action for place in dict.fromkeys(ranked) for action in of(place)]


def keys_table() -> str:
    """All actions as Markdown, a table a place."""
    parts = ["`g` and a letter: " + ", ".join(f"`g {place.letter}` {place.title}" for place in SCREENS) + "."]
    for place in PLACES:
        rows = [
            f"| {f'`{shown_key(action)}`' if action.key else ''} | `:{f'{action.verb} {action.argument}'.strip()}` "
            f"| {action.help} |".replace("dark|light|ansi", "dark, light, ansi")
            for action in of(place.id)
        ]
        parts += [
            f"**{place.title}.** {place.help}",
            "\n".join(["| Key | Command | What it does |", "|---|---|---|", *rows]),
        ]
    return "\n\n".join(parts) + "\n"


def title_of(place: str) -> str:
    return BY_ID[place].title
