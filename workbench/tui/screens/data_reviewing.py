"""A person's yes and no to the rows of a set: to what a model made up, and to documents of a corpus."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.store.catalog import open_catalog
from workbench.tui.live import ArtifactRow
from workbench.tui.widgets.table import Table

if TYPE_CHECKING:
    from workbench.tui.screens.base import WorkbenchScreen as Mixin
else:
    Mixin = object


class Reviewing(Mixin):
    """What the screen of a set's rows does with them. `reviews` is None where nothing is asked."""

    item: ArtifactRow
    reviews: Any
    rejects: Any

    @property
    @abstractmethod
    def shows_rejects(self) -> bool:
        """Whether what was left out is shown, in place of the rows."""

    @property
    def _marks(self) -> bool:
        """Whether documents are called good or bad, for a classifier; else rows are accepted, or not."""
        return self.item.kind == "corpus"

    def _said(self, number: int) -> str:
        if self.reviews is None or self.shows_rejects:
            return ""
        status = self.reviews.status(number)
        if self._marks:
            return {"": "y good, n bad", "accepted": "good", "rejected": "bad"}[status]
        return {"new": "y accept, n reject"}.get(status, status)

    def _reviewed(self) -> str:
        """What was said of all rows; where nothing was, what was left out of the set."""
        if self.shows_rejects:
            return ""
        if self.reviews is None or (self._marks and not self.reviews.accepted):
            return f"x: {len(self.rejects):,} left out" if self.rejects is not None else ""
        yes = sum(self.reviews.accepted.values())
        words = ("good", "bad") if self._marks else ("accepted", "rejected")
        return f"{yes:,} {words[0]}, {len(self.reviews.accepted) - yes:,} {words[1]}"

    def _why_no_review(self, _: str = "") -> str | None:
        project = self.app.project
        if self.reviews is None or self.shows_rejects:
            return "Only what a model made up (self-instruct) waits for a yes or no, and a corpus' documents."
        if project is None or not project.writable():
            return "The project is read-only."
        return None if self.query_one(Table).row is not None else "There is no row."

    why_not_accept = why_not_reject = _why_no_review

    def title_accept(self) -> str:
        return "Good" if self._marks else "Accept"

    def title_reject(self) -> str:
        return "Bad" if self._marks else "Reject"

    def do_accept(self, _: str = "") -> None:
        self._review(True)

    def do_reject(self, _: str = "") -> None:
        self._review(False)

    def _review(self, accepted: bool) -> None:
        table = self.query_one(Table)
        self.reviews.say(table.row, accepted)
        table.refresh_lines(table.cursor + 1, 1)
        table.cursor += 1
        self._title()
        self.refresh_keys()

    def why_not_undo(self, _: str = "") -> str | None:
        if self.reviews is None or self.shows_rejects or not self.reviews.can_undo:
            return "Nothing was accepted or rejected."
        return None

    def do_undo(self, _: str = "") -> None:
        row = self.reviews.undo()
        table = self.query_one(Table)
        table.choose(row)
        table.refresh()
        self._title()
        self.refresh_keys()

    def why_not_make(self, _: str = "") -> str | None:
        if self._marks:
            return "Documents are marked for a classifier: workbench classifier train --name NAME."
        if self.reviews is not None and not any(self.reviews.accepted.values()):
            return "No row was accepted yet: y accepts the one under the cursor."
        return self._why_no_review()

    def do_make(self, argument: str = "") -> None:
        if not argument:
            self.app.ask_line("Call the accepted rows", self._make, value=f"{self.item.name}-accepted"[:64])
        else:
            self._make(argument)

    def _make(self, name: str) -> None:
        from workbench.preferences.reviews import accept
        from workbench.recipes.base import check_name
        from workbench.store.artifacts import read_manifest

        project = self.app.project
        assert project is not None
        folder = project.folder(self.item.kind) / self.item.id
        try:
            check_name(name)
        except ValueError as error:
            self.app.show_error(WorkbenchError(f"{error}."))
            return

        def make() -> str:
            with open_catalog(project) as catalog:
                made = accept(project, catalog, read_manifest(folder), name=name)
            return f"chats {made.id} is made: {made.report['rows']:,} accepted rows."

        self.app.in_background(make, self.app.tell)

    @abstractmethod
    def _title(self) -> None:
        """Say anew how much there is of the set, and what was said of it."""
