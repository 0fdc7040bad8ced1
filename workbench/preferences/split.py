"""What of a set of preferences is held out, and reading the set: what a training needs of it."""

from workbench.corpus.chats.pairs import read_marks, read_pairs
from workbench.corpus.chats.split import held_out, held_out_rows, prompt_key

__all__ = ["held_out", "held_out_rows", "prompt_key", "read_marks", "read_pairs"]
