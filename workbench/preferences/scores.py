"""What a reward model thinks of answers, worked out in a process of its own and kept beside the judgements.

One line an answer: `{"answer": id, "score": number}`; null where the model cannot read it, as it is too long.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from workbench import registry
from workbench.contract import RewardModel
from workbench.errors import WorkbenchError
from workbench.preferences.candidates import Answer, Candidates, Prompt
from workbench.preferences.ranking import RewardChoice

POLL_SECONDS = 1.0


class Scores:
    """The scores that are kept of one set by one reward model, and the process that adds to them while it is open."""

    def __init__(self, candidates: Path, judgements: Path, reward: RewardChoice):
        """`judgements` is the set's file; the scores lie beside it."""
        self.reward = reward
        self.path = judgements.with_name(f"scores-{reward.identity[:16]}.jsonl")
        self._log = self.path.with_suffix(".log")
        self.scores: dict[str, float] = {}
        self.known: set[str] = set()  # those too that have no score
        self._candidates = candidates
        self._read_bytes = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.refresh()

    def start(self) -> None:
        """Have what is lacking scored, from now on until `close`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        arguments = [self._candidates, self.reward.folder, self.path, os.getpid()]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workbench.preferences.scores", *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def refresh(self) -> int:
        """Take in what was added; how many answers that was. Raises `WorkbenchError` if the process failed."""
        before = len(self.known)
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            file.seek(self._read_bytes)
            for line in file.read().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                self._read_bytes += len(line)
                with contextlib.suppress(ValueError, KeyError):  # a torn line is scored again
                    said = json.loads(line)
                    self.known.add(said["answer"])
                    if said["score"] is not None:
                        self.scores[said["answer"]] = float(said["score"])
        if self._process is not None and (status := self._process.poll()):
            self._process = None
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            why = lines[-1] if lines else f"its process ended with status {status}."
            raise WorkbenchError(f"The reward model {self.reward.name} scores nothing: {why}", "Pairs come at random.")
        return len(self.known) - before

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


def score_as_they_come(candidates: Path, reward: Path, path: Path, parent: int) -> None:
    """Score the answers in the file `candidates`, and those that are added, as long as `parent` lives.

    Returns at once where another process does that already. Raises `WorkbenchError` if it is no reward model, or no
    engine here opens it.
    """
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        known = _known(path)
        model = registry.reward_opener(reward).open_reward(reward)
        found = Candidates(candidates)
        prompts = list(found.prompts.values())
        while os.getppid() == parent:
            for prompt in prompts:
                new = [answer for answer in prompt.answers if answer.id not in known]
                lines = [
                    {"answer": answer.id, "score": score}
                    for answer, score in zip(new, _scores(model, prompt, new), strict=True)
                ]
                file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
                file.flush()
                if os.getppid() != parent:
                    return
            time.sleep(POLL_SECONDS)
            prompts = found.refresh()


def _scores(model: RewardModel, prompt: Prompt, answers: list[Answer]) -> list[float | None]:
    """None for an answer that is too long for the model, or of which it thinks no number."""
    try:
        found = model.score([(prompt.messages, answer.text) for answer in answers]) if answers else []
    except WorkbenchError:
        if len(answers) == 1:
            return [None]
        return [score for answer in answers for score in _scores(model, prompt, [answer])]
    return [round(score, 6) if math.isfinite(score) else None for score in found]


def _known(path: Path) -> set[str]:
    known = set()
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError, KeyError):
            known.add(json.loads(line)["answer"])
    return known


def main(words: list[str]) -> int:
    candidates, reward, path, parent = words
    try:
        score_as_they_come(Path(candidates), Path(reward), Path(path), int(parent))
    except WorkbenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # As in `__main__`: before a model's engine is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.nice(10)  # it must not be felt while somebody ranks
    sys.exit(main(sys.argv[1:]))
