"""Puts the tasks to a model and makes figures and items of what it answers.

Prompts, filters and metrics of an item are the harness's own. Imports nothing of it: tasks come loaded.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.benchmarks import programs, statistics
from workbench.benchmarks.asked import no_chat_template
from workbench.benchmarks.bridge import Bridge
from workbench.benchmarks.results import Item, Setting, TaskFigures
from workbench.benchmarks.tasks import LoadedTask, item_hash, own_question
from workbench.errors import WorkbenchError

PLAIN = "none"  # the name of the filter that changes nothing


def build(loaded: LoadedTask, bridge: Bridge) -> int:
    """Have the task write its prompts; how many requests it makes.

    Raises `WorkbenchError` if the model has no chat template and the task wants one.
    """
    if loaded.chat_template and bridge.model.chat_template is None:
        raise no_chat_template(loaded.name)
    loaded.task.build_all_requests(
        limit=loaded.limit,
        apply_chat_template=loaded.chat_template,
        fewshot_as_multiturn=loaded.chat_template,
        chat_template=bridge.apply_chat_template if loaded.chat_template else None,
    )
    return len(loaded.task.instances)


def evaluate(
    loaded: LoadedTask,
    bridge: Bridge,
    harness: str,
    *,
    samples: int = 1,
    temperature: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[TaskFigures, list[Item]]:
    """The figures and items of one task whose requests are built. `say` hears what is done beside asking the model."""
    if loaded.code:
        items = programs.items(
            loaded, bridge, samples, temperature,
            lambda done, total: say(f"{loaded.name}: program {done} of {total} runs"),
        )  # fmt: skip
    else:
        items = _items(loaded, bridge)
    higher = {} if loaded.code else loaded.task.higher_is_better()
    names = list(dict.fromkeys(name for item in items for name in item.metrics))
    figures = {}
    for name in names:
        better = higher.get(name.partition(",")[0], True)
        found = statistics.figure(name, items, higher_is_better=bool(better))
        if found is not None and math.isfinite(found.value):
            figures[name] = found
    if not figures:
        raise WorkbenchError(f"{loaded.name} came to no figure that can be told.", "Take another task.")
    lengths = [item.tokens for item in items if item.tokens is not None]
    return (
        TaskFigures(
            task=loaded.name,
            kind=loaded.kind,
            setting=Setting(
                version=loaded.version,
                shots=loaded.shots,
                chat_template=loaded.chat_template,
                harness=harness,
                data=loaded.data,
                limit=loaded.limit,
            ),
            figures=figures,
            main=_main(loaded.metric, list(figures)),
            n=len(items),
            truncated=sum(item.truncated for item in items),
            answer_tokens=sum(lengths) / len(lengths) if lengths else None,
            group=loaded.group,
        ),
        items,
    )


def _main(wanted: str, names: Sequence[str]) -> str:
    """The metric that stands for the task, as it is called here."""
    near = [name for name in names if name == wanted or name.partition(",")[0] == wanted.partition(",")[0]]
    return wanted if wanted in names else (near or list(names))[0]


def _items(loaded: LoadedTask, bridge: Bridge) -> list[Item]:
    task, kind = loaded.task, loaded.kind
    instances = task.instances
    repeated = [instance for instance in instances for _ in range(instance.repeats)]
    told = _ask(kind, bridge, [instance.args for instance in repeated])
    for instance, answer in zip(repeated, told, strict=True):
        instance.resps.append(_response(kind, answer))
    task.apply_filters()
    of_doc: dict[int, list[Any]] = defaultdict(list)
    for instance in instances:
        of_doc[instance.doc_id].append(instance)
    answers: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for instance, answer in zip(repeated, told, strict=True):
        answers[id(instance)].append(answer)
    items = []
    for number, requests in sorted(of_doc.items()):
        requests.sort(key=lambda instance: instance.idx)
        doc = requests[0].doc
        metrics, more = _metrics(task, doc, requests)
        prompt = str(requests[0].args[0])
        if kind != "loglikelihood_rolling":
            more |= own_question(task, doc, prompt)
        items.append(
            Item(
                task=loaded.name,
                item=str(number),
                hash=item_hash(task, doc),
                prompt=prompt,
                target=str(task.doc_to_target(doc)),
                metrics=metrics,
                truncated=any(answer.get("truncated") for one in requests for answer in answers[id(one)]),
                **_detail(kind, task, doc, requests, [answers[id(one)] for one in requests], more),
            )
        )
    return items


def _ask(kind: str, bridge: Bridge, arguments: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    if kind == "generate_until":
        return bridge.answers([(context, settings) for context, settings in arguments])
    if kind == "loglikelihood_rolling":
        scores = bridge.text_scores([text for (text,) in arguments])
    else:
        scores = bridge.scores([(context, continuation) for context, continuation in arguments])
    return [
        {"nats": score.log_likelihood, "greedy": score.greedy, "tokens": score.tokens, "truncated": score.truncated}
        for score in scores
    ]


def _response(kind: str, answer: Mapping[str, Any]) -> Any:
    """The answer in the form that the harness's metrics take."""
    if kind == "generate_until":
        return answer["text"]
    return answer["nats"] if kind == "loglikelihood_rolling" else (answer["nats"], answer["greedy"])


def _metrics(task: Any, doc: Any, requests: Sequence[Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """What the harness makes of one item: its metrics, and the bytes and words of a text whose nats they are of."""
    metrics: dict[str, float] = {}
    more: dict[str, Any] = {}
    for name in requests[0].filtered_resps:
        found = task.process_results(doc, [instance.filtered_resps[name] for instance in requests])
        for metric, value in found.items():
            label = metric if name == PLAIN else f"{metric},{name}"
            if isinstance(value, tuple) and len(value) == 2 and metric in ("word_perplexity", "byte_perplexity"):
                more["words" if metric == "word_perplexity" else "bytes"] = value[1]
                metrics[label] = math.exp(min(700.0, -value[0] / value[1]))
            elif isinstance(value, tuple) and len(value) == 2 and metric == "bits_per_byte":
                more["bytes"] = value[1]
                metrics[label] = -value[0] / value[1] / math.log(2)
            elif isinstance(value, (bool, int, float)) or (hasattr(value, "item") and getattr(value, "ndim", 1) == 0):
                metrics[label] = float(value)
            elif isinstance(value, tuple):  # of metrics that only make sense over all items, as Matthews' correlation
                metrics[label] = float(value[0] == value[1])
    return metrics, more


def _detail(
    kind: str, task: Any, doc: Any, requests: Sequence[Any], answers: Sequence[Sequence[Any]], more: dict[str, Any]
) -> dict[str, Any]:
    if kind == "generate_until":
        first = answers[0][0]
        return {"answer": first["text"], "tokens": first["tokens"], "more": more}
    nats = [found[0]["nats"] for found in answers]
    if kind != "multiple_choice":
        greedy = {"greedy": answers[0][0]["greedy"]} if kind == "loglikelihood" else {}
        return {"log_likelihoods": (nats[0],), "more": more | greedy}
    choices = task.doc_to_choice(doc)
    nats = nats[: len(choices)]  # what follows scores the choices without the question
    # Where the choices are questions for one answer, as in WinoGrande, the right one is what the question is.
    right = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    if isinstance(right, str):
        right = choices.index(right) if right in choices else None
    if isinstance(right, list):
        right = right[0] if len(right) == 1 else None
    return {
        "choices": tuple(choices),
        "log_likelihoods": tuple(nats),
        "answer": choices[max(range(len(nats)), key=nats.__getitem__)],
        "right": right,
        "more": more,
    }
