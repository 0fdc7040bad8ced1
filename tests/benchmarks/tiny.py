"""A model of 130,000 parameters in a project, made in a second: it knows nothing, but is sure of what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from pydoc_data import topics
from typing import Any

from tests.benchmarks import hub_rows
from workbench import durable
from workbench.benchmarks import task_data
from workbench.corpus.tokenizer import SPECIAL_TOKENS
from workbench.store import artifacts
from workbench.store.artifacts import Artifact
from workbench.store.catalog import Catalog
from workbench.store.project import Project

VOCAB_SIZE = 600
TEXT = "\n".join(text for _, text in sorted(topics.topics.items())[:12])
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content }}"
    "{% if not (loop.last and continue_final_message is defined and continue_final_message) %}"
    "{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@cache
def _tokenizer() -> Any:
    from tokenizers import pre_tokenizers, trainers

    from workbench.corpus.tokenizer import new_tokenizer

    tokenizer = new_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=SPECIAL_TOKENS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


def write_model(
    folder: Path, *, template: bool = True, context: int = 1024, seed: int = 0, held_out: str = TEXT[-1000:]
) -> Path:
    """A Hugging Face folder of a random Llama whose logits say something."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    names = dict(zip(("bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=False))
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, max_position_embeddings=context, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    model.save_pretrained(folder)
    plain = json.loads((folder / "config.json").read_text())
    durable.write_json(folder / "config.json", plain | {"rope_theta": 10000.0})
    _tokenizer().save(str(folder / "tokenizer.json"))
    durable.write_json(folder / "tokenizer_config.json", names | {"tokenizer_class": "PreTrainedTokenizerFast"})
    if held_out:
        (folder / "held_out.txt").write_text(held_out)
    if template:
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def add_model(project: Project, catalog: Catalog, name: str = "tiny", **given: Any) -> Artifact:
    """Such a model as an artifact of the project."""
    partial = write_model(project.folder("model") / f"{name}.partial", **given)
    return artifacts.seal(
        project, catalog, partial, kind="model", name=name, identity=name.ljust(64, "0"), stage="pretrain", run=None,
        recipe={}, inputs={}, report={}, versions={},
    )  # fmt: skip


def add_data(root: Path, *names: str, items: Mapping[str, int] | None = None) -> None:
    """Rows of `hub_rows` as local data of these tasks; `items` repeats them up to so many."""
    for name in names:
        rows, _, examples, _, _ = hub_rows.TASKS[name]
        count = (items or {}).get(name, len(rows))
        files = root.parent / f"{name}.rows.jsonl", root.parent / f"{name}.shown.jsonl"
        many = [rows[number % len(rows)] for number in range(count)]
        for file, found in zip(files, (many, examples), strict=True):
            file.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
        task_data.add(root, name, [files[0]], [files[1]] if examples else [])
