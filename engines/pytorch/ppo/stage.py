"""The stage `ppo`: from a job to a trained model in `job.output`."""

from __future__ import annotations

import math

from engines.pytorch.optimizer import adamw
from engines.pytorch.post_training import DERIVED_LENGTH, Made, Workplace, train
from engines.pytorch.ppo.iteration import Learner
from engines.pytorch.ppo.method import PpoMethod
from engines.pytorch.ppo.models import Models, open_models
from engines.pytorch.ppo.prompts import Prompts, read_prompts
from workbench.contract import Job, Reporter, Warned
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.reinforcement import PpoRecipe


def ppo(job: Job, reporter: Reporter) -> None:
    """Raise the reward of a model's answers, or go on from the run's newest whole checkpoint."""
    recipe: PpoRecipe = validate(PpoRecipe, job.recipe).resolved()

    def make(place: Workplace) -> Made:
        models = open_models(job.inputs["base"], job.inputs["reward"], recipe, place.device, place.dtype)
        length = longest_sequence(models, recipe)
        prompts = read_prompts(
            job.inputs["prompts"],
            models.policy.tokenizer,
            longest=length - recipe.generation.max_completion_length,
            fraction=recipe.validation_fraction,
            seed=recipe.seed,
        )
        warn(job, models, prompts, length, recipe, reporter)
        optimizer = adamw(models.policy.model, recipe.optimizer)
        for group in adamw(models.value.model, recipe.optimizer).param_groups:
            optimizer.add_param_group(group)
        method = PpoMethod(Learner(models, recipe, optimizer, place.processes), prompts)
        answers = recipe.batch.per_device_batch_size or method.batch_size
        return Made(
            method,
            epoch_steps=math.ceil(len(prompts.train) / method.batch_size),
            micro_tokens=2 * answers * length,  # the policy's activations and the value model's
            held_out_text="\n\n".join(str(prompt.messages[-1]["content"]) for prompt in prompts.held_out),
            # Gradients and moments of the value model are three times its weights; the frozen ones lie there already.
            copies=0 if models.policy.adapted else 3,
            # 2 a weight and token for writing, 2 for each of four scores, 12 for both models in each epoch; over the
            # 6 of a pass and the 2 of each copy.
            flops_factor=(10 + 12 * recipe.ppo.num_ppo_epochs) / (6.0 if models.policy.adapted else 12.0),
        )

    train(job, reporter, recipe, make)


def longest_sequence(models: Models, recipe: PpoRecipe) -> int:
    """Tokens of a prompt with its answer, at most.

    Raises `WorkbenchError` if answers alone would fill it, or --max-length is beyond a context.
    """
    context = min(models.policy.context_length, models.value.context_length)
    length = recipe.max_length or min(DERIVED_LENGTH, context)
    answer = recipe.generation.max_completion_length
    if length > context:
        raise WorkbenchError(
            f"max_length is {length:,} tokens, and the context of the model and its reward model is {context:,}.",
            f"Set --max-length to {context} at most.",
        )
    if answer >= length:
        raise WorkbenchError(
            f"Answers of {answer:,} tokens leave no room for a prompt: a sequence can have {length:,} tokens.",
            f"Set --max-completion-length to {length // 2} or less.",
        )
    return length


def warn(job: Job, models: Models, prompts: Prompts, length: int, recipe: PpoRecipe, reporter: Reporter) -> None:
    """Say what is odd and no reason to end."""
    answer, size = recipe.generation.max_completion_length, recipe.batch.batch_size or 1
    messages = []
    if prompts.too_long:
        messages.append(
            f"{prompts.too_long:,} prompts are longer than {length - answer:,} tokens, which is what an answer of "
            f"{answer:,} leaves, and are left out."
        )
    if len(prompts.train) < size:
        messages.append(f"There are only {len(prompts.train):,} prompts to learn on: each iteration repeats some.")
    if ChatTokenizer(job.inputs["reward"]).template != models.policy.tokenizer.template:
        messages.append(
            "The reward model was trained with another chat template than the model's: it reads answers in a form "
            "that it never saw."
        )
    for message in messages:
        reporter.emit(Warned(message=message))
