"""What quantisation changed: a model's token distributions against those of the unquantised model, on the same text.

As llama.cpp's `perplexity --kl-divergence` has it: KL(F16 || model) in nats a token, the share of places where both
find the same token likeliest, and the perplexity of the text. Other than there every token counts, not only the second
half of each window.

The model that others are held against is the F16 export of the same model, and where there is none, the model itself
in float32 on PyTorch.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import registry
from workbench.benchmarks import statistics
from workbench.benchmarks.panels import TaskChoice
from workbench.benchmarks.results import Figure, Item, Setting, TaskFigures
from workbench.contract import LanguageModel, TellsDistributions
from workbench.errors import WorkbenchError
from workbench.store.artifacts import Artifact, read_manifest
from workbench.store.project import FOLDERS

NAME = "divergence"  # of the task; "divergence:FILE" takes another text than the model's held-out one
HELD_OUT = "held_out.txt"
WINDOW = 512  # tokens that see each other, as in llama.cpp
PLACES = 128  # whose distributions are held at once: 50 MB for each model in float64 at a vocabulary of 50,000
VERSION = "1"  # of what is measured here
MAIN = "kl_divergence"
REQUEST = "divergence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A model, with what the exports made from it are held against."""

    model: Path  # the model's folder; it may be gone
    reference: Artifact | None  # None: neither an F16 export nor the model is there

    @property
    def label(self) -> str:
        return f"{self.reference.kind} {self.reference.id}" if self.reference else ""


def is_one(task: str) -> bool:
    """Whether a task's name is this task."""
    return task == NAME or task.startswith(f"{NAME}:")


def find(project_root: Path, identity: str) -> Artifact | None:
    """The model or export of this identity; None if it is not made yet."""
    every = (one for kind in ("model", "export") for one in _artifacts(project_root, kind))
    return next((one for one in every if one.identity == identity), None)


def family(project_root: Path, made: Artifact) -> Family:
    """What the model or export `made` belongs to."""
    source = made.inputs["model"] if made.kind == "export" else {"id": made.id, "identity": made.identity}
    folder = project_root / FOLDERS["model"] / source["id"]
    exports = [
        other
        for other in _artifacts(project_root, "export")
        if other.recipe.get("quantization") == "f16" and other.inputs["model"]["identity"] == source["identity"]
    ]
    if exports:
        return Family(model=folder, reference=min(exports, key=lambda other: other.created))
    models = [other for other in _artifacts(project_root, "model") if other.identity == source["identity"]]
    return Family(model=folder, reference=models[0] if models else None)


def text_file(choice: TaskChoice, project_root: Path, found: Family) -> Path:
    """The text: the named one, where relative paths start at the project, else what was held out of the training.

    Raises `WorkbenchError` if it cannot be read, or the model has none.
    """
    _, _, name = choice.task.partition(":")
    file = (project_root / Path(name).expanduser()).resolve() if name else found.model / HELD_OUT
    if not name and not file.is_file():
        raise WorkbenchError(
            f"{found.model.name} has no held-out text to compare on: it was not trained here.",
            f"Name a text: --tasks {NAME}:FILE",
        )
    try:
        if not file.read_bytes().strip():
            raise WorkbenchError(f"{file} is empty.", f"Name another text: --tasks {NAME}:FILE")
    except OSError as error:
        raise WorkbenchError(f"{file} cannot be read: {error.strerror}.", "Give the path of a text.") from None
    return file


def fingerprint(choice: TaskChoice, project_root: Path, identity: str) -> list[str]:
    """What decides the outcome beside the model of this identity: the text and the reference.

    Of a model that is not made yet nothing is known.
    """
    made = find(project_root, identity)
    if made is None:
        return []
    found = family(project_root, made)
    content = text_file(choice, project_root, found).read_bytes()
    return [hashlib.sha256(content).hexdigest(), found.reference.identity if found.reference else ""]


