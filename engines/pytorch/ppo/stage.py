"""The stage `ppo`: from a job to a trained model in `job.output`."""

from __future__ import annotations

import math

from engines.pytorch.optimizer import adamw
from engines.pytorch.post_training import Made, Workplace, train
from engines.pytorch.ppo.iteration import Learner
from engines.pytorch.ppo.method import PpoMethod
from engines.pytorch.ppo.models import open_models
from engines.reinforcement.prompts import prompts_of, warn_of_prompts
from engines.reinforcement.same_tokens import foreign_template
from workbench.contract import Job, Reporter, Warned
from workbench.recipes.base import validate
from workbench.recipes.reinforcement import PpoRecipe


def ppo(job: Job, reporter: Reporter) -> None:
    """Raise the reward of a model's answers, or go on from the run's newest whole checkpoint."""
    asked: PpoRecipe = validate(PpoRecipe, job.recipe).resolved()

    def make(place: Workplace) -> Made:
        models = open_models(job.inputs["base"], job.inputs["reward"], asked, place.device, place.dtype)
        recipe = asked.fitted(min(models.policy.context_length, models.value.context_length))
        prompts = prompts_of(recipe, job.inputs["prompts"], models.policy.tokenizer)
        optimizer = adamw(models.policy.model, recipe.optimizer)
        for group in adamw(models.value.model, recipe.optimizer).param_groups:
            optimizer.add_param_group(group)
        method = PpoMethod(Learner(models, recipe, optimizer, place.processes), prompts)
        for message in warn_of_prompts(prompts, recipe, method.batch_size) + foreign_template(
            models.policy.tokenizer, models.value.tokenizer
        ):
            reporter.emit(Warned(message=message))
        answers = recipe.batch.per_device_batch_size or method.batch_size
        return Made(
            method,
            epoch_steps=math.ceil(len(prompts.train) / method.batch_size),
            micro_tokens=2 * answers * (recipe.max_length or 0),  # the policy's activations and the value model's
            held_out_text="\n\n".join(prompt.text for prompt in prompts.held_out),
            # Gradients and moments of the value model are three times its weights; the frozen ones lie there already.
            copies=0 if models.policy.adapted else 3,
            # 2 a weight and token for writing, 2 for each of four scores, 12 for both models in each epoch; over the
            # 6 of a pass and the 2 of each copy.
            flops_factor=(10 + 12 * recipe.ppo.num_ppo_epochs) / (6.0 if models.policy.adapted else 12.0),
        )

    train(job, reporter, asked, make)
