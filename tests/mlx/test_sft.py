"""SFT and continued pretraining on MLX: PyTorch's losses, gradients and steps, and adapters that go both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="trl is not installed: pip install 'llm-workbench[tuning]'")

from engines.mlx import MlxEngine, sft
from engines.mlx.folders import open_causal_lm
from engines.pytorch import PyTorchEngine, folders
from engines.pytorch import sft as torch_sft
from tests.mlx.tuning import Both, check_compiled, check_resuming, linked, open_both
from tests.pytorch.conftest import Listener
from tests.pytorch.tuning_workspace import TuningWorkspace, write_chats, write_model
from workbench.contract import Finished, Job, Metrics, Sample, Sampling
from workbench.corpus.chats.training_data import conversation_rows
from workbench.corpus.documents import CorpusWriter
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.sft import SftRecipe

CHATS = {"base": "models/base", "data.0": "chats/turns"}
SMALL = {"max_length": 64, "engine": "mlx", "evaluation__eval_steps": 1000, "evaluation__sample_tokens": 0}
LORA = {"adapter__lora_rank": 4}
DORA = LORA | {"adapter__use_dora": True}


@pytest.fixture(scope="module")
def shared_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    write_model(folder / "models" / "base", width=32)
    write_chats(folder / "chats" / "turns", rows=40)
    (folder / "corpora" / "stories").mkdir(parents=True)
    with CorpusWriter(folder / "corpora" / "stories") as writer:
        for number in range(12):
            writer.add(f"Story {number}. " + "The cat sees the moon. " * 6, f"{number}.txt")
    return folder


@pytest.fixture
def tuning(tmp_path: Path, shared_models: Path) -> TuningWorkspace:
    return linked(shared_models, tmp_path)


def both(job: Job, tmp_path: Path) -> Both:
    recipe: Any = validate(SftRecipe, job.recipe).resolved()
    theirs, policy, place, own = open_both(job, recipe, tmp_path / "begin")
    trainer, _ = torch_sft.supervised_trainer(policy, recipe, job.directory)
    rows = conversation_rows(recipe, job.inputs, policy.tokenizer, max_length=64)
    method = torch_sft.SupervisedMethod(
        policy, recipe, optimizer=theirs.optimizer(policy), processes=theirs.processes, rows=rows.train,
        held_out=rows.held_out, trainer=trainer, report={},
    )  # fmt: skip
    return Both(recipe, method, sft.Supervised(own, recipe, place, rows.train, rows.held_out, ""))


@pytest.mark.parametrize("settings", [{}, LORA, DORA], ids=["full", "lora", "dora"])
@pytest.mark.parametrize("packing", [True, False], ids=["packed", "padded"])
def test_loss_gradients_and_evaluation_are_those_of_pytorch(
    tuning: TuningWorkspace, tmp_path: Path, settings: dict[str, Any], packing: bool
) -> None:
    pair = both(tuning.job("sft", "own", CHATS, conversations__packing=packing, **SMALL | settings), tmp_path)
    pair.check_gradients()
    pair.check_evaluation()


@pytest.mark.parametrize("settings", [{}, LORA, DORA], ids=["full", "lora", "dora"])
def test_twenty_steps_are_those_of_pytorch(tuning: TuningWorkspace, tmp_path: Path, settings: dict[str, Any]) -> None:
    steps = {"schedule__max_steps": 20, "batch__per_device_batch_size": 2, "optimizer__weight_decay": 0.1}
    both(tuning.job("sft", "own", CHATS, **SMALL | settings | steps), tmp_path).check_steps(20, peak=5e-3)


def test_recomputing_layers_and_chunks_of_logits_change_no_gradient(
    tuning: TuningWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx.utils import tree_flatten

    job = tuning.job("sft", "own", CHATS, **SMALL)
    pair = both(job, tmp_path)
    micro = pair.mlx.micro_batches(0)[0][0]
    loss, gradients = pair.mlx.trainer.gradients(*micro)
    monkeypatch.setattr("engines.mlx.forward.CHUNK_BYTES", 1)
    pair.mlx.recipe.precision.gradient_checkpointing = True
    again, recomputed = pair.mlx.trainer.gradients(*micro)
    assert float(again) == pytest.approx(float(loss), rel=1e-6)
    expected = dict(tree_flatten(gradients))
    for name, item in tree_flatten(recomputed):
        assert np.abs(np.array(item - expected[name])).max() <= 1e-5 * np.abs(np.array(expected[name])).max(), name


@pytest.mark.parametrize("bits", [None, 8], ids=["whole", "eight-bit"])
def test_dropout_takes_from_dora_what_it_takes_from_pefts(bits: int | None) -> None:
    import mlx.core as mx
    from mlx import nn
    from peft import LoraConfig, get_peft_model

    from engines.mlx.lora import Dora

    class Fixed(torch.nn.Module):
        """Dropout of half the inputs, always the same."""

        def forward(self, x: Any) -> Any:
            return x * torch.from_numpy(mask)

    drawn = np.random.default_rng(0)
    mask = drawn.integers(0, 2, (6, 32)).astype(np.float32) * 2
    layer: Any = nn.Linear(32, 24)
    if bits is not None:
        layer = nn.QuantizedLinear.from_linear(layer, 32, bits)
    own = Dora(layer, rank=4, dropout=0.5, scale=2.0)
    own.lora_b, own.m = mx.array(drawn.normal(0, 0.3, (4, 24)).astype(np.float32)), own.m * 1.3
    own.dropout = lambda x: x * mx.array(mask)
    own.freeze(recurse=False)
    own.unfreeze(keys=["lora_a", "lora_b", "m"], recurse=False)

    plain = torch.nn.Sequential(torch.nn.Linear(32, 24))
    adapted = get_peft_model(
        plain, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.5, use_dora=True, target_modules=["0"])
    ).train()
    [theirs] = [item for item in adapted.modules() if hasattr(item, "lora_magnitude_vector")]
    theirs.lora_dropout["default"] = Fixed()
    weights = {"lora_a": theirs.lora_A["default"].weight, "lora_b": theirs.lora_B["default"].weight,
               "m": theirs.lora_magnitude_vector["default"].weight}  # fmt: skip
    with torch.no_grad():
        theirs.base_layer.weight.copy_(torch.from_numpy(np.array(own._dequantized_weight())))
        theirs.base_layer.bias.copy_(torch.from_numpy(np.array(layer.bias)))
        for name, weight in weights.items():
            weight.copy_(torch.from_numpy(np.array(own[name]).T))

    inputs, wanted = (drawn.normal(size=(6, width)).astype(np.float32) for width in (32, 24))
    expected = (adapted(torch.from_numpy(inputs)) * torch.from_numpy(wanted)).sum()
    expected.backward()
    found, gradients = nn.value_and_grad(own, lambda x: (own(x) * mx.array(wanted)).sum())(mx.array(inputs))
    assert float(found) == pytest.approx(expected.item(), rel=1e-4)
    for name, weight in weights.items():
        gradient = weight.grad.numpy()
        assert np.abs(np.array(gradients[name]).T - gradient).max() <= 1e-4 * np.abs(gradient).max(), name


@pytest.mark.parametrize("kind", [LORA, DORA], ids=["lora", "dora"])
def test_an_adapter_of_mlx_is_opened_and_merged_by_peft(tuning: TuningWorkspace, kind: dict[str, Any]) -> None:
    rate = {"optimizer__learning_rate": 1e-2}  # so that DoRA's magnitudes move away from those of the base
    job = tuning.job("sft", "adapter", CHATS, schedule__max_steps=4, **SMALL | kind | rate)
    listener = Listener()
    MlxEngine().run(job, listener)
    report = listener.all(Finished)[0].report
    assert report["adapter"]
    assert report["trained_parameters"] < report["parameters"] / 4
    assert {path.name for path in job.output.iterdir()} >= {
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "held_out.txt", "tokenizer.json",
    }  # fmt: skip
    tokens = [0, 20, 30, 40, 50, 60]
    opened = folders.open_causal_lm(job.output)
    expected = opened(torch.tensor([tokens])).logits[0].detach().numpy()
    import mlx.core as mx

    own, _ = open_causal_lm(job.output)
    assert np.abs(np.array(own(mx.array([tokens]))[0]) - expected).max() < 1e-4 * np.abs(expected).max()
    base = folders.open_causal_lm(job.inputs["base"])
    assert np.abs(base(torch.tensor([tokens])).logits[0].detach().numpy() - expected).max() > 1e-3
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(job.output))
    assert (config.r, config.lora_alpha, config.peft_type) == (4, 8.0, "LORA")
    assert config.use_dora == (kind is DORA)


@pytest.mark.parametrize("kind", [LORA, DORA], ids=["lora", "dora"])
def test_an_adapter_of_peft_is_opened_and_trained_further_by_mlx(tuning: TuningWorkspace, kind: dict[str, Any]) -> None:
    job = tuning.job(
        "sft", "theirs", CHATS, schedule__max_steps=3, optimizer__learning_rate=1e-2, **kind, max_length=64
    )
    PyTorchEngine().run(job, Listener())
    import mlx.core as mx

    tokens = [0, 20, 30, 40, 50, 60]
    expected = folders.open_causal_lm(job.output)(torch.tensor([tokens])).logits[0].detach().numpy()
    own, _ = open_causal_lm(job.output)
    assert np.abs(np.array(own(mx.array([tokens]))[0]) - expected).max() < 1e-4 * np.abs(expected).max()
    further = tuning.job("sft", "on-it", CHATS | {"base": "models/theirs"}, schedule__max_steps=2, **SMALL | kind)
    listener = Listener()
    MlxEngine().run(further, listener)
    assert listener.all(Finished)
    assert folders.open_causal_lm(further.output) is not None  # the chain of two adapters


@pytest.mark.parametrize(
    "settings",
    [
        {},
        LORA | {"adapter__lora_dropout": 0.2},
        DORA | {"adapter__quantize_base": "mlx-4bit", "adapter__lora_dropout": 0.2},
    ],
    ids=["full", "lora", "qdora"],
)
def test_stopped_and_resumed_is_never_stopped(tuning: TuningWorkspace, settings: dict[str, Any]) -> None:
    steps = {"schedule__max_steps": 6, "checkpoints__save_steps": 3, "conversations__neftune_noise_alpha": 5.0}
    check_resuming(lambda name: tuning.job("sft", name, CHATS, **SMALL | settings | steps))


@pytest.mark.parametrize("weight_format", ["mlx-4bit", "mlx-8bit"])
def test_an_adapter_learns_on_a_base_in_few_bits_and_is_merged_into_the_whole_one(
    tuning: TuningWorkspace, weight_format: str
) -> None:
    settings = {"schedule__max_steps": 15, "optimizer__learning_rate": 3e-2, "adapter__quantize_base": weight_format}
    job, listener = tuning.job("sft", "qlora", CHATS, **SMALL | LORA | settings), Listener()
    MlxEngine().run(job, listener)
    report = listener.all(Finished)[0].report
    whole = sum(item.numel() for item in folders.open_causal_lm(job.inputs["base"]).parameters())
    assert report["parameters"] == whole + report["trained_parameters"]
    assert report["eval_loss"] < report["eval_loss_before"] - 0.2
    # On the whole base it is almost as good: what the bits took is not what was learnt.
    plain = tuning.job(
        "sft", "after", CHATS | {"base": "models/qlora"}, schedule__max_steps=1, optimizer__learning_rate=1e-9, **SMALL
    )
    after = Listener()
    MlxEngine().run(plain, after)
    before = after.all(Finished)[0].report["eval_loss_before"]
    assert before == pytest.approx(report["eval_loss"], abs=0.3 if weight_format == "mlx-4bit" else 0.03)


def test_a_base_in_few_bits_computes_with_what_the_bits_hold(tuning: TuningWorkspace) -> None:
    import mlx.core as mx

    from engines.mlx.policy import open_policy
    from engines.mlx.quantization import group_size
    from workbench.recipes.tuning import AdapterSection

    base = tuning.folder / "models" / "base"
    section = AdapterSection(lora_rank=4, quantize_base="mlx-4bit")
    policy = open_policy(base, section, seed=0, dtype=mx.float32)
    layer = policy.model.model.layers[0].mlp.down_proj.linear
    weight, _ = open_causal_lm(base)
    original = weight.model.layers[0].mlp.down_proj.weight
    assert (layer.bits, layer.group_size) == (4, group_size(weight.model.layers[0].mlp.down_proj))
    held = mx.dequantize(layer.weight, layer.scales, layer.biases, layer.group_size, layer.bits)
    span = original.reshape(-1, layer.group_size)
    step = (span.max(axis=1) - span.min(axis=1)).max() / 15
    assert 0 < float(mx.abs(held - original).max()) <= float(step)  # MLX keeps the larger edge exact
    tokens = mx.arange(10, 20)[None]
    assert float(mx.abs(policy.model(tokens) - weight(tokens)).max()) < 0.2 * float(mx.abs(weight(tokens)).max())


def test_sft_teaches_and_pytorch_opens_what_came_of_it(tuning: TuningWorkspace) -> None:
    settings = {"schedule__max_steps": 20, "optimizer__learning_rate": 1e-2, "evaluation__sample_tokens": 6}
    job, listener = tuning.job("sft", "tuned", CHATS, **SMALL | settings), Listener()
    MlxEngine().run(job, listener)
    report = listener.all(Finished)[0].report
    assert report["eval_loss_before"] > 5.5
    assert report["eval_loss"] < 4
    assert 0 < report["eval_token_accuracy"] <= 1
    assert listener.all(Sample)
    assert next(event.more for event in listener.all(Metrics) if event.step == 0)["eval_loss"] > 5.5
    answers = []
    for engine in (MlxEngine(), PyTorchEngine()):
        model = engine.load(job.output)
        prompt = model.render([{"role": "user", "content": "Repeat: The cat sees the dog."}])
        answers.append("".join(token.text for token in model.generate([prompt], Sampling(temperature=0, max_tokens=8))))
        model.close()
    assert answers[0] == answers[1]


def test_continued_pretraining_leaves_a_base_model(tuning: TuningWorkspace) -> None:
    inputs = {"base": "models/base", "corpus": "corpora/stories"}
    job, listener = tuning.job("continue", "further", inputs, schedule__max_steps=4, **SMALL), Listener()
    MlxEngine().run(job, listener)
    report = listener.all(Finished)[0].report
    assert report["eval_loss"] < report["eval_loss_before"]
    assert not (job.output / "chat_template.jinja").exists()


def test_what_it_cannot_do_is_said_before_work_starts(tuning: TuningWorkspace) -> None:
    cases = {
        "holds no weights in nf4": LORA | {"adapter__quantize_base": "nf4"},
        "No layer of the model is called up_down": LORA | {"adapter__target_modules": ["up_down"]},
    }
    for message, settings in cases.items():
        with pytest.raises(WorkbenchError, match=message):
            MlxEngine().run(tuning.job("sft", "refused", CHATS, **SMALL | settings), Listener())
    with pytest.raises(WorkbenchError, match="max_length is 4,096 tokens, and the context is 128"):
        MlxEngine().run(tuning.job("sft", "refused", CHATS, **SMALL | {"max_length": 4096}), Listener())


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, LORA], ids=["full", "lora"])
def test_a_compiled_step_gives_the_same_losses(
    tuning: TuningWorkspace, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    steps = {"schedule__max_steps": 4}
    check_compiled(lambda name: tuning.job("sft", name, CHATS, **SMALL | settings | steps), monkeypatch)