class Divergence:
    """The task on one model: its windows of text, ready to be asked."""

    def __init__(
        self,
        choice: TaskChoice,
        project_root: Path,
        made: Artifact,
        engine: str,
        model: LanguageModel,
        *,
        limit: int | None = None,
        checkpoint: int | None = None,
    ):
        """`limit`: only the first so many windows, whatever the choice says. `checkpoint`: the step that `model` is of.

        Raises `WorkbenchError` if there is no text, no reference, or the engine cannot tell distributions."""
        if not isinstance(model, TellsDistributions):
            raise WorkbenchError(
                f"The engine {engine} does not tell how likely all tokens are.", f"Leave the task {NAME} out."
            )
        self._model, self._own = model, (made.identity, engine, checkpoint)
        self._root, self._family = project_root, family(project_root, made)
        reference = self._family.reference
        if reference is None:
            raise WorkbenchError(
                f"There is nothing to hold {made.id} against: neither the model {self._family.model.name} nor an F16 "
                "export of it is here.",
                f"Import the model again, or leave the task {NAME} out.",
            )
        self.reference = reference
        self._engine = registry.opener(project_root / FOLDERS[reference.kind] / reference.id)
        file = text_file(choice, project_root, self._family)
        self._text = file.read_text(encoding="utf-8", errors="replace")
        self._digest = hashlib.sha256(file.read_bytes()).hexdigest()
        tokens = model.tokenize(self._text)
        size = min(WINDOW, model.context_length - 1)  # one for BOS
        windows = [tokens[start : start + size] for start in range(0, len(tokens), size)]
        self._limit = limit if limit is not None else choice.limit
        self.windows = [tuple(window) for window in windows][: self._limit]
        self.name = NAME if file.name == HELD_OUT else f"{NAME}:{file.name}"
        self._opened: LanguageModel | None = None

    @property
    def itself(self) -> bool:
        """Whether the model is what others are held against."""
        return self._own == (self.reference.identity, self._engine, None)

    def key(self, window: Sequence[int]) -> tuple[Any, ...]:
        """What decides the outcome of a window."""
        return (REQUEST, VERSION, self.reference.identity, self._engine, list(window))

    def ask(self, window: Sequence[int]) -> dict[str, Any]:
        """{"nats" of the model, "kl" of each token, "agreed": number of tokens} of one window."""
        from workbench.benchmarks.distributions import compared, nats

        model = self._model
        assert isinstance(model, TellsDistributions)
        if self.itself:
            own = nats(model.distributions(window, PLACES), window)
            return {"nats": own, "kl": [0.0] * len(window), "agreed": len(window)}
        return compared(model.distributions(window, PLACES), self._theirs().distributions(window, PLACES), window)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def outcome(self, answers: Sequence[dict[str, Any]]) -> tuple[TaskFigures, list[Item]]:
        """The figures and items of all windows."""
        items = [
            self._item(number, window, answer)
            for number, (window, answer) in enumerate(zip(self.windows, answers, strict=True))
        ]
        figures = {
            name: figure
            for name in items[0].metrics
            if (figure := statistics.figure(name, items, higher_is_better=name == "top1_agreement"))
        }
        ordered = sorted(value for answer in answers for value in answer["kl"])
        for name, share in (("kl_median", 0.5), ("kl_99", 0.99)):
            place = max(0, math.ceil(share * len(ordered)) - 1)
            figures[name] = Figure(value=ordered[place], n=len(ordered), higher_is_better=False)
        return (
            TaskFigures(
                task=self.name,
                kind=REQUEST,
                setting=Setting(
                    version=VERSION, shots=0, chat_template=False, harness="workbench", data=self._digest,
                    limit=self._limit, against=self._family.label,
                ),
                figures=figures,
                main=MAIN,
                n=len(items),
            ),
            items,
        )  # fmt: skip

    def prompt(self, tokens: int) -> str:
        """About so many tokens of the text's beginning, no more than half of the model's context."""
        room = min(tokens, self._model.context_length // 2)
        text = self._text[: tokens * 4]
        while len(self._model.tokenize(text)) > room:
            text = text[: len(text) * 3 // 4]
        return text

    def _item(self, number: int, window: tuple[int, ...], answer: dict[str, Any]) -> Item:
        count, kl = len(window), sum(answer["kl"])
        return Item(
            task=self.name,
            item=str(number),
            hash=hashlib.sha256(repr(window).encode()).hexdigest()[:16],
            prompt="",
            target="",
            metrics={
                MAIN: kl / count,
                "top1_agreement": answer["agreed"] / count,
                "token_perplexity": math.exp(min(700.0, -answer["nats"] / count)),
            },
            log_likelihoods=(answer["nats"],),
            more={"tokens": count, "kl": kl, "agreed": answer["agreed"]},
        )

    def _theirs(self) -> TellsDistributions:
        if self._opened is None:
            folder = self._root / FOLDERS[self.reference.kind] / self.reference.id
            options: dict[str, Any] = {"dtype": "float32"} if self.reference.kind == "model" else {}
            self._opened = registry.engine(self._engine).load(folder, **options)
            sample = self._text[:100_000]
            if self._opened.tokenize(sample) != self._model.tokenize(sample):
                raise WorkbenchError(
                    f"This model puts text into other tokens than {self._family.label}, which it is held against.",
                    "Export both anew from the same model.",
                )
        if not isinstance(self._opened, TellsDistributions):
            raise WorkbenchError(
                f"The engine {self._engine} does not tell how likely all tokens are.", f"Leave the task {NAME} out."
            )
        return self._opened


def speed(model: LanguageModel, prompt: str, clock: Callable[[], float]) -> float | None:
    """Tokens a second of one answer to `prompt`, from its first token to its last: the median of three.

    None if the model ends its answer at once.
    """
    from workbench.contract import Sampling

    tokens = max(2, min(64, model.context_length // 4))
    rates = []
    for seed in range(3):
        times = [clock() for token in model.generate([prompt], Sampling(max_tokens=tokens, seed=seed)) if token.id]
        if len(times) > 1 and times[-1] > times[0]:
            rates.append((len(times) - 1) / (times[-1] - times[0]))
    return sorted(rates)[len(rates) // 2] if rates else None


def weights_bytes(folder: Path) -> int:
    """Size of a model's weights on disk."""
    return sum(file.stat().st_size for file in itertools.chain(folder.glob("*.gguf"), folder.glob("*.safetensors")))


def _artifacts(project_root: Path, kind: str) -> Iterator[Artifact]:
    for manifest in sorted((project_root / FOLDERS[kind]).glob("[!.]*/artifact.json")):
        try:
            yield read_manifest(manifest.parent)
        except WorkbenchError:
            continue  # `workbench verify` names it
