"""Losses of whole batches: ours against TRL's, computed by TRL's own trainers and collators on the same rows."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference
from trl.trainer.reward_trainer import DataCollatorForPreference as RewardCollator
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from engines.judged import p_value
from engines.pytorch import folders
from engines.pytorch.distributed import Processes
from engines.pytorch.post_training import Workplace
from engines.pytorch.preference import OrpoMethod, SimpoMethod
from engines.pytorch.preference_stage import preference_losses
from engines.pytorch.sft import supervised_trainer
from tests.pytorch.conftest import Listener
from tests.pytorch.tuning_workspace import TuningWorkspace, write_chats, write_model, write_preferences
from workbench.corpus.chats.training_data import conversation_rows, mark_rows, pair_rows
from workbench.recipes.base import validate
from workbench.recipes.preference import DpoRecipe, KtoRecipe, OrpoRecipe, RewardRecipe
from workbench.recipes.sft import SftRecipe

ROWS = 4
CLOSE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("losses")
    write_model(path / "models" / "base")
    write_model(path / "models" / "reference", seed=7)
    write_preferences(path / "preferences" / "pairs", pairs=40, margins=True)
    write_chats(path / "chats" / "turns")
    return path


def ours(folder: Path, stage: str, kind: Any, inputs: dict[str, str], **settings: Any) -> tuple[Any, Any, Any]:
    """(a place to work, the recipe, the policy)."""
    job = TuningWorkspace(folder).job(stage, f"{stage}-{len(settings)}", inputs, **settings)
    recipe = validate(kind, job.recipe)
    place = Workplace(job, recipe, Listener(), Processes())
    return place, recipe, place.policy(reward=stage == "reward")


def theirs(trainer: Any, config: Any, folder: Path, model: Any, **settings: Any) -> Any:
    """TRL's trainer as it is, on a data set that has nothing to do with what is compared."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "models/base/tokenizer.json"), eos_token="<|eos|>", pad_token="<|pad|>"
    )
    given = {key: settings.pop(key) for key in ("ref_model",) if key in settings}
    arguments = config(
        output_dir=str(folder / "trl"), report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False,
        **settings,
    )  # fmt: skip
    data = {
        "SFTTrainer": {"input_ids": [[5, 6, 7]], "labels": [[5, 6, 7]]},
        "RewardTrainer": {"chosen_ids": [[5, 6]], "rejected_ids": [[5, 7]]},
        "DPOTrainer": {"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]},
        "KTOTrainer": {"prompt": ["a", "d"], "completion": ["b", "c"], "label": [True, False]},
    }[trainer.__name__]
    return trainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict(data), processing_class=tokenizer, **given
    )


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm"])
def test_dpo_equals_trl(folder: Path, loss_type: str) -> None:
    settings = {"loss_type": loss_type, "label_smoothing": 0.1 if loss_type == "robust" else 0.0}
    inputs = {"base": "models/base", "preferences": "preferences/pairs"}
    _, recipe, policy = ours(folder, "dpo", DpoRecipe, inputs, beta=0.3, **settings)
    rows = pair_rows(recipe, folder / "preferences/pairs", policy.tokenizer, max_length=128)
    kind, trainer, packs = preference_losses(policy, recipe, folder)
    assert packs
    reference = folders.open_causal_lm(folder / "models/reference")
    trainer.ref_model.load_state_dict(reference.state_dict())  # so that the ratios are not all 1
    method = kind(policy, recipe, rows, optimizer=None, processes=Processes(), trainer=trainer)
    loss = method.loss_of(policy.model, method.inputs(rows.train[:ROWS], rows.items[:ROWS]))

    model = AutoModelForCausalLM.from_pretrained(folder / "models/base")
    plain = theirs(
        trl.DPOTrainer, trl.DPOConfig, folder, model, ref_model=reference, beta=0.3,
        loss_type=[loss_type], label_smoothing=settings["label_smoothing"],
    )  # fmt: skip
    examples = []
    for chosen, rejected in rows.train[:ROWS]:
        start = int(chosen.trained_L.argmax())
        assert np.array_equal(chosen.ids_L[:start], rejected.ids_L[:start])
        examples.append({"prompt_ids": chosen.ids_L[:start].tolist(), "chosen_ids": chosen.ids_L[start:].tolist(),
                         "rejected_ids": rejected.ids_L[start:].tolist()})  # fmt: skip
    expected = plain.compute_loss(model, DataCollatorForPreference(pad_token_id=2)(examples))
    assert float(loss) == pytest.approx(float(expected), abs=CLOSE)
    one, two = trainer._metrics["train"], plain._metrics["train"]
    for name in ("rewards/margins", "rewards/accuracies", "logps/chosen", "entropy", "logits/rejected"):
        assert one[name] == pytest.approx(two[name], abs=1e-4), name
    loss.backward()
    expected.backward()
    for mine, other in zip(policy.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(mine.grad, other.grad, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"center_rewards_coefficient": 0.01}, {"use_margins": False}], ids=str)
