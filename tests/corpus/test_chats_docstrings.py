"""Questions about Python, from its own docstrings."""

from __future__ import annotations

import pytest

from workbench.corpus.chats.docstrings import questions
from workbench.corpus.chats.rows import Row, find_rows, read_rows

SOURCE = '''"""Tools for bread, from flour to crust."""
def bake(dough):
    """Turn the dough into a loaf of
    bread.

    More of it.
    """
def _hidden():
    """Nobody asks what this is for, ever."""
class Oven:
    """short."""
    def heat(self):
        """Bring the oven to its temperature."""
'''


def test_the_first_paragraph_answers() -> None:
    found = [[turn["content"] for turn in row["messages"]] for row in questions(SOURCE.encode(), "bakery")]
    assert found == [
        ["What is the module bakery for?", "Tools for bread, from flour to crust."],
        ["What does bakery.bake do?", "Turn the dough into a loaf of bread."],
        ["What does bakery.Oven.heat do?", "Bring the oven to its temperature."],
    ]


@pytest.mark.slow
def test_the_standard_library_has_thousands() -> None:
    rows = [row for file in find_rows(["python-docs"]).files for row in read_rows(file, lambda _: None)]
    assert len(rows) > 3000
    assert all(isinstance(row, Row) for row in rows)
