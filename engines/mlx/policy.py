"""What is trained further: a whole model, or an adapter on a frozen base."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from transformers import GenerationConfig

from engines.adapters import ADAPTER_WEIGHTS, base_of, is_adapter
from engines.companions import answer_ends, copy_companions, pad_id, refuse_foreign_tokenizer
from engines.fresh_model import repeat_rope_theta
from engines.mlx.folders import context_length, open_causal_lm, weight_names
from engines.mlx.forward import head
from engines.mlx.generation import Writer
from engines.mlx.lora import add_lora, load_adapter_weights, save_adapter, stored_names
from engines.mlx.quantization import quantise_layers
from engines.mlx.reward_model import classifier_config, give_head
from engines.tokenizer import TextTokenizer
from workbench import durable
from workbench.contract import Sampling
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError
from workbench.recipes.tuning import AdapterSection


@dataclass(kw_only=True)
class Policy:
    """A trainable model that came from the folder `base`. Its trained weights are float32."""

    model: Any
    config: dict[str, Any]  # of the whole model at the bottom
    base: Path
    section: AdapterSection
    tokenizer: ChatTokenizer

    @property
    def adapted(self) -> bool:
        return self.section.lora_rank is not None

    @property
    def reward(self) -> bool:
        """Whether it is a reward model, which writes no text."""
        return "score" in self.model

    @property
    def context_length(self) -> int:
        return context_length(self.config)

    def save(self, folder: Path) -> None:
        """Weights, tokenizer and chat template into `folder`: all that opening needs, but for an adapter's base."""
        if self.adapted:
            save_adapter(self.model, self.section, folder, self.base)
        else:
            stored = json.loads((root_of(self.base) / "config.json").read_text(encoding="utf-8"))
            config = stored | {"dtype": "float32"}
            if self.reward:
                config = classifier_config(config, pad_id(self.tokenizer))
            durable.write_json(folder / "config.json", config)
            repeat_rope_theta(folder)
            mx.save_safetensors(str(folder / "model.safetensors"), weight_names(self.model), metadata={"format": "pt"})
        if not self.reward:
            generation = _generation_config(self.base)
            if self.tokenizer.end_ids:
                generation.eos_token_id = answer_ends(generation.eos_token_id, self.tokenizer)
            generation.save_pretrained(folder)
        copy_companions(self.base, folder, template=self.tokenizer.template)

    def sample(self, prompt: str, max_tokens: int, *, chat: bool) -> str:
        """The answer to `prompt` (or, without `chat`, its continuation); the same draws each time."""
        texts, ends = TextTokenizer(self.base), self.tokenizer.end_ids
        if chat:
            ids = self.tokenizer.prompt([{"role": "user", "content": prompt}]).tolist()
        else:
            begin = [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]
            ids = begin + texts.encode(prompt, special=False)
        ids = ids[-(self.context_length - 1) :]
        sampling = Sampling(max_tokens=min(max_tokens, self.context_length - len(ids)), seed=0)
        drawn = Writer(self.model).write([ids], sampling, ends=ends, numbers=[0])
        return texts.decode(token for _, token in drawn if token not in ends)

    def restore(self, folder: Path) -> None:
        """The weights that `save` wrote."""
        if self.adapted:
            load_adapter_weights(self.model, folder / ADAPTER_WEIGHTS)
        else:
            self.model.load_weights(str(folder / "model.safetensors"))


def open_policy(base: Path, section: AdapterSection, *, seed: int, dtype: mx.Dtype, reward: bool = False) -> Policy:
    """The model in `base` (or, with `reward`, a reward model on its body) made ready for training.

    Raises `WorkbenchError` if it cannot be opened, or is of an architecture that cannot be trained here, or an
    adapter fits no layer.
    """
    tokenizer = ChatTokenizer(base)
    # Frozen weights lie in the number format that they are multiplied in.
    model, config = open_causal_lm(base, dtype if section.lora_rank is not None else mx.float32)
    _refuse_what_is_not_written_back(model, config, base)
    refuse_foreign_tokenizer(head(model).weight.shape[0], tokenizer, base)
    if reward:
        give_head(model, seed=seed)
    if section.quantize_base != "none":
        quantise_layers(model, section.quantize_base)
    if section.lora_rank is not None:
        add_lora(model, section, seed=seed)
    model.train()
    return Policy(model=model, config=config, base=base, section=section, tokenizer=tokenizer)


def root_of(folder: Path) -> Path:
    """The whole model that an adapter, or one on it, was made on; a whole model itself."""
    return root_of(base_of(folder)) if is_adapter(folder) else folder


def _refuse_what_is_not_written_back(model: Any, config: dict[str, Any], base: Path) -> None:
    """mlx-lm renames the weights of some architectures, and bends the logits of others."""
    names = set(weight_names(model))
    if "quantization" in config:
        raise WorkbenchError(
            f"{base} holds its weights in {config['quantization'].get('bits')} bits, and cannot be trained further.",
            "Take the model before it was quantised.",
        )
    plain = hasattr(model, "model") and hasattr(model.model, "embed_tokens")
    if not plain or not names <= stored_names(root_of(base)) or not _plain_logits(model):
        raise WorkbenchError(
            f"The mlx engine does not train models of the architecture {config.get('model_type')}.",
            "Use --engine pytorch.",
        )


def _plain_logits(model: Any) -> bool:
    """Whether the logits are the last hidden states times a matrix."""
    tokens_1L = mx.arange(4)[None]
    layer = head(model)
    expected, found = model(tokens_1L), model.model(tokens_1L) @ layer.weight.T
    return bool(mx.allclose(expected.astype(mx.float32), found.astype(mx.float32), rtol=1e-3, atol=1e-3))


def _generation_config(folder: Path) -> GenerationConfig:
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    config = json.loads((root_of(folder) / "config.json").read_text(encoding="utf-8"))
    ids = {name: config.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return GenerationConfig(**ids)
