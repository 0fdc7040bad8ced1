"""A byte-level BPE `tokenizer.json` as llama.cpp's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engines.llamacpp.checkpoint import Checkpoint
from workbench.errors import WorkbenchError

# llama.cpp's token types
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST

# llama.cpp knows splitting rules by name alone, and implements each in C++: (steps, ignore_merges) -> name.
PRE_TOKENIZERS: dict[tuple[tuple[str, ...], bool], str] = {
    ((_QWEN2, "bytes"), False): "qwen2",
    ((_LLAMA3, "bytes"), True): "llama-bpe",
    ((_LLAMA3, "bytes"), False): "dbrx",  # the same pattern, with merges inside whole words
    (("gpt-2 words",), False): "gpt-2",
    (("single digits", "gpt-2 words"), False): "smollm",
}

# Where an answer's turn ends, in the chat formats of these architectures.
END_OF_TURN = ("<|im_end|>", "<|eot_id|>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What goes under `tokenizer.ggml.` in a GGUF file."""

    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    bos: int | None = None
    eos: int | None = None
    eot: int | None = None
    eom: int | None = None
    pad: int | None = None
    unk: int | None = None
    add_bos: bool = False
    chat_template: str | None = None
    stops: list[int] = field(default_factory=list)  # ids at which the checkpoint's generation ends
    normalizer: str | None = None  # "NFC" where the checkpoint normalises; llama.cpp does not


def read_vocabulary(checkpoint: Checkpoint, size: int) -> Vocabulary:
    """The vocabulary of a checkpoint whose embedding has `size` rows.

    Raises `WorkbenchError` if llama.cpp could not tokenise as the checkpoint does.
    """
    tokenizer = checkpoint.tokenizer
    model = tokenizer.get("model", {})
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise WorkbenchError(
            f"The model's tokenizer is {model.get('type', 'of no known kind')}"
            f"{' with byte fallback' if model.get('byte_fallback') else ''}.",
            "The export knows byte-level BPE.",
        )
    tokens, types = _tokens(tokenizer, size)
    ids = {text: number for number, text in enumerate(tokens)}
    named = {role: _special(checkpoint, role, ids) for role in ("bos", "eos", "pad", "unk")}
    stops = checkpoint.stop_tokens() or [number for number in (named["eos"],) if number is not None]
    if named["eos"] is None and stops:
        named["eos"] = stops[0]
    eot = next((ids[text] for text in END_OF_TURN if text in ids), None)
    # GGUF has three places for tokens that end an answer; more of them llama.cpp knows by their texts.
    others = [number for number in stops if number not in (named["eos"], eot)]
    if eot is None and others:
        eot = others.pop(0)
    return Vocabulary(
        pre=pre_tokenizer_name(tokenizer),
        tokens=tokens,
        types=types,
        merges=[_merge(pair) for pair in model.get("merges", [])],
        **named,
        eot=eot,
        eom=others[0] if others else None,
        add_bos=_adds_bos(checkpoint, named["bos"]),
        chat_template=checkpoint.chat_template(),
        stops=stops,
        normalizer=_normalizer(tokenizer),
    )


def pre_tokenizer_name(tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name for how `tokenizer.json` splits text before merging.

    Raises `WorkbenchError` for a way that it has no name for.
    """
    pre = tokenizer.get("pre_tokenizer") or {}
    steps = tuple(_step(item) for item in (pre.get("pretokenizers", []) if pre.get("type") == "Sequence" else [pre]))
    name = PRE_TOKENIZERS.get((steps, bool(tokenizer["model"].get("ignore_merges"))))
    if name is None:
        raise WorkbenchError(
            f"llama.cpp has no name for the tokenizer's way of splitting text: {' then '.join(steps)[:300]}.",
            f"The export knows those of {', '.join(PRE_TOKENIZERS.values())}.",
        )
    return name


def _step(item: Mapping[str, Any]) -> str:
    match item:
        case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}:
            return pattern
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}:
            return "bytes"
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return "gpt-2 words"
        case {"type": "Digits", "individual_digits": True}:
            return "single digits"
    return str(dict(item))


def _tokens(tokenizer: Mapping[str, Any], size: int) -> tuple[list[str], list[int]]:
    texts: dict[int, str] = {number: text for text, number in tokenizer["model"]["vocab"].items()}
    types = dict.fromkeys(texts, NORMAL)
    for added in tokenizer.get("added_tokens", []):
        texts[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    largest = max(texts)
    if largest >= size:
        raise WorkbenchError(
            f"The tokenizer has ids up to {largest}, but the model's embedding only {size} rows.",
            "This tokenizer belongs to another model.",
        )
    for number in range(size):
        if number not in texts:  # rows that were added to round the embedding up
            texts[number], types[number] = f"[PAD{number}]", UNUSED
    if len(set(texts.values())) != size:
        raise WorkbenchError("Two ids of the tokenizer have the same text.", "llama.cpp needs each text once.")
    return [texts[number] for number in range(size)], [types[number] for number in range(size)]


def _merge(pair: str | list[str]) -> str:
    return pair if isinstance(pair, str) else " ".join(pair)


def _special(checkpoint: Checkpoint, role: str, ids: Mapping[str, int]) -> int | None:
    text = checkpoint.special_token(f"{role}_token")
    if text is not None:
        return ids.get(text)
    number = checkpoint.config.get(f"{role}_token_id")
    return number[0] if isinstance(number, list) else number


def _adds_bos(checkpoint: Checkpoint, bos: int | None) -> bool:
    """Whether encoding begins with BOS: the post-processor does it, else the configuration may ask for it."""
    if bos is None:
        return False
    post = checkpoint.tokenizer.get("post_processor") or {}
    for item in post.get("processors", [post]):
        if item.get("type") == "TemplateProcessing":
            first = (item.get("single") or [{}])[0].get("SpecialToken", {}).get("id")
            if first is not None and bos in item.get("special_tokens", {}).get(first, {}).get("ids", []):
                return True
    return bool(checkpoint.tokenizer_config.get("add_bos_token"))


def _normalizer(tokenizer: Mapping[str, Any]) -> str | None:
    normalizer = tokenizer.get("normalizer")
    if not normalizer:
        return None
    if normalizer.get("type") == "NFC":
        return "NFC"
    raise WorkbenchError(
        f"The tokenizer normalises text by {normalizer.get('type')}.", "llama.cpp does not: the export knows NFC."
    )
