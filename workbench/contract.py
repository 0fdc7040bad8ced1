"""What an engine is. Standard library only: an outside engine needs nothing else from here.

The way of the data: a verb makes a recipe, a recipe becomes a run, the run's supervisor writes a
`Job` and starts `Engine.command(...)`; inside that process `Engine.run(job, reporter)` fills
`job.output` and reports `Event`s; the supervisor then seals the folder into an artifact.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from workbench import durable

# --------------------------------------------------------------------------- jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One stage for one engine process; the supervisor writes it to `runs/<id>/job.json`."""

    run: str  # id of the run
    stage: str  # "import", "tokenizer", "shards", "pretrain", "export", ...
    recipe: Mapping[str, Any]  # the resolved recipe as plain data
    inputs: Mapping[str, Path]  # role ("corpus", "tokenizer", "shards", "model") -> artifact folder
    output: Path  # an existing, empty folder for the artifact's files; sealed by the supervisor
    directory: Path  # the run's folder: events.jsonl, control/, checkpoints/
    supervisor_pid: int = 0  # 0: nobody watches (tests, direct calls)

    def write(self, path: Path) -> None:
        plain = asdict(self)
        plain["recipe"] = dict(self.recipe)
        plain["inputs"] = {role: str(folder) for role, folder in self.inputs.items()}
        plain["output"], plain["directory"] = str(self.output), str(self.directory)
        durable.write_json(path, plain)

    @classmethod
    def read(cls, path: Path) -> Job:
        plain = json.loads(path.read_text(encoding="utf-8"))
        plain["inputs"] = {role: Path(folder) for role, folder in plain["inputs"].items()}
        plain["output"], plain["directory"] = Path(plain["output"]), Path(plain["directory"])
        return cls(**plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do on this machine."""

    available: bool
    stages: tuple[str, ...] = ()  # the stages that it runs here, or would if it were available
    devices: tuple[str, ...] = ()  # "cpu", "cuda:0 NVIDIA H100 80GB", "metal", ...
    dtypes: tuple[str, ...] = ()
    launchers: tuple[str, ...] = ("local",)  # how its trainings can be started, as `launch.kind` calls it
    weight_formats: tuple[str, ...] = ()  # in which it holds a frozen base, or writes exports
    versions: Mapping[str, str] = field(default_factory=dict)  # library -> version
    reason: str = ""  # why it is not available, in one sentence
    install: str = ""  # the line that mends that, or what `lacking` says
    lacking: Mapping[str, str] = field(default_factory=dict)  # stage that it could run -> what that needs, a sentence
    # Number format that it could hold -> what that needs, a sentence, and what to do.
    lacking_formats: Mapping[str, tuple[str, str]] = field(default_factory=dict)


# --------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of `events.jsonl`: `{"event": "Metrics", "time": 1732…, …fields}`."""

    time: float = field(default_factory=time.time)  # seconds since the epoch

    def line(self) -> str:
        """The event as one JSON line; NaN and infinities, which JSON lacks, become null."""
        return json.dumps({"event": type(self).__name__} | _finite(asdict(self)), ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """The engine process is up. `total_steps` is None where the stage does not count steps."""

    step: int = 0  # the step it starts from: above 0 after a resume
    total_steps: int | None = None
    device: str = "cpu"
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated(Event):
    """What the run will take; `seconds` rests on a few measured steps."""

    parameters: int
    memory_bytes: int
    flops: float  # of the whole run
    tokens: int  # trained on in the whole run
    tokens_per_parameter: float
    seconds: float | None = None
    epochs: Mapping[str, float] = field(default_factory=dict)  # corpus -> times that the run goes through it


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """How far a stage without optimizer steps is: `done` of `total` (None: unknown) `unit`s."""

    done: int
    total: int | None = None
    unit: str = ""
    phase: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(Event):
    """The fixed core that every training engine reports, and what its method adds by name."""

    step: int  # optimizer steps made
    tokens: int | None = None  # trained on since the run's beginning
    loss: float | None = None  # nats per token, mean over the step's global batch
    grad_norm: float | None = None  # before clipping
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    more: Mapping[str, float] = field(default_factory=dict)  # "eval_loss", "eval_bits_per_byte", ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Event):
    """A text that the model wrote during training."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """A whole, fsynced checkpoint. `path` is relative to the run's folder."""

    step: int
    path: str
    eval_loss: float | None = None
    best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged(Event):
    """A request from `control/` ("stop", "checkpoint", "note") was seen."""

    request: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """Something the user should know that does not end the run."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """The engine ended early because it was asked to; it can be resumed."""

    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """`job.output` holds all the files of the artifact. `report` goes into its manifest."""

    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """Why the run ended: `reason` in one sentence, `remedy` in another."""

    reason: str
    remedy: str = ""


EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        Started, Estimated, Progress, Metrics, Sample, CheckpointSaved, Acknowledged, Warned, Stopped, Finished, Failed,
    )
}  # fmt: skip


def parse_event(line: str | bytes) -> Event:
    """The event of one line; unknown fields of a newer version are dropped.

    Raises `ValueError` if the line is not an event.
    """
    plain = json.loads(line)
    kind = EVENTS.get(plain.pop("event", None)) if isinstance(plain, dict) else None
    if kind is None:
        raise ValueError(f"not an event: {line[:80]!r}")
    known = {item.name for item in fields(kind)}
    try:
        return kind(**{key: value for key, value in plain.items() if key in known})
    except TypeError as error:
        raise ValueError(str(error)) from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class Reporter(Protocol):
    """How an engine speaks and listens while it works; `workbench.reporting` has the real one."""

    def emit(self, event: Event) -> None:
        """Append the event to the run's `events.jsonl`."""

    def should_stop(self) -> bool:
        """True once a stop was asked for (or nobody supervises any more). Cheap: call it every step."""

    def checkpoint_requested(self) -> bool:
        """True once for each request to write a checkpoint now."""


# --------------------------------------------------------------------------- language models


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn. `temperature` 0 takes the likeliest."""

    max_tokens: int = 256
    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 40  # 0: no limit
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None  # None: another draw each time
    stop: tuple[str, ...] = ()  # texts that end the answer; not part of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One streamed piece of an answer. `text` never cuts a UTF-8 character in two; it may be empty."""

    text: str
    id: int | None = None
    prompt: int = 0  # which of the prompts it answers
    finish: str | None = None  # on the last piece: "stop" (end token or stop text) or "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Log-likelihood, in nats, of a continuation after its context."""

    log_likelihood: float
    tokens: int  # in the continuation
    greedy: bool  # whether the likeliest token was the continuation's at each place
    truncated: bool = False  # the beginning did not fit into the model's context and was left out


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenProbability:
    """How likely a token of a continuation was, in nats, and which were the likeliest there."""

    id: int
    text: str  # empty where it is only part of a character; the last part has all of it
    log_probability: float
    alternatives: Sequence[tuple[str, float]]  # (text, log-probability), the likeliest first


Message = Mapping[str, str]  # {"role": "system" | "user" | "assistant", "content": ...}


@runtime_checkable
class LanguageModel(Protocol):
    """What ranking, benchmarks, judges and chat use; every engine's `load` returns one."""

    context_length: int  # tokens
    chat_template: str | None  # Jinja; None for a base model, which continues text

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of `text`, without BOS. Special-token texts become their ids only if `special`."""

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt that the chat template makes of `messages`, ready for the assistant's turn.

        Without a template: the contents, joined, for a base model to continue.
        """

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> Iterator[Token]:
        """Stream the answers. A rendered prompt's special tokens count as such; BOS is added where the
        model wants one and the prompt lacks it. Closing the iterator stops the work.

        Raises `WorkbenchError` if a prompt leaves no room in the context.
        """

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        """Log-likelihoods of (context, continuation) pairs, split into tokens as lm-eval does.

        Pairs with a common beginning cost less together. Of one that is too long the beginning is left out.
        Raises `WorkbenchError` if a continuation has no tokens.
        """

    def close(self) -> None:
        """Free the memory."""


@runtime_checkable
class ScoresTexts(Protocol):
    """A language model that also scores whole texts, for perplexity and bits per byte."""

    def score_texts(self, texts: Sequence[str]) -> list[Score]:
        """Log-likelihoods of texts from their first token on, those longer than the context in windows that score
        each token once, as lm-eval's `loglikelihood_rolling`.
        """


@runtime_checkable
class TellsProbabilities(Protocol):
    """A language model that also says how likely each token was."""

    def probabilities(self, context: str, continuation: str, *, top: int = 5) -> list[TokenProbability]:
        """The tokens of `continuation` after `context`, each with the `top` likeliest, at temperature 1.

        Raises `WorkbenchError` if both together are longer than the model's context.
        """


@runtime_checkable
class TellsDistributions(Protocol):
    """A language model that tells at every place of a text how likely all tokens are, so that two can be compared."""

    def distributions(self, tokens: Sequence[int], places: int) -> Iterator[Any]:
        """Logits, float32 of shape (up to `places`, vocabulary), of what stands at each place of `tokens`.

        The first token follows BOS, else EOS. Raises `WorkbenchError` if they do not fit into the context.
        """


@runtime_checkable
class RewardModel(Protocol):
    """What says how good an answer is; `RewardEngine.open_reward` returns one."""

    def score(self, pairs: Sequence[tuple[Sequence[Message], str]]) -> list[float]:
        """The score of each (messages, answer). Only differences between answers to the same messages mean something.

        Raises `WorkbenchError` if one is longer than the model's context.
        """

    def close(self) -> None:
        """Free the memory."""


@runtime_checkable
class Engine(Protocol):
    """A plug-in: one package and one line in `workbench.registry` (or an entry point `workbench.engines`)."""

    name: str

    def capabilities(self) -> Capabilities:
        """What this machine offers. Must not raise where the engine's libraries are missing."""

    def command(self, job: Job, job_file: Path) -> list[str]:
        """The command line that runs the job, with its launcher."""

    def run(self, job: Job, reporter: Reporter) -> None:
        """Do the job, inside the engine process: fill `job.output`, end with `Finished` or `Stopped`.

        Raises `WorkbenchError` for what the user can mend.
        """

    def load(self, model: Path, **options: Any) -> LanguageModel:
        """Open the model in folder (or file) `model` for generating and scoring."""


@runtime_checkable
class RewardEngine(Engine, Protocol):
    """An engine that opens reward models too."""

    def open_reward(self, model: Path, **options: Any) -> RewardModel:
        """Open the reward model in folder `model`."""


@runtime_checkable
class FormatEngine(Engine, Protocol):
    """An engine that tells without loading its libraries which number formats it lacks."""

    def lacking_formats(self) -> Mapping[str, tuple[str, str]]:
        """As in `Capabilities`."""
