"""Post-training from job to artifact: it learns, says what happens, stops, resumes and survives."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from engines import adapters
from engines.pytorch import PyTorchEngine, folders
from tests.pytorch.conftest import Listener
from tests.pytorch.tuning_workspace import TuningWorkspace, write_chats, write_model, write_preferences
from workbench.contract import (
    CheckpointSaved,
    Estimated,
    Finished,
    Job,
    Metrics,
    Sample,
    Started,
    Stopped,
    Warned,
    parse_event,
)
from workbench.corpus.documents import CorpusWriter
from workbench.errors import WorkbenchError

CHATS = {"base": "models/base", "data.0": "chats/turns"}
PAIRS = {"base": "models/base", "preferences": "preferences/pairs"}
QUIET = {"evaluation__eval_steps": 1000, "checkpoints__save_steps": 1000}
LORA = {"adapter__lora_rank": 4, "adapter__lora_dropout": 0.1}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    write_model(folder / "models" / "base")
    write_chats(folder / "chats" / "turns")
    write_chats(folder / "chats" / "more", rows=20, seed=5)
    write_preferences(folder / "preferences" / "pairs", pairs=60)
    (folder / "corpora" / "stories").mkdir(parents=True)
    with CorpusWriter(folder / "corpora" / "stories") as writer:
        for number in range(30):
            writer.add(f"Story {number}. " + "The cat sees the moon. The moon sees the cat. " * 8, f"{number}.txt")
    return folder


@pytest.fixture
def workspace(tmp_path: Path, shared: Path) -> TuningWorkspace:
    for name in ("chats", "preferences", "corpora"):
        (tmp_path / name).symlink_to(shared / name)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(shared / "models" / "base")
    return TuningWorkspace(tmp_path)


def run(job: Job, **asked: Any) -> Listener:
    listener = Listener(**asked)
    PyTorchEngine().run(job, listener)
    return listener


def weights(job: Job) -> str:
    [path] = [job.output / name for name in ("model.safetensors", "adapter_model.safetensors")
              if (job.output / name).is_file()]  # fmt: skip
    return hashlib.sha256(path.read_bytes()).hexdigest()


def report(listener: Listener) -> dict[str, Any]:
    [finished] = listener.all(Finished)
    return dict(finished.report)


def test_sft_learns_and_says_so(workspace: TuningWorkspace) -> None:
    job = workspace.job("sft", "tuned", CHATS, schedule__max_steps=60, optimizer__learning_rate=1e-2, max_length=128)
    listener = run(job)
    [started], [estimated] = listener.all(Started), listener.all(Estimated)
    assert (started.step, started.total_steps) == (0, 60)
    assert estimated.parameters == sum(item.numel() for item in folders.open_causal_lm(job.output).parameters())
    steps = [event for event in listener.all(Metrics) if event.loss is not None]
    assert [event.step for event in steps] == list(range(1, 61))
    assert all(event.grad_norm and event.learning_rate and event.tokens for event in steps)
    assert [event.tokens for event in steps] == sorted(event.tokens for event in steps)
    assert steps[-1].tokens_per_second > 0
    found = report(listener)
    assert found["eval_loss_before"] > 5.5
    assert found["eval_loss"] < 1.3  # the sentence is repeated: what is left is three words of ten
    assert found["tokens"] == steps[-1].tokens
    assert {event.prompt for event in listener.all(Sample)} == {"Who are you?"}
    assert len(listener.all(CheckpointSaved)) == 5
    assert {"chat_template.jinja", "held_out.txt", "config.json", "tokenizer.json", "generation_config.json"} <= {
        path.name for path in job.output.iterdir()
    }
    model = PyTorchEngine().load(job.output)
    prompt = model.render([{"role": "user", "content": "Repeat: The cat sees the dog."}])
    answer = list(model.generate([prompt], sampling_greedy()))
    assert answer[-1].finish == "stop"
    assert "".join(token.text for token in answer).startswith("The ")


def sampling_greedy() -> Any:
    from workbench.contract import Sampling

    return Sampling(temperature=0, max_tokens=40)


def test_an_adapter_learns_on_a_frozen_base(workspace: TuningWorkspace) -> None:
    settings = {"schedule__max_steps": 40, "optimizer__learning_rate": 2e-2, "adapter__lora_rank": 8, **QUIET}
    job = workspace.job("sft", "adapter", CHATS, **settings)
    found = report(run(job))
    assert found["adapter"]
    assert found["trained_parameters"] < 0.25 * found["parameters"]
    assert found["eval_loss"] < found["eval_loss_before"] - 0.3
    assert (job.output / "adapter_config.json").is_file()
    merged = workspace.job("merge-adapter", "merged", {"model": "models/adapter"})
    run(merged)
    one, two = folders.open_causal_lm(job.output), folders.open_causal_lm(merged.output)
    assert not adapters.is_adapter(merged.output)
    for first, second in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(first, second)
    assert (merged.output / "chat_template.jinja").is_file()


def test_continued_pretraining_learns_plain_text(workspace: TuningWorkspace) -> None:
    inputs = {"base": "models/base", "corpus": "corpora/stories"}
    job = workspace.job("continue", "more", inputs, schedule__max_steps=30, optimizer__learning_rate=1e-2, **QUIET)
    found = report(run(job))
    assert found["eval_loss_before"] > 5.5
    assert found["eval_loss"] < 1.5
    assert not (job.output / "chat_template.jinja").exists()


def test_mixtures_noise_and_parts_of_conversations_are_trained_on(workspace: TuningWorkspace) -> None:
    mixed = {"base": "models/base", "data.0": "chats/turns", "data.1": "chats/more"}
    settings = {"conversations__neftune_noise_alpha": 5.0, "conversations__train_on": "completion"}
    job = workspace.job("sft", "mixed", mixed, **settings)
    recipe = {**job.recipe, "data": ["turns=0.25", "more=0.75"]}
    job = Job(**{**{name: getattr(job, name) for name in job.__dataclass_fields__}, "recipe": recipe})
    noisy = run(job)
    assert report(noisy)["eval_loss"] < report(noisy)["eval_loss_before"]
    mixture = report(noisy)["mixture"]
    assert list(mixture) == ["turns", "more"]
    assert sum(mixture.values()) == pytest.approx(1)
    assert mixture["more"] > 0.5
    whole = report(run(workspace.job("sft", "all", CHATS, conversations__train_on="all")))
    assert whole["trained_share"] > 0.9 > report(noisy)["trained_share"]


CASES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "sft, full": ("sft", CHATS, {}),
    "sft, adapter with dropout": ("sft", CHATS, LORA),
    "sft, not packed, noise, accumulated": (
        "sft", CHATS,
        {"conversations__packing": False, "conversations__neftune_noise_alpha": 5.0, "batch__per_device_batch_size": 2},
    ),
    "reward": ("reward", PAIRS, {}),
    "reward, adapter with dropout": ("reward", PAIRS, LORA),
    "dpo": ("dpo", PAIRS, {}),
    "dpo, adapter with dropout": ("dpo", PAIRS, LORA),
    "orpo": ("orpo", PAIRS, {}),
    "kto": ("kto", PAIRS, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_stopped_and_resumed_is_as_never_stopped(workspace: TuningWorkspace, case: str) -> None:
    stage, inputs, settings = CASES[case]
    settings = {"checkpoints__save_steps": 5, "schedule__max_steps": 9, "batch__batch_size": 4, **settings}
    whole_job = workspace.job(stage, "whole", inputs, **settings)
    whole = run(whole_job)
    job = workspace.job(stage, "stopped", inputs, **settings)
    first = run(job, stop_after=9)
    [stopped] = first.all(Stopped)
    assert 0 < stopped.step < 9
    assert not first.all(Finished)
    second = run(job)
    assert second.all(Started)[0].step == stopped.step
    assert first.losses() | second.losses() == whole.losses()
    assert weights(job) == weights(whole_job)
    last, expected = second.all(Metrics)[-1], whole.all(Metrics)[-1]
    assert (last.tokens, dict(last.more)) == (expected.tokens, dict(expected.more))


@pytest.mark.slow
def test_killed_while_it_writes_checkpoints_and_resumed(workspace: TuningWorkspace) -> None:
    settings = {"checkpoints__save_steps": 1, "schedule__max_steps": 40, "evaluation__eval_steps": 40, **LORA}
    whole_job = workspace.job("sft", "whole", CHATS, **settings)
    whole = run(whole_job)
    job = workspace.job("sft", "killed", CHATS, **settings)
    job.write(job.directory / "job.json")
    with open(job.directory / "log.txt", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "engines.pytorch", str(job.directory / "job.json")], stdout=log, stderr=log
        )
        partial = job.directory / "checkpoints"
        deadline = time.monotonic() + 300
        while not list(partial.glob("step-0000000[3-9]")) or not list(partial.glob("*.partial")):
            assert process.poll() is None, (job.directory / "log.txt").read_text()
            assert time.monotonic() < deadline
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    lines = (job.directory / "events.jsonl").read_text().splitlines()
    before = Listener([parse_event(line) for line in lines]).losses()
    second = run(job)
    assert 3 <= second.all(Started)[0].step < 40
    assert before | second.losses() == whole.losses()
    assert weights(job) == weights(whole_job)


def test_checkpoint_now_and_rotation(workspace: TuningWorkspace) -> None:
    settings = {"checkpoints__save_steps": 4, "checkpoints__keep_last": 1, "evaluation__eval_steps": 12, **LORA}
    job = workspace.job("sft", "kept", CHATS, **settings)
    listener = run(job, checkpoint_after=3)
    saved = listener.all(CheckpointSaved)
    assert {4, 8, 12} < {event.step for event in saved}
    kept = {path.name for path in (job.directory / "checkpoints").iterdir()}
    best = min((event for event in saved if event.eval_loss), key=lambda event: event.eval_loss).step
    assert kept == {f"step-{best:08d}", "step-00000012"}
    # A checkpoint opens like any model.
    assert type(folders.open_causal_lm(job.directory / saved[-1].path)).__name__ == "LlamaForCausalLM"


@pytest.mark.slow
def test_two_processes_train_as_one(workspace: TuningWorkspace) -> None:
    settings = {"schedule__max_steps": 6, "batch__batch_size": 4, "evaluation__sample_tokens": 0, **QUIET}
    for stage, inputs in (("sft", CHATS), ("dpo", PAIRS)):
        one = run(workspace.job(stage, f"{stage}-one", inputs, **settings))
        job = workspace.job(stage, f"{stage}-two", inputs, launch__kind="torchrun", launch__processes=2, **settings)
        job.write(job.directory / "job.json")
        command = PyTorchEngine().command(job, job.directory / "job.json")
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        lines = (job.directory / "events.jsonl").read_text().splitlines()
        two = Listener([parse_event(line) for line in lines])
        for step, loss in one.losses().items():
            assert two.losses()[step] == pytest.approx(loss, abs=2e-5), (stage, step)
        assert report(two)["eval_loss"] == pytest.approx(report(one)["eval_loss"], abs=2e-5)
        assert report(two)["tokens"] == report(one)["tokens"]


def test_a_loss_that_is_not_finite_ends_the_run_in_a_sentence(workspace: TuningWorkspace) -> None:
    settings = {"optimizer__learning_rate": 1e30, "optimizer__max_grad_norm": 0.0, "schedule__warmup_ratio": 0.0}
    job = workspace.job("sft", "nan", CHATS, **settings)
    with pytest.raises(WorkbenchError, match="is no longer finite at step") as error:
        run(job)
    assert "--learning-rate" in error.value.remedy


def test_out_of_memory_says_at_which_step_and_what_to_lower(
    workspace: TuningWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engines.pytorch.method import GradientMethod

    original, calls = GradientMethod.backward, []

    def backward(self: Any, inputs: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:  # after the one that is timed
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return original(self, inputs)

    monkeypatch.setattr(GradientMethod, "backward", backward)
    with pytest.raises(WorkbenchError, match="At step 4: Out of memory") as error:
        run(workspace.job("sft", "oom", CHATS))
    assert "--per-device-batch-size" in error.value.remedy


def test_what_cannot_fit_is_refused_before_it_starts(
    workspace: TuningWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engines.pytorch import device

    monkeypatch.setattr(device, "free_memory_bytes", lambda _: 50 << 20)
    with pytest.raises(WorkbenchError, match=r"needs about 0\.\d GiB more memory") as error:
        run(workspace.job("sft", "huge", CHATS))
    assert "--per-device-batch-size" in error.value.remedy


def test_long_rows_are_cut_and_counted(workspace: TuningWorkspace) -> None:
    listener = run(workspace.job("sft", "short", CHATS, max_length=40))
    [warning] = [event.message for event in listener.all(Warned) if "were cut" in event.message]
    assert "longer than 40 tokens" in warning
    assert report(listener)["max_length"] == 40


def test_a_length_beyond_the_context_is_refused(workspace: TuningWorkspace) -> None:
    with pytest.raises(WorkbenchError, match="max_length is 500 tokens, and the context is 128"):
        run(workspace.job("sft", "long", CHATS, max_length=500))


def test_another_recipe_does_not_go_on_from_a_checkpoint(workspace: TuningWorkspace) -> None:
    run(workspace.job("sft", "same", CHATS), stop_after=9)
    with pytest.raises(WorkbenchError, match="belongs to another recipe"):
        run(workspace.job("sft", "same", CHATS, seed=1))


def test_recomputed_activations_give_the_same_losses(workspace: TuningWorkspace) -> None:
    for name, adapter in (("whole", {}), ("adapter", {"adapter__lora_rank": 4})):
        kept = run(workspace.job("sft", f"kept-{name}", CHATS, schedule__max_steps=4, **adapter))
        settings = {"schedule__max_steps": 4, "precision__gradient_checkpointing": True, **adapter}
        recomputed = run(workspace.job("sft", f"recomputed-{name}", CHATS, **settings))
        for step, loss in kept.losses().items():
            assert recomputed.losses()[step] == pytest.approx(loss, abs=1e-5)


def test_an_adapter_on_a_base_in_four_bits_learns(workspace: TuningWorkspace) -> None:
    pytest.importorskip("bitsandbytes")
    write_model(workspace.folder / "models" / "wide", width=128)  # its CPU kernel wants multiples of 32
    inputs = {**CHATS, "base": "models/wide"}
    settings = {"adapter__lora_rank": 8, "adapter__quantize_base": "nf4", "schedule__max_steps": 15}
    job = workspace.job("sft", "qlora", inputs, optimizer__learning_rate=1e-2, **settings)
    found = report(run(job))
    assert found["eval_loss"] < found["eval_loss_before"] - 0.1
    assert PyTorchEngine().load(job.output).chat_template is not None


def test_a_tokenizer_that_can_end_no_answer_is_refused(workspace: TuningWorkspace) -> None:
    base = write_model(workspace.folder / "models" / "endless")
    (base / "tokenizer_config.json").write_text("{}")
    content = json.loads((base / "tokenizer.json").read_text())
    content["added_tokens"] = []
    (base / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(WorkbenchError, match=r"no EOS|no token that ends an answer") as error:
        run(workspace.job("sft", "endless", {**CHATS, "base": "models/endless"}))
    assert "eos_token" in error.value.remedy


def test_noise_is_within_its_bound_in_every_document() -> None:
    """NEFTune: uniform, at most alpha / sqrt(length · width) of the document's own length."""
    from engines.pytorch.documents import _inputs

    class Embeddings:
        def get_input_embeddings(self) -> torch.nn.Module:
            return table

    torch.manual_seed(0)
    table = torch.nn.Embedding(10, 64)
    ids = torch.arange(10)[None]
    lengths = torch.tensor([[8] * 8 + [2] * 2])
    noisy = _inputs(Embeddings(), ids, lengths, 5.0)["inputs_embeds"]
    noise = (noisy - table(ids)).detach()[0].abs()
    for part, length in ((noise[:8], 8), (noise[8:], 2)):
        bound = 5.0 / (length * 64) ** 0.5
        assert 0.9 * bound < part.max() <= bound * 1.0001
