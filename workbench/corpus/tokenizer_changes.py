"""Tokenizers that were trained elsewhere, and tokens added to those that there are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.corpus.tokenizer import CHAT_TEMPLATE, CONFIG, SPECIAL_TOKENS, is_byte_level, load_tokenizer
from workbench.errors import WorkbenchError
from workbench.recipes.tokenizer import ExtendTokenizerRecipe, ImportTokenizerRecipe
from workbench.wording import agreeing

TEMPLATE = "chat_template.jinja"
ROLES = ("bos_token", "eos_token", "pad_token")


def import_tokenizer(recipe: ImportTokenizerRecipe, output: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    """Copy the recipe's tokenizer into `output`, answer the report.

    Documents begin with BOS and end with EOS, which must differ, and chats have marks of their own: what is lacking
    of these is added behind the other tokens. Raises `WorkbenchError` for one that is not byte-level.
    """
    source = Path(recipe.source)
    folder = source if source.is_dir() else source.parent
    path = source / "tokenizer.json" if source.is_dir() else source
    content = _read(path)
    if not isinstance(content.get("model"), dict) or not isinstance(content.get("added_tokens", []), list):
        raise WorkbenchError(f"{path} is not a tokenizer.json of Hugging Face's.", "Give the file of a tokenizer.")
    if not is_byte_level(content):
        kind = content["model"].get("type", "of no known kind")
        raise WorkbenchError(
            f"{path} is not byte-level ({kind}): what a token stands for in bytes cannot be told.",
            "Bring one like GPT-2's, Llama 3's or Qwen's, or train one: workbench tokenizer.",
        )
    config = _read(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    kept = {
        key: value for key, value in config.items() if key not in ("auto_map", "chat_template", "added_tokens_decoder")
    }
    kept["tokenizer_class"] = "PreTrainedTokenizerFast"  # what needs no code of its own
    roles = {role: _text(config.get(role)) for role in ROLES}
    if roles["bos_token"] == roles["eos_token"]:
        roles["bos_token"] = None  # else the end of a document could not be learnt
    durable.write_json(output / "tokenizer.json", content)
    lacking = [text for role, text in zip(ROLES, SPECIAL_TOKENS, strict=False) if roles[role] is None]
    known = {item["content"] for item in content["added_tokens"]}
    lacking += [text for text in SPECIAL_TOKENS[3:5] if text not in known]
    added = _add(output, lacking, special=True)
    for role, text in zip(ROLES, SPECIAL_TOKENS, strict=False):
        kept[role] = roles[role] or text
    durable.write_json(output / CONFIG, kept)
    if (folder / TEMPLATE).is_file():
        shutil.copyfile(folder / TEMPLATE, output / TEMPLATE)
    elif isinstance(config.get("chat_template"), str):
        durable.write_text(output / TEMPLATE, config["chat_template"])
    else:
        shutil.copyfile(CHAT_TEMPLATE, output / TEMPLATE)
    if added:
        were, had = agreeing(len(added), "were"), _size(output) - len(added)
        warn(f"{' '.join(added)} {were} added behind the {had:,} tokens that it had.")
    return {"vocab_size": _size(output), "added": added, "kind": str(content["model"].get("type", "")).lower()}


def extend_tokenizer(
    recipe: ExtendTokenizerRecipe, tokenizer: Path, output: Path, warn: Callable[[str], None]
) -> dict[str, Any]:
    """The tokenizer in the folder `tokenizer` with the recipe's tokens behind its own, in `output`; the report."""
    for name in ("tokenizer.json", CONFIG, TEMPLATE):
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, output / name)
    known = load_tokenizer(tokenizer).get_vocab()
    there = [text for text in recipe.tokens if text in known]
    if len(there) == len(recipe.tokens):
        raise WorkbenchError(f"The tokenizer has {' '.join(there)} already.", "Give tokens that it lacks.")
    if there:
        warn(f"Already in the tokenizer, and left as before: {' '.join(there)}.")
    added = _add(output, [text for text in recipe.tokens if text not in known], special=recipe.special)
    return {"vocab_size": _size(output), "added": added}


def _add(folder: Path, tokens: list[str], *, special: bool) -> list[str]:
    """Add `tokens` to the tokenizer.json in `folder`; those that it did not have."""
    from tokenizers import AddedToken

    tokenizer = load_tokenizer(folder)
    tokenizer.encode_special_tokens = False  # not to be written
    known = tokenizer.get_vocab()
    new = [AddedToken(text, special=special, normalized=False) for text in tokens]
    if special:
        tokenizer.add_special_tokens(new)
    else:
        tokenizer.add_tokens(new)
    durable.write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    return [text for text in tokens if text not in known]


def _size(folder: Path) -> int:
    return load_tokenizer(folder).get_vocab_size()


def _text(value: Any) -> str | None:
    return value.get("content") if isinstance(value, dict) else value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkbenchError(
            f"There is no {path.name} in {str(path.parent)!r}.", "Give the folder of a model."
        ) from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise WorkbenchError(f"{path} cannot be read: {error}.", "Copy it anew from its source.") from None
    if not isinstance(content, dict):
        raise WorkbenchError(f"{path} is not a tokenizer's file.", "Give a tokenizer.json of Hugging Face's.")
    return content
