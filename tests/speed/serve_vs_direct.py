"""Tokens/s of `workbench serve`, streamed, ÷ `ModelProcess` directly, interleaved; target 0.95 or more.

    python -m tests.speed.serve_vs_direct [MODEL] [--engine NAME] [--rounds 10] [--tokens 64]

MODEL is a GGUF file or a Hugging Face folder, by default SmolLM2. Each round gives both the same new prompt, in turns
the one first and the other; greedy, so that they write the same tokens. Reading the prompt and the request count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import openai

from tests.serving.conftest import end, start
from tests.speed.chat_speed import PROMPTS, smollm2
from workbench import registry
from workbench.chat.process import ModelProcess
from workbench.contract import Sampling


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", type=Path, default=smollm2())
    parser.add_argument("--engine")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    engine = registry.opener(options.model, options.engine)
    served = start(options.model, "--engine", engine)
    process = ModelProcess(engine, options.model)
    try:
        contenders = {
            "direct": direct(process, options.tokens),
            "serve": through(served.client(), options.tokens),
        }
        for write in contenders.values():
            write("Warm-up.")
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(options.rounds):
            prompt = PROMPTS[number % len(PROMPTS)] + f" {number}" * (number // len(PROMPTS))
            written = {}
            for name in list(contenders)[:: -1 if number % 2 else 1]:
                begun = time.perf_counter()
                written[name] = contenders[name](prompt)
                seconds[name].append((time.perf_counter() - begun) / options.tokens)
            assert written["direct"] == written["serve"], written
    finally:
        process.close()
        end(served)
    for name, values in seconds.items():
        print(f"{name:7} {1 / statistics.median(values):7.1f} tokens/s (median of {len(values)})")
    ratios = [one / other for one, other in zip(seconds["direct"], seconds["serve"], strict=True)]
    print(f"serve ÷ direct on {engine}: {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


def direct(model: ModelProcess, tokens: int) -> Callable[[str], str]:
    sampling = Sampling(temperature=0, max_tokens=tokens)
    return lambda prompt: "".join(token.text for token in model.generate([prompt], sampling))


def through(client: openai.OpenAI, tokens: int) -> Callable[[str], str]:
    name = client.models.list().data[0].id

    def write(prompt: str) -> str:
        stream = client.completions.create(model=name, prompt=prompt, max_tokens=tokens, temperature=0, stream=True)
        return "".join(piece.choices[0].text for piece in stream)

    return write


if __name__ == "__main__":
    main()
