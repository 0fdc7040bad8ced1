"""The items of a programming task: programs that the model writes, run in the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.benchmarks.bridge import Bridge
from workbench.benchmarks.code import pass_at_k, score_code
from workbench.benchmarks.results import Item
from workbench.benchmarks.tasks import LoadedTask, item_hash, own_question

KS = (1, 10, 100)  # of pass@k, as far as there are so many samples


def items(
    loaded: LoadedTask, bridge: Bridge, samples: int, temperature: float, say: Callable[[int, int], None]
) -> list[Item]:
    """One item a task of programming, with the outcome of each of its `samples` programs.

    `say` hears (programs run so far, of how many).
    """
    instances = sorted(loaded.task.instances, key=lambda instance: instance.doc_id)
    asked = [(one.args[0], _settings(one.args[1], temperature)) for one in instances for _ in range(samples)]
    told = bridge.answers(asked)
    answers = [told[place : place + samples] for place in range(0, len(told), samples)]
    texts = [[answer["text"] for answer in each] for each in answers]
    found = []
    for outcomes in score_code(loaded.name, [one.doc for one in instances], texts):
        found.append(outcomes)
        say(len(found), len(instances))
    made = []
    for instance, each, outcomes in zip(instances, answers, found, strict=True):
        passed = sum(outcome.passed for outcome in outcomes)
        made.append(
            Item(
                task=loaded.name,
                item=str(instance.doc_id),
                hash=item_hash(loaded.task, instance.doc),
                prompt=str(instance.args[0]),
                target=str(loaded.task.doc_to_target(instance.doc)),
                metrics={f"pass@{k}": pass_at_k(samples, passed, k) for k in KS if k <= samples},
                answer=each[0]["text"],
                tokens=each[0]["tokens"],
                truncated=any(answer["truncated"] for answer in each),
                more={
                    "outcomes": [outcome.word for outcome in outcomes],
                    "message": outcomes[0].message,
                    **own_question(loaded.task, instance.doc, str(instance.args[0])),
                    **({"answers": [answer["text"] for answer in each]} if samples > 1 else {}),
                },
            )
        )
    return made


def _settings(settings: dict[str, Any], temperature: float) -> dict[str, Any]:
    return {**settings, "do_sample": temperature > 0, "temperature": temperature}