def test_the_reward_loss_equals_trl(folder: Path, settings: dict[str, Any]) -> None:
    inputs = {"base": "models/base", "preferences": "preferences/pairs"}
    _, recipe, policy = ours(folder, "reward", RewardRecipe, inputs, **settings)
    rows = pair_rows(recipe, folder / "preferences/pairs", policy.tokenizer, max_length=128)
    kind, trainer, _ = preference_losses(policy, recipe, folder)
    method = kind(policy, recipe, rows, optimizer=None, processes=Processes(), trainer=trainer)
    loss = method.loss_of(policy.model, method.inputs(rows.train[:ROWS], rows.items[:ROWS]))

    model = AutoModelForSequenceClassification.from_pretrained(folder / "models/base", num_labels=1)
    model.load_state_dict(policy.model.state_dict())
    plain = theirs(
        trl.RewardTrainer, trl.RewardConfig, folder, model,
        center_rewards_coefficient=settings.get("center_rewards_coefficient"),
    )  # fmt: skip
    examples = [
        {"chosen_ids": chosen.ids_L.tolist(), "rejected_ids": rejected.ids_L.tolist()}
        | ({"margin": item.margin} if settings.get("use_margins", True) else {})
        for (chosen, rejected), item in zip(rows.train[:ROWS], rows.items[:ROWS], strict=True)
    ]
    expected = plain.compute_loss(model, RewardCollator(pad_token_id=2)(examples))
    assert float(loss) == pytest.approx(float(expected), abs=CLOSE)


def test_kto_equals_trl(folder: Path) -> None:
    inputs = {"base": "models/base", "preferences": "preferences/pairs"}
    settings = {"beta": 0.2, "desirable_weight": 1.2}
    _, recipe, policy = ours(folder, "kto", KtoRecipe, inputs, **settings)
    rows = mark_rows(recipe, folder / "preferences/pairs", policy.tokenizer, max_length=128)
    kind, trainer, _ = preference_losses(policy, recipe, folder)
    reference = folders.open_causal_lm(folder / "models/reference")
    trainer.ref_model.load_state_dict(reference.state_dict())
    method = kind(policy, recipe, rows, optimizer=None, processes=Processes(), trainer=trainer)
    loss = method.loss_of(policy.model, method.inputs(rows.train[:8], rows.items[:8]))

    model = AutoModelForCausalLM.from_pretrained(folder / "models/base")
    plain = theirs(trl.KTOTrainer, trl.KTOConfig, folder, model, ref_model=reference,
                   per_device_train_batch_size=2, **settings)  # fmt: skip
    examples = []
    for (row,), item in zip(rows.train[:8], rows.items[:8], strict=True):
        start = int(row.trained_L.argmax())
        examples.append({"prompt_ids": row.ids_L[:start].tolist(), "completion_ids": row.ids_L[start:].tolist(),
                         "label": item.label})  # fmt: skip
    for place, example in enumerate(examples):
        example["KL_completion_ids"] = examples[place - 1]["completion_ids"]
    assert len({example["label"] for example in examples}) == 2
    expected = plain.compute_loss(model, DataCollatorForUnpairedPreference(pad_token_id=2)(examples))
    assert float(loss) == pytest.approx(float(expected), abs=CLOSE)
    assert trainer._metrics["train"]["kl"] == pytest.approx(plain._metrics["train"]["kl"], abs=1e-4)


@pytest.mark.parametrize("packing", [True, False])
def test_sft_equals_trl(folder: Path, packing: bool) -> None:
    """Packed or not, the loss is that of TRL on the same conversations, padded."""
    from engines.pytorch.sft import SupervisedMethod

    inputs = {"base": "models/base", "data.0": "chats/turns"}
    _, recipe, policy = ours(folder, "sft", SftRecipe, inputs, conversations__packing=packing)
    data = {"data.0": folder / "chats/turns"}
    rows = conversation_rows(recipe, data, policy.tokenizer, max_length=128)
    trainer, packs = supervised_trainer(policy, recipe, folder)
    assert packs
    method = SupervisedMethod(
        policy, recipe, optimizer=None, processes=Processes(), rows=rows.train, held_out=rows.held_out,  # type: ignore
        trainer=trainer, report={},
    )  # fmt: skip
    micro, tokens = method.micro_batches(0)
    loss = sum(method.loss(dict(inputs)) for inputs in micro)

    batch = rows.train.batch(0)
    assert (len(batch.sequences) < sum(len(item.rows) for item in batch.sequences)) == packing
    examples = []
    for sequence in batch.sequences:
        ends = [*sequence.starts[1:], len(sequence.ids_L)]
        for start, end in zip(sequence.starts, ends, strict=True):
            ids = sequence.ids_L[start:end].tolist()
            labels = [
                token if trained else -100 for token, trained in zip(ids, sequence.trained_L[start:end], strict=True)
            ]
            examples.append({"input_ids": ids, "labels": labels})
    assert tokens == sum(len(example["input_ids"]) for example in examples)
    model = AutoModelForCausalLM.from_pretrained(folder / "models/base")
    plain = theirs(trl.SFTTrainer, trl.SFTConfig, folder, model)
    collated = DataCollatorForLanguageModeling(pad_token_id=2)(examples)
    expected = plain.compute_loss(model, collated)
    assert float(loss) == pytest.approx(float(expected), abs=CLOSE)


