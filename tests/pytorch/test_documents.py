"""Forward passes without padding: what a document gets in company is what it gets alone."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from trl.trainer.utils import add_fused_lm_head

from engines.pytorch import documents
from engines.pytorch.token_log_probs import token_log_probs

SHAPE = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16)),
    "mistral with a window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=4)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1)
    ),
}


def batch(left: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, mask, labels) of three documents of 20, 12 and 5 tokens, of which the last ones are scored."""
    generator = torch.Generator().manual_seed(0)
    ids, mask = torch.randint(3, 300, (3, 20), generator=generator), torch.zeros(3, 20, dtype=torch.int64)
    labels = torch.full_like(ids, -100)
    for row, length in enumerate((20, 12, 5)):
        place = slice(20 - length, 20) if left else slice(0, length)
        mask[row, place] = 1
        scored = slice(place.start + 3, place.stop)
        labels[row, scored] = ids[row, scored]
    return ids, mask, labels


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities_and_gradients_are_those_of_each_document_alone(name: str, left: bool) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    alone = MODELS[name]().eval()
    alone.load_state_dict(model.state_dict())
    ids, mask, labels = batch(left)
    assert documents.install(model)
    found = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    weights = torch.linspace(0.1, 1, 19)
    (found.log_probs * weights).sum().backward()

    total = torch.zeros(())
    for row in range(3):
        kept = mask[row].bool()
        logits = alone(input_ids=ids[row, kept][None], use_cache=False).logits[0].log_softmax(-1)
        own = logits[:-1].gather(1, ids[row, kept][1:, None])[:, 0]
        scored = labels[row, kept][1:] != -100
        places = kept.nonzero().squeeze(1)[1:] - 1
        assert torch.allclose(found.log_probs[row, places][scored], own[scored], atol=2e-6)
        assert (found.log_probs[row, places][~scored] == 0).all()
        total = total + (own * weights[places])[scored].sum()
    total.backward()
    for one, two in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=2e-5)


def test_packed_rows_equal_separate_ones() -> None:
    """Documents behind each other in one row, told apart by their positions, as packing makes them."""
    torch.manual_seed(0)
    model = MODELS["llama"]().eval()
    documents.install(model)
    ids, mask, labels = batch()
    apart = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    kept = mask.bool()
    lengths = mask.sum(1).tolist()
    packed = model(
        input_ids=ids[kept][None],
        attention_mask=torch.ones(1, sum(lengths), dtype=torch.int64),
        labels=labels[kept][None],
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None],
        fused_lm_head=True,
    )
    assert torch.allclose(packed.log_probs.sum(), apart.log_probs.sum(), atol=1e-4)
    assert torch.allclose(packed.log_probs[packed.label_mask], apart.log_probs[apart.label_mask], atol=2e-6)


def test_statistics_are_those_of_trl() -> None:
    torch.manual_seed(0)
    ours = MODELS["llama"]().eval()
    theirs = MODELS["llama"]().eval()
    theirs.load_state_dict(ours.state_dict())
    documents.install(ours)
    add_fused_lm_head(theirs, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    ids, mask, labels = batch()
    one = ours(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    two = theirs(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    for name in ("log_probs", "entropy", "mean_logits"):
        assert torch.allclose(getattr(one, name), getattr(two, name), atol=2e-6), name
    assert torch.equal(one.is_top1, two.is_top1)
    assert torch.equal(one.label_mask, two.label_mask)


def test_a_reward_is_read_at_the_last_token() -> None:
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(**SHAPE, num_labels=1, pad_token_id=0)).eval()
    ids, mask, _ = batch()
    ids = ids.masked_fill(mask == 0, 0)
    expected = model(input_ids=ids, attention_mask=mask).logits
    assert documents.install(model)
    assert torch.allclose(model(input_ids=ids, attention_mask=mask).logits, expected, atol=1e-6)


def test_generation_goes_on_as_before() -> None:
    torch.manual_seed(0)
    model = MODELS["llama"]().eval()
    ids, mask, _ = batch(left=True)
    settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(ids, attention_mask=mask, **settings)
    documents.install(model)
    assert torch.equal(model.generate(ids, attention_mask=mask, **settings), expected)


def test_an_architecture_that_mixes_documents_is_padded() -> None:
    torch.manual_seed(0)
    model = MODELS["llama"]().eval()
    ids, mask, labels = batch()
    documents.install(model)
    expected = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True).log_probs
    other = MODELS["llama"]().eval()
    other.load_state_dict(model.state_dict())
    # As a model with a state that runs on through the row: each hidden state leaks into the next.
    leaky = other.model.norm.register_forward_hook(lambda _, __, output: output + output.roll(1, dims=1))
    assert not documents.install(other)
    leaky.remove()
    found = other(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True).log_probs
    assert torch.allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen head", "trained head"])
def test_chunks_give_the_gradients_of_the_whole(frozen: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(700, 32, generator=generator, requires_grad=True)
    weight = torch.randn(5000, 32, generator=generator).requires_grad_(not frozen)
    targets = torch.randint(5000, (700,), generator=generator)
    slopes = torch.randn(700, generator=generator)
    (token_log_probs(hidden, weight, targets).log_probs * slopes).sum().backward()
    ours = [hidden.grad.clone(), None if frozen else weight.grad.clone()]
    hidden.grad = weight.grad = None
    whole = (hidden @ weight.t()).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    (whole * slopes).sum().backward()
    assert torch.allclose(ours[0], hidden.grad, atol=1e-4)
    if not frozen:
        assert torch.allclose(ours[1], weight.grad, atol=1e-4)
