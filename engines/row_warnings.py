"""What is told of rows of data that are longer than what is trained on."""

from __future__ import annotations

from typing import Any

from workbench.contract import Reporter, Warned
from workbench.corpus.chats.packing import TrainingRows
from workbench.corpus.chats.training_data import Judged
from workbench.wording import amount


def warn_of_cut_rows(rows: TrainingRows, max_length: int, reporter: Reporter) -> None:
    """Say how many conversations or documents were cut to `max_length` tokens."""
    if rows.cut:
        reporter.emit(
            Warned(
                message=f"{amount(rows.cut, 'rows', 'are')} longer than {max_length:,} tokens, of "
                f"{rows.rows + rows.untrained:,}: {amount(rows.cut_tokens, 'tokens', 'were')} cut off. A higher "
                "--max-length keeps them."
            )
        )


def warn_of_cut_answers(data: Judged[Any], max_length: int, reporter: Reporter) -> None:
    """Say how many judged answers were cut, with their prompts, to `max_length` tokens."""
    if data.cut:
        reporter.emit(
            Warned(
                message=f"{amount(data.cut, 'answers', 'were')} cut: with their prompts they are longer than "
                f"{max_length:,} tokens. A higher --max-length keeps them."
            )
        )