def numbers(folder: Path, stage: str, kind: Any, **settings: Any) -> tuple[float, list[np.ndarray]]:
    """(our loss, log-probabilities of each answer's tokens by transformers alone, chosen ones first)."""
    inputs = {"base": "models/base", "preferences": "preferences/pairs"}
    _, recipe, policy = ours(folder, stage, kind, inputs, **settings)
    rows = pair_rows(recipe, folder / "preferences/pairs", policy.tokenizer, max_length=128)
    method_kind, trainer, _ = preference_losses(policy, recipe, folder)
    method = method_kind(policy, recipe, rows, optimizer=None, processes=Processes(), trainer=trainer)
    loss = float(method.loss_of(policy.model, method.inputs(rows.train[:ROWS], rows.items[:ROWS])))
    assert method_kind in (OrpoMethod, SimpoMethod)
    model = AutoModelForCausalLM.from_pretrained(folder / "models/base")
    found = []
    for answers in zip(*rows.train[:ROWS], strict=True):
        for row in answers:
            ids = torch.from_numpy(row.ids_L).long()[None]
            with torch.no_grad():
                log_probs = model(ids).logits[0].log_softmax(-1)
            own = log_probs[:-1].gather(1, ids[0, 1:, None])[:, 0].numpy()
            found.append(own[row.trained_L[1:]].astype(np.float64))
    return loss, found


def test_orpo_is_the_papers_formula_over_the_answer_alone(folder: Path) -> None:
    loss, answers = numbers(folder, "orpo", OrpoRecipe, beta=0.25)
    chosen, rejected = answers[:ROWS], answers[ROWS:]
    nll = -np.concatenate(chosen).mean()
    ratios = []
    for better, worse in zip(chosen, rejected, strict=True):
        p, q = np.exp(better.mean()), np.exp(worse.mean())
        ratios.append(np.log(p / (1 - p)) - np.log(q / (1 - q)))
    expected = nll + 0.25 * np.mean(np.log1p(np.exp(-np.array(ratios))))
    assert loss == pytest.approx(expected, abs=CLOSE)


def test_simpo_is_the_papers_formula(folder: Path) -> None:
    loss, answers = numbers(folder, "dpo", DpoRecipe, loss_type="simpo", beta=2.0, simpo_gamma=0.7)
    means = np.array([answer.mean() for answer in answers])
    margins = 2.0 * (means[:ROWS] - means[ROWS:]) - 0.7
    assert loss == pytest.approx(np.mean(np.log1p(np.exp(-margins))), abs=CLOSE)


def test_the_chance_of_an_accuracy() -> None:
    def of_single_pairs(right: int, rows: int) -> float:
        return p_value([1] * right + [0] * (rows - right), [1] * rows)

    assert of_single_pairs(0, 10) == pytest.approx(1.0)
    assert of_single_pairs(10, 10) == pytest.approx(1 / 1024)
    assert of_single_pairs(8, 10) == pytest.approx(56 / 1024)
    assert of_single_pairs(600, 1100) == pytest.approx(0.00141, abs=2e-4)  # normal: z = 2.985


def test_pairs_of_one_prompt_count_once() -> None:
    """Six pairs of each of ten prompts, all right, are ten lucky tosses, not sixty."""
    assert p_value([6] * 10, [6] * 10) == pytest.approx(1 / 1024)
    right, pairs = [3, 0, 2, 1, 4], [3, 2, 2, 2, 5]
    surplus = [2 * r - n for r, n in zip(right, pairs, strict=True)]
    sums = [sum(s * x for s, x in zip(signs, surplus, strict=True)) for signs in product((1, -1), repeat=5)]
    assert p_value(right, pairs) == pytest.approx(sum(total >= sum(surplus) for total in sums) / 32)
