"""How it looks: the three themes, and the symbol, word and colour of every state."""

from __future__ import annotations

from dataclasses import dataclass

from textual.theme import Theme

DARK = Theme(
    name="workbench-dark",
    dark=True,
    primary="#7aa2d8",
    secondary="#9d8cc9",
    accent="#e0a458",
    success="#7fb685",
    warning="#e0a458",
    error="#e07a6d",
    foreground="#d5dae1",
    background="#14171c",
    surface="#14171c",
    panel="#20252d",
    boost="#20252d",
    variables={
        "muted": "#8a94a3",
        "line": "#343b47",
        "bar": "#1b1f26",
        "cursor": "#2b3a50",
        "cursor-blurred": "#232a34",
        "block-cursor-background": "#2b3a50",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "none",
        "input-selection-background": "#3a4f6d",
        "scrollbar": "#343b47",
        "scrollbar-hover": "#4a5464",
        "scrollbar-active": "#5d697c",
        "scrollbar-background": "#14171c",
        "scrollbar-background-hover": "#14171c",
        "scrollbar-background-active": "#14171c",
        "scrollbar-corner-color": "#14171c",
    },
)

LIGHT = Theme(
    name="workbench-light",
    dark=False,
    primary="#2a5d9f",
    secondary="#6a4fa3",
    accent="#9a5b00",
    success="#22693a",
    warning="#9a5b00",
    error="#b3352a",
    foreground="#22272e",
    background="#fbfaf8",
    surface="#fbfaf8",
    panel="#eeece7",
    boost="#eeece7",
    variables={
        "muted": "#5e6671",
        "line": "#cfcbc2",
        "bar": "#f1efea",
        "cursor": "#d5e2f3",
        "cursor-blurred": "#e9ecef",
        "block-cursor-background": "#d5e2f3",
        "block-cursor-foreground": "#14171c",
        "block-cursor-text-style": "none",
        "input-selection-background": "#c3d6ee",
        "scrollbar": "#cfcbc2",
        "scrollbar-hover": "#b5b0a5",
        "scrollbar-active": "#98938a",
        "scrollbar-background": "#fbfaf8",
        "scrollbar-background-hover": "#fbfaf8",
        "scrollbar-background-active": "#fbfaf8",
        "scrollbar-corner-color": "#fbfaf8",
    },
)

# The terminal's own sixteen colours: right on any background, and what NO_COLOR is taken away from.
ANSI = Theme(
    name="workbench-ansi",
    ansi=True,
    dark=True,
    primary="ansi_blue",
    secondary="ansi_magenta",
    accent="ansi_yellow",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    variables={
        "muted": "ansi_default",
        "line": "ansi_default",
        "bar": "ansi_default",
        "cursor": "ansi_default",
        "cursor-blurred": "ansi_default",
        "block-cursor-background": "ansi_default",
        "block-cursor-foreground": "ansi_default",
        "block-cursor-text-style": "reverse",
        "border": "ansi_default",
        "border-blurred": "ansi_default",
        "ansi-background": "ansi_black",
        "ansi-foreground": "ansi_white",
        "input-cursor-text-style": "reverse",
        "input-selection-background": "ansi_blue",
        "scrollbar-background": "ansi_default",
        "scrollbar-background-hover": "ansi_default",
        "scrollbar-background-active": "ansi_default",
        "scrollbar-corner-color": "ansi_default",
    },
)

THEMES = {"dark": DARK, "light": LIGHT, "ansi": ANSI}


@dataclass(frozen=True, slots=True)
class Look:
    """`style` is the name of a component class of `widgets.painted.Painted`."""

    symbol: str
    plain: str  # the symbol where only ASCII can be shown
    word: str
    style: str


STATES = {
    "queued": Look("○", "o", "queued", "muted"),
    "running": Look("●", "*", "running", "busy"),
    "stopping": Look("◐", "~", "stopping", "busy"),
    "stopped": Look("■", "#", "stopped", "warn"),
    "failed": Look("✗", "x", "failed", "bad"),
    "lost": Look("?", "?", "lost", "bad"),
    "finished": Look("✓", "+", "finished", "good"),
    "made": Look("✓", "+", "made", "good"),
    "stale": Look("△", "!", "stale", "warn"),
    "missing": Look("·", ".", "not made yet", "muted"),
}


def look(state: str) -> Look:
    """How a state is shown; an unknown one (of a newer program) by its own word."""
    return STATES.get(state) or Look("?", "?", state, "muted")


def symbol(state: str, *, ascii: bool) -> str:
    found = look(state)
    return found.plain if ascii else found.symbol
