"""Models: the tree of models and exports, and all that is known of the one under the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll

from workbench import figures
from workbench.errors import WorkbenchError
from workbench.store.artifacts import Artifact, problems, read_manifest
from workbench.store.project import FOLDERS
from workbench.tui import actions, model_tree, safe
from workbench.tui.live import ArtifactRow, Changes
from workbench.tui.model_tree import Node
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.widgets.empty import Empty
from workbench.tui.widgets.sections import Sections
from workbench.tui.widgets.table import Column, Table

COLUMNS = (
    Column(title="Model", width=16, grow=1),
    Column(title="Format", width=7),
    Column(title="Bits/byte", width=9, right=True),
    Column(title="Size", width=8, right=True),
    Column(title="Made", width=11, right=True, drop=1),
)
RECIPE_NAMES = 28  # columns: gradient_accumulation_steps has 27 letters


class ModelsScreen(WorkbenchScreen):
    """Wide: tree and details side by side. Narrow: the tree above the details; `+` gives these the screen."""

    PLACE = "models"
    BINDINGS = actions.bindings("models")
    DEFAULT_CSS = """
    ModelsScreen #none { display: none; }
    ModelsScreen.-empty #none { display: block; }
    ModelsScreen.-empty #models { display: none; }
    ModelsScreen #models { height: 1fr; }
    ModelsScreen #tree { height: 9; }
    ModelsScreen #details { height: 1fr; scrollbar-size-vertical: 1; }
    ModelsScreen #halves { height: auto; }
    ModelsScreen #origin { margin-top: 1; }
    ModelsScreen.-tall #tree, ModelsScreen.-very-tall #tree { height: 34%; }
    ModelsScreen.-wide #models, ModelsScreen.-very-wide #models { layout: horizontal; }
    ModelsScreen.-wide #tree, ModelsScreen.-very-wide #tree { width: 54%; height: 100%; }
    ModelsScreen.-wide #details, ModelsScreen.-very-wide #details { width: 1fr; height: 100%; }
    ModelsScreen.-very-wide #tree { width: 40%; }
    ModelsScreen.-very-wide #halves { layout: horizontal; }
    ModelsScreen.-very-wide #facts { width: 1fr; margin-right: 2; }
    ModelsScreen.-very-wide #origin { width: 1fr; margin-top: 0; }
    ModelsScreen.-zoomed #tree { display: none; }
    ModelsScreen.-zoomed #details { width: 100%; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.manifest: Artifact | None = None
        self.verified: dict[tuple[str, str], Sequence[str] | None] = {}  # what is wrong; None while it is read

    def body(self) -> ComposeResult:
        yield Empty("No model yet.", id="none")
        with Container(id="models"):
            with Vertical(id="tree", classes="pane") as pane:
                pane.border_title = "Models and exports"
                yield Table(COLUMNS, self.cells, key=lambda node: model_tree.key(node.artifact))
            with VerticalScroll(id="details", classes="pane"), Container(id="halves"):
                yield Sections("facts")
                yield Sections("origin")

    # ------------------------------------------------------------------ what is shown

    @property
    def chosen(self) -> ArtifactRow | None:
        """What is under the cursor."""
        node: Node | None = self.query_one(Table).row
        return node.artifact if node else None

    def show(self, changes: Changes) -> None:
        live = self.app.live
        if live is None:
            return
        nodes = model_tree.tree(live.artifacts)
        self.set_class(live.loaded and not nodes, "-empty")
        if live.loaded and not nodes:
            self._say_what_to_do()
        table = self.query_one(Table)
        table.set_rows(nodes)
        if nodes and self.focused is None:
            table.focus()
        self._show_details()

    def _say_what_to_do(self) -> None:
        live, none = self.app.live, self.query_one("#none", Empty)
        assert live is not None
        going = next((run for run in live.active() if run.produces == "model"), None)
        kinds = {item.kind for item in live.artifacts}
        if going is not None:
            none.say(f"No model yet: {safe.line(going.id)} is making {safe.line(going.name)}.", ("g r", "watch it"))
        elif "corpus" not in kinds:
            none.say(
                "No model yet. A model is trained on a corpus with a tokenizer: begin with the text.",
                ("n", "import text files"),
                ("g m", "the whole road, on the map"),
            )
        elif "tokenizer" not in kinds:
            none.say(
                "No model yet. The text is there; the next thing is a tokenizer.",
                ("n", "train a tokenizer"),
                ("g m", "the whole road, on the map"),
            )
        else:
            none.say("No model yet. Text and tokenizer are there.", ("n", "start a pretraining"))

    def cells(self, node: Node) -> list[Text]:
        on, item = self.query_one(Table), node.artifact
        name = on.assemble((node.guide(ascii=self.app.ascii), "muted"))
        name.append_text(on.assemble((safe.line(item.id), "strong" if item.kind == "model" else "text")))
        return [
            name,
            on.assemble((model_tree.number_format(item), "muted")),
            on.assemble(model_tree.bits_per_byte(item)),
            on.assemble(figures.size(item.bytes)),
            on.assemble((figures.age(self.app.now() - item.created), "muted")),
        ]

    def on_table_moved(self, event: Table.Moved) -> None:
        self.manifest = None
        self.query_one("#details").scroll_home(animate=False)
        self._show_details()
        self.refresh_keys()
        self.run_worker(self._read_manifest(), group="manifest", exclusive=True, exit_on_error=True)

    def on_table_opened(self, event: Table.Opened) -> None:
        self.do_zoom()

    async def _read_manifest(self) -> None:
        """The versions and the files stand only in the artifact's folder."""
        item, project = self.chosen, self.app.project
        if item is None or project is None:
            return
        try:
            self.manifest = await asyncio.to_thread(read_manifest, project.folder(item.kind) / item.id)
        except WorkbenchError as error:
            self.verified[model_tree.key(item)] = [error.what]
        self._show_details()

    def _show_details(self) -> None:
        item, live = self.chosen, self.app.live
        if item is None or live is None:
            return
        pane = self.query_one("#details")
        entitle(pane, f"{item.kind} {item.id}")
        facts, origin = self.query_one("#facts", Sections), self.query_one("#origin", Sections)
        facts.begin()
        made = f"{figures.age(self.app.now() - item.created)}" + (f" by {safe.line(item.run)}" if item.run else "")
        facts.heading((safe.line(item.name), "strong"), (f"  version {item.version}, made {made}", "muted"))
        self._say_verified(facts, item)
        facts.pairs(model_tree.measured(item))
        if checked := model_tree.check(item):
            facts.heading(("Checked against the checkpoint", "strong"))
            facts.pairs(checked)
        made_from = model_tree.origin(item, live.artifacts)
        if made_from:
            facts.heading(("Made from", "strong"))
            facts.branches(made_from)
        if made_of_it := model_tree.offspring(item, live.artifacts):
            facts.heading(("Made from it", "strong"))
            facts.branches(made_of_it)
        facts.end()
        origin.begin()
        for section, values in model_tree.recipe_lines(item.recipe):
            origin.heading((section, "muted") if section else ("Recipe", "strong"))
            origin.pairs(values, names=RECIPE_NAMES)
        if self.manifest is not None and (self.manifest.kind, self.manifest.id) == model_tree.key(item):
            origin.heading(("Made with", "strong"))
            origin.pairs(self.manifest.versions.items())
            origin.heading(("Files", "strong"))
            origin.pairs((str(figures.size(kept["bytes"])), path) for path, kept in self.manifest.files.items())
        origin.sentence(f"in {FOLDERS[item.kind]}/{item.id} of the project")
        origin.end()

    def _say_verified(self, on: Sections, item: ArtifactRow) -> None:
        if model_tree.key(item) not in self.verified:
            return
        found = self.verified[model_tree.key(item)]
        if found is None:
            on.sentence("Its files are being read ...", "busy")
        elif not found:
            on.sentence("Verified: every file is as it was made.", "good")
        else:
            for sentence in found:
                on.sentence(f"Damaged: {sentence}.", "bad")

    # ------------------------------------------------------------------ actions

    def _meant(self, argument: str) -> ArtifactRow | None:
        """What an argument names (an id; a model before an export), or what is under the cursor."""
        live = self.app.live
        if not argument or live is None:
            return self.chosen
        nodes = model_tree.tree(live.artifacts)
        found = [
            node.artifact
            for node in nodes
            if argument in (node.artifact.id, f"{node.artifact.kind}/{node.artifact.id}")
        ]
        return next(iter(sorted(found, key=lambda item: model_tree.KINDS.index(item.kind))), None)

    def _why_none(self, argument: str) -> str | None:
        if self._meant(argument) is not None:
            return None
        return f"There is no model or export {argument!r}." if argument else "There is no model to choose."

    why_not_verify = _why_none

    def why_not_chat(self, argument: str = "") -> str | None:
        item = self._meant(argument)
        if item is not None and item.kind == "reward":
            return f"{item.id} is a reward model: it scores answers, and writes none."
        return self._why_none(argument)

    def do_chat(self, argument: str = "") -> None:
        item = self._meant(argument)
        assert item is not None
        self.app.perform_command(f"chat.model {item.kind}/{item.id}")

    def why_not_export(self, argument: str = "") -> str | None:
        item = self._meant(argument)
        if item is None:
            return self._why_none(argument)
        if item.kind != "model":
            what = "an export" if item.kind == "export" else "a reward model"
            return f"{item.id} is {what}: choose the model that it was made from, and export that."
        return self.app.why_no_stage()

    def do_export(self, argument: str = "") -> None:
        item = self._meant(argument)
        assert item is not None
        self.app.open_form("export", {"model": item.id})

    def why_not_run(self, argument: str = "") -> str | None:
        item = self._meant(argument)
        if item is None:
            return self._why_none(argument)
        if not item.run or (self.app.live is not None and item.run not in self.app.live.runs):
            return f"The run that made {item.id} is not in this project."
        return None

    def do_run(self, argument: str = "") -> None:
        item = self._meant(argument)
        assert item is not None
        assert item.run is not None
        self.app.show_run(item.run)

    def do_verify(self, argument: str = "") -> None:
        item, project = self._meant(argument), self.app.project
        assert item is not None
        assert project is not None
        self.verified[model_tree.key(item)] = None
        self._show_details()
        folder = project.folder(item.kind) / item.id

        def done(found: list[str]) -> None:
            self.verified[model_tree.key(item)] = found
            if found:
                self.app.show_error(
                    WorkbenchError(f"{item.kind} {item.id} is damaged: {'; '.join(found)}.", self._mend(item))
                )
            else:
                self.app.tell(f"{item.id} is whole: {figures.size(item.bytes)} read, every file is as it was made.")
            self._show_details()

        self.app.in_background(lambda: problems(folder), done)

    def _mend(self, item: ArtifactRow) -> str:
        return f"Remove the folder {FOLDERS[item.kind]}/{item.id} and run its recipe again: all else stays."

    def do_new(self, _: str = "") -> None:
        live = self.app.live
        kinds = {item.kind for item in live.artifacts} if live else set()
        stage = "import" if "corpus" not in kinds else "tokenizer" if "tokenizer" not in kinds else "pretrain"
        self.app.open_form(stage)

    def why_not_new(self, _: str = "") -> str | None:
        return self.app.why_no_stage()

    def why_not_zoom(self, _: str = "") -> str | None:
        return None if self.chosen is not None else "There is no model to look at."

    def do_zoom(self, _: str = "") -> None:
        self._zoom(not self.has_class("-zoomed"))

    def why_not_back(self, _: str = "") -> str | None:
        return None if self.has_class("-zoomed") else "There is nothing to go back from."

    def do_back(self, _: str = "") -> None:
        self._zoom(False)

    def _zoom(self, zoomed: bool) -> None:
        self.set_class(zoomed, "-zoomed")
        (self.query_one("#details") if zoomed else self.query_one(Table)).focus()
        self.refresh_keys()
