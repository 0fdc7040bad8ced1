"""What tuning will take: the weights are those that the libraries make, and the rest follows the recipe."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.recipes.load import recipe_from
from workbench.recipes.tuning import TuningRecipe
from workbench.recipes.tuning_estimate import adapter_parameters, shape_of, tuning_estimate

SMOLLM2 = {
    "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    "intermediate_size": 1536, "vocab_size": 49_152, "max_position_embeddings": 8192, "tie_word_embeddings": True,
}  # fmt: skip


def recipe(stage: str = "sft", **values: Any) -> TuningRecipe:
    needed: dict[str, Any] = {
        "sft": {"data": ["chats"]},
        "ppo": {"prompts": "questions", "reward": "judge"},
        "grpo": {"prompts": "questions", "reward_pattern": "a"},
    }
    given = needed.get(stage, {"preferences": "pairs"})
    found = recipe_from({"stage": stage, "base": "smol", **given, **values}).resolved()
    assert isinstance(found, TuningRecipe)
    return found


def test_weights_are_those_that_the_libraries_make() -> None:
    pytest.importorskip("torch")
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=96, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, intermediate_size=200,
        vocab_size=500, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    shape = shape_of(config.to_dict())
    assert shape is not None
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    for targets, ours in (("all-linear", ["all-linear"]), (["q_proj", "v_proj"], ["q_proj", "v_proj"])):
        for dora in (False, True):
            lora = LoraConfig(r=8, target_modules=targets, use_dora=dora)
            adapted: Any = get_peft_model(LlamaForCausalLM(config), lora)
            trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
            assert adapter_parameters(shape, 8, ours, dora=dora) == trained


def test_smollm2_has_135_million() -> None:
    shape = shape_of(SMOLLM2)
    assert shape is not None
    assert shape.parameters == 134_515_008


def test_an_unknown_architecture_has_no_shape() -> None:
    assert shape_of({"n_embd": 768, "n_layer": 12}) is None
    assert shape_of({"text_config": SMOLLM2}) == shape_of(SMOLLM2)


def test_steps_follow_from_the_rows() -> None:
    shape = shape_of(SMOLLM2)
    assert shape is not None
    assert tuning_estimate(recipe(), shape).steps is None
    assert tuning_estimate(recipe(), shape, rows=1000).steps == 60  # 950 of 1,000 rows, 16 a step
    three = recipe(schedule={"num_train_epochs": 3}, batch={"batch_size": 10})
    assert tuning_estimate(three, shape, rows=1000).steps == 285
    assert tuning_estimate(recipe(schedule={"max_steps": 7}), shape, rows=1000).steps == 7
    assert tuning_estimate(recipe("dpo"), shape, rows=1000).steps == 57
    assert tuning_estimate(recipe("ppo"), shape).steps == 100


def test_memory_falls_and_rises_with_what_is_held() -> None:
    shape = shape_of(SMOLLM2)
    assert shape is not None

    def memory(stage: str = "sft", **values: Any) -> int:
        return tuning_estimate(recipe(stage, **values), shape).memory_bytes

    lora: dict[str, Any] = {"adapter": {"lora_rank": 16}}
    weights = shape.parameters
    assert memory() - memory(**lora) > 11 * weights  # gradients and moments of the frozen ones
    assert memory(**lora) > memory(adapter={"lora_rank": 16, "quantize_base": "nf4"}) + 2.5 * shape.linear
    assert memory("dpo") - memory("orpo") == 4 * weights  # the reference
    assert memory("dpo", **lora) == memory("orpo", **lora)  # which is the base without the adapter
    assert memory("ppo") > memory("grpo") + 20 * weights  # value model, reward model, reference
    assert memory(batch={"per_device_batch_size": 1}) < memory(batch={"per_device_batch_size": 8})
    assert memory(precision={"gradient_checkpointing": True}) < memory()
