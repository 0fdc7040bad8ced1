"""A few rows of standard tasks with the columns of their data sets on the hub, made up here."""

from __future__ import annotations

from typing import Any

Rows = list[dict[str, Any]]

HELLASWAG: Rows = [
    {
        "activity_label": "Making tea",
        "ctx_a": f"A person boils {n} cups of water.",
        "ctx_b": "the person",
        "endings": ["drinks [step] the kettle.", "pours it  over leaves.", "[title] Flies away.", "sings."],
        "label": str(n % 4),
    }
    for n in range(6)
]
ARC: Rows = [
    {
        "id": f"q{n}",
        "question": f"Which of these is number {n}?",
        "choices": {"text": [f"stone {n}", "river", "cloud"], "label": ["A", "B", "C"] if n % 2 else ["1", "2", "3"]},
        "answerKey": "B" if n % 2 else "3",
    }
    for n in range(6)
]
MMLU: Rows = [
    {
        "question": f" How many legs have {n} cats?",
        "choices": ["1", "2", "3", str(4 * n)],
        "answer": n % 4,
        "subject": "x",
    }
    for n in range(8)
]
GSM8K: Rows = [
    {"question": f"What is {n} and {n}?", "answer": f"It is <<{n}+{n}={2 * n}>>.\n#### {2 * n}"} for n in range(8)
]
LAMBADA: Rows = [{"text": f"He took {n} steps to the door and opened the door"} for n in range(4)]
BLIMP: Rows = [
    {
        "sentence_good": f"Ann saw {n} cats herself.",
        "sentence_bad": f"Ann saw {n} cats himself.",
        "UID": "anaphor_gender_agreement",
    }
    for n in range(4)
]
TRUTHFUL: Rows = [
    {
        "question": f"Who ate apple {n}?",
        "mc1_targets": {"choices": ["Nobody did.", "A horse did.", "Ann did."], "labels": [1, 0, 0]},
        "mc2_targets": {
            "choices": ["Nobody did.", "It rotted.", "A horse did.", "Ann did."],
            "labels": [1, 1, 0, 0],
        },
    }
    for n in range(3)
]
WIKITEXT: Rows = [{"page": f' = Title {n} = \n \n Some text , with " quotes " and 3 @.@ {n} .\n'} for n in range(3)]
COLA: Rows = [{"sentence": f"The cat sat {n} times.", "label": n % 2, "idx": n} for n in range(4)]
RTE: Rows = [{"sentence1": f"{n} cats sleep.", "sentence2": "Cats sleep.", "label": n % 2, "idx": n} for n in range(4)]
BOOLQ: Rows = [
    {"question": f"is {n} odd", "passage": "Numbers are odd or even.", "label": n % 2, "idx": n} for n in range(4)
]
COPA: Rows = [
    {
        "premise": f"The glass fell {n} times.", "choice1": "It broke.", "choice2": "It sang.",
        "question": "effect" if n % 2 else "cause", "label": n % 2, "idx": n,
    }
    for n in range(4)
]  # fmt: skip
PIQA: Rows = [
    {"goal": f"Open {n} tins", "sol1": "Use an opener.", "sol2": "Ask a cat.", "label": n % 2} for n in range(4)
]
WINOGRANDE: Rows = [
    {
        "sentence": f"Ann fed Bob {n} pies because _ was hungry.",
        "option1": "Ann",
        "option2": "Bob",
        "answer": str(1 + n % 2),
    }
    for n in range(4)
]
OPENBOOKQA: Rows = [
    {
        "id": str(n), "question_stem": f"What shines at {n}?", "answerKey": "B",
        "choices": {"text": ["mud", "the sun", "a sock", "soup"], "label": ["A", "B", "C", "D"]},
    }
    for n in range(4)
]  # fmt: skip
HUMANEVAL: Rows = [
    {
        "task_id": f"HumanEval/{n}", "prompt": f"def add{n}(a, b):\n    ", "entry_point": f"add{n}",
        "canonical_solution": "    return a + b\n", "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    }
    for n in range(3)
]  # fmt: skip
MBPP: Rows = [
    {
        "task_id": number,
        "text": f"Write a function that adds {number}.",
        "code": f"def f(x):\n    return x + {number}",
        "test_list": [f"assert f({x}) == {x + number}" for x in range(3)],
        "test_setup_code": "",
        "challenge_test_list": [],
    }
    for number in (1, 2, 11, 12, 510, 511, 600)
]

# task -> (rows, split that is asked, rows to draw worked examples from, their split, how many are shown)
TASKS: dict[str, tuple[Rows, str, Rows, str, int]] = {
    "hellaswag": (HELLASWAG, "validation", HELLASWAG[3:], "train", 2),
    "arc_easy": (ARC, "test", ARC[2:], "train", 2),
    "arc_challenge": (ARC, "test", [], "", 0),
    "mmlu_anatomy": (MMLU, "test", MMLU[:5], "dev", 5),
    "gsm8k": (GSM8K, "test", GSM8K[2:], "train", 5),
    "lambada_openai": (LAMBADA, "test", [], "", 0),
    "blimp_anaphor_gender_agreement": (BLIMP, "train", [], "", 0),
    "truthfulqa_mc1": (TRUTHFUL, "validation", [], "", 0),
    "truthfulqa_mc2": (TRUTHFUL, "validation", [], "", 0),
    "wikitext": (WIKITEXT, "test", [], "", 0),
    "cola": (COLA, "validation", COLA[1:], "train", 2),
    "rte": (RTE, "validation", RTE[1:], "train", 1),
    "boolq": (BOOLQ, "validation", BOOLQ[1:], "train", 1),
    "copa": (COPA, "validation", COPA[1:], "train", 1),
    "piqa": (PIQA, "validation", PIQA[1:], "train", 1),
    "winogrande": (WINOGRANDE, "validation", WINOGRANDE[1:], "train", 2),
    "openbookqa": (OPENBOOKQA, "test", OPENBOOKQA[1:], "train", 1),
}
