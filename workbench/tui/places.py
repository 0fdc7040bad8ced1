"""Where one can be: the screens, and the parts of them that have keys of their own."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.tui.screens.base import WorkbenchScreen


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A screen has a `letter` (pressed after `g`) and a `target` that is imported when it is first shown."""

    id: str
    title: str
    help: str
    letter: str = ""
    target: str = ""  # "module:Class" under workbench.tui.screens
    part: bool = False  # of a screen, for moving in it: no commands, and not in menus
    needs_project: bool = True

    def make(self) -> WorkbenchScreen:
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(f"workbench.tui.screens.{module}"), name)()


PLACES = (
    Place(id="everywhere", title="Everywhere", help="These work on every screen."),
    Place(
        id="start",
        title="Start",
        help="The projects that you opened lately, and ways to begin a new one.",
        letter="s",
        target="start:StartScreen",
        needs_project=False,
    ),
    Place(
        id="map",
        title="Map",
        help="The road from raw text to a model that you chat with: what is made, what is stale, what comes next.",
        letter="m",
        target="map:MapScreen",
    ),
    Place(
        id="runs",
        title="Runs",
        help="Everything that was started. Runs live on their own: closing this program or the terminal stops none.",
        letter="r",
        target="runs:RunsScreen",
    ),
    Place(
        id="data",
        title="Data",
        help="Text, conversations, preferences and answers: what there is, row by row, and what is trained on, token "
        "by token.",
        letter="d",
        target="data:DataScreen",
    ),
    Place(
        id="models",
        title="Models",
        help="The models and what was made from each, with their figures and where they come from.",
        letter="o",
        target="models:ModelsScreen",
    ),
    Place(
        id="chat",
        title="Chat",
        help="Talk to a model. It runs in a process of its own: whatever happens to it, nothing else stops.",
        letter="c",
        target="chat:ChatScreen",
    ),
    Place(
        id="arena",
        title="Arena",
        help="Answers to rank: which is better? What you say trains a reward model, or a model directly.",
        letter="a",
        target="arena:ArenaScreen",
    ),
    Place(
        id="bench",
        title="Bench",
        help="Benchmarks: models and tasks side by side, with how sure a score is, and which differences are real.",
        letter="b",
        target="bench:BenchScreen",
    ),
    Place(id="items", title="Items", help="One task, item by item: what two models made of the same questions."),
    Place(id="history", title="History", help="A model's score over the steps of its training."),
    Place(
        id="ranking",
        title="Pairs",
        help="Two answers to a prompt: which is better? Who wrote them is said after the verdict.",
    ),
    Place(id="ordering", title="Sets", help="All answers to a prompt, to be put in order, the best first."),
    Place(
        id="side",
        title="Two models",
        help="One line goes to two models, with the same settings and the same seed; each runs in its own process.",
    ),
    Place(id="records", title="Rows", help="One set of data, row by row."),
    Place(
        id="rejects",
        title="Funnel",
        help="What cleaning did to a corpus, step by step: examples, with the place in the text "
        "and the rule's numbers.",
    ),
    Place(id="clusters", title="Duplicates", help="Near duplicates of a corpus: what was kept beside what was not."),
    Place(id="document", title="Document", help="A document as the tokens that a tokenizer makes of it."),
    Place(
        id="inspector",
        title="Inspector",
        help="The batches that a recipe trains on: where tokens begin, what is trained on and what is masked, where "
        "documents meet and what was cut off.",
    ),
    Place(id="tokens", part=True, title="Tokens", help="A text as its tokens: the arrows go from one to the next."),
    Place(id="answer", part=True, title="Answers", help="A prompt or an answer that is longer than its pane."),
    Place(id="ask", part=True, title="Line", help="The line to the model. Ctrl+J begins another line in it."),
    Place(id="form", title="Form", help="What a stage is to do: its recipe, field by field."),
    Place(id="field", part=True, title="Fields", help="A field of a form: type a value; empty takes the grey one."),
    Place(id="list", part=True, title="Lists", help="A list: move with the arrows, open with Enter."),
    Place(id="road", part=True, title="Road", help="The stops between text and chat: choose one with the arrows."),
    Place(id="log", part=True, title="Texts", help="A log or another long text: move with the arrows."),
    Place(id="grid", part=True, title="Grid", help="A grid: move with the arrows, open a cell with Enter."),
    Place(id="compare", title="Comparison", help="Runs side by side: their loss, and where their recipes differ."),
    Place(id="dialog", part=True, title="Dialogs", help="A question: choose with a key."),
)

BY_ID = {place.id: place for place in PLACES}
PARTS = {place.id for place in PLACES if place.part}
SCREENS = tuple(place for place in PLACES if place.letter)


def screen_for(text: str) -> Place | None:
    """The screen that a letter, a name or its beginning means."""
    wanted = text.strip().lower()
    for place in SCREENS:
        if wanted in (place.letter, place.id, place.title.lower()):
            return place
    matches = [place for place in SCREENS if wanted and place.id.startswith(wanted)]
    return matches[0] if len(matches) == 1 else None
