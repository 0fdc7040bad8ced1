"""A reward model of PPO has to read the very tokens that the policy writes."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError


def refuse_foreign_tokens(base: Path, reward: Path) -> None:
    """Raises `WorkbenchError` unless every token has the same id in both folders."""
    ours, theirs = (_vocabulary(folder) for folder in (base, reward))
    differing = sorted(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
    if differing:
        raise WorkbenchError(
            f"The reward model {reward.name} has another tokenizer than the model {base.name}: {len(differing):,} "
            f"tokens differ ({len(theirs):,} against {len(ours):,}), such as {differing[0]!r}.",
            "Train a reward model on this base, or on one with the same tokenizer.",
        )


def foreign_template(policy: ChatTokenizer, reward: ChatTokenizer) -> list[str]:
    """A warning if the reward model learnt on conversations that were written in another way."""
    if reward.template == policy.template:
        return []
    return [
        "The reward model was trained with another chat template than the model's: it never saw answers like these."
    ]


def _vocabulary(folder: Path) -> dict[str, int]:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise WorkbenchError(f"{folder} holds no tokenizer: tokenizer.json is missing.", "Copy it from its source.")
    try:
        return Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises bare Exception
        raise WorkbenchError(f"{path} cannot be read: {error}.", "Copy the file anew from its source.") from None
