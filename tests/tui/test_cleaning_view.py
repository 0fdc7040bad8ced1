"""What the funnel's rows show of a cleaned corpus."""

from __future__ import annotations

import json
from pathlib import Path

from tests.corpus.conftest import make_stage
from workbench.tui import cleaning_view


def test_a_step_that_changes_nothing_shows_what_it_rejects(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    texts = ["short", "also  \nshort", "A text that is long enough to be kept."]
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    steps = [{"step": "normalise"}, {"step": "length", "min_characters": 20}]
    made = make_stage(tmp_path, "import", {"sources": [str(source)], "clean": steps}).run()
    read, normalise, length, reason = cleaning_view.funnel(made.report)

    assert (normalise.step, normalise.changed, normalise.shows_rejected) == ("normalise", 1, False)
    assert {example[0].label for example in cleaning_view.examples(made.output, normalise)} == {"normalise: normalised"}
    assert (length.step, length.rejected, length.shows_rejected) == ("length", 2, True)
    assert [example[0].label for example in cleaning_view.examples(made.output, length)] == 2 * [
        f"length: {reason.reason}"
    ]
    assert (read.shows_rejected, cleaning_view.examples(made.output, read)) == (False, [])
