"""What is trained: a whole model, an adapter on a frozen base, or an adapter on a base in four bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model
from torch import nn
from transformers import PreTrainedModel

from engines.adapters import ADAPTER_WEIGHTS
from engines.companions import answer_ends, copy_companions, pad_id, refuse_foreign_tokenizer
from engines.pytorch import folders
from engines.pytorch.model import save_model
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError
from workbench.recipes.tuning import AdapterSection


@dataclass(kw_only=True)
class Policy:
    """A trainable model that came from the folder `base`. Its trained weights are float32."""

    model: Any  # a PEFT model, or transformers' own
    base: Path
    adapted: bool
    dtype: torch.dtype  # of the matrix products
    device: torch.device
    tokenizer: ChatTokenizer

    @property
    def plain(self) -> Any:
        """transformers' model: the trained one, or the base that the adapter sits in."""
        return self.model.get_base_model() if self.adapted else self.model

    @property
    def context_length(self) -> int:
        config = self.plain.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 1024)

    def trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def autocast(self) -> AbstractContextManager[Any]:
        """The number format of training and scoring."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def without_adapter(self) -> AbstractContextManager[Any]:
        """The base as it was: the reference of DPO and PPO."""
        return self.model.disable_adapter() if self.adapted else nullcontext()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Dropout off, no gradients, in the training's number format."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.autocast():
                yield
        finally:
            self.model.train(was_training)

    def save(self, folder: Path) -> None:
        """Weights, tokenizer and chat template into `folder`: all that opening needs, but for an adapter's base."""
        if self.adapted:
            folders.save_adapter(self.model, folder, self.base)
        else:
            save_model(self.model, folder)
        copy_companions(self.base, folder, template=self.tokenizer.template)

    def restore(self, folder: Path) -> None:
        """The weights that `save` wrote."""
        if not self.adapted:
            load_model(self.model, folder / "model.safetensors")
            return
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.model, load_file(folder / ADAPTER_WEIGHTS))


def open_policy(
    base: Path,
    adapter: AdapterSection,
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
    reward: bool = False,
    gradient_checkpointing: bool = False,
) -> Policy:
    """The model in `base` (or, with `reward`, a reward model on its body) made ready for training on `device`.

    Raises `WorkbenchError` if `base` cannot be opened, an adapter fits no layer, or a library is missing.
    """
    tokenizer = ChatTokenizer(base)
    model = folders.new_reward_model(base, seed=seed) if reward else folders.open_causal_lm(base)
    refuse_foreign_tokenizer(model.get_input_embeddings().weight.shape[0], tokenizer, base)
    if not reward and tokenizer.end_ids:
        model.generation_config.eos_token_id = answer_ends(model.generation_config.eos_token_id, tokenizer)
    if reward:
        model.config.pad_token_id = pad_id(tokenizer)
    adapted = adapter.lora_rank is not None
    if adapter.quantize_base != "none":
        if adapter.quantize_base != "nf4":
            raise WorkbenchError(f"The pytorch engine holds no weights in {adapter.quantize_base}.", "It does in: nf4.")
        model = folders.in_four_bits(model, device, dtype)
    else:
        # Frozen weights lie in the number format that they are multiplied in.
        model = model.to(device, dtype if adapted else torch.float32)
    trained = add_lora(model, adapter, seed=seed, reward=reward) if adapted else model.requires_grad_(True)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return Policy(model=trained, base=base, adapted=adapted, dtype=dtype, device=device, tokenizer=tokenizer)


def add_lora(model: PreTrainedModel, section: AdapterSection, *, seed: int, reward: bool) -> Any:
    """`model` with a new LoRA adapter (Hu et al. 2021), its matrices in float32, drawn from `seed`.

    Raises `WorkbenchError` naming the layers that there are if the section's fit none.
    """
    folders.require("peft", "Adapters")
    from peft import LoraConfig, TaskType, get_peft_model

    names = section.target_modules
    every = names == ["all-linear"]
    layers = folders.linear_layers(model)
    ends = {name.rpartition(".")[2] for name in names}
    if not every and (wrong := sorted(ends - set(layers))):
        raise WorkbenchError(
            f"No layer of the model is called {' or '.join(wrong)}.",
            f"Choose target_modules from: {', '.join(layers)}; or all-linear.",
        )
    assert section.lora_rank is not None
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS if reward else TaskType.CAUSAL_LM,
        r=section.lora_rank,
        lora_alpha=section.lora_alpha or 2.0 * section.lora_rank,  # type: ignore[arg-type]
        lora_dropout=section.lora_dropout,
        target_modules=layers if every else names,
        bias="none",
        use_dora=section.use_dora,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted
