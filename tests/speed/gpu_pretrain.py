"""Pretraining of a 124M-parameter model on a CUDA GPU: speed, utilisation and memory.

    python tests/speed/gpu_pretrain.py

Trains the shape of GPT-2 (`--size small`, vocabulary 50,304, sequence 1,024, bfloat16) on random text and prints
tokens/s, model FLOPs utilisation (Chowdhery et al. 2022; target 40%) and peak memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from tokenizers import AddedToken, trainers

from tests.speed.stages import Workspace
from workbench import durable
from workbench.contract import Estimated, Metrics
from workbench.corpus.shards import ShardWriter, document_key
from workbench.corpus.tokenizer import SPECIAL_TOKENS, new_tokenizer

VOCAB_SIZE = 50_304
DOCUMENT_TOKENS = 700  # on average; real web pages have about as many
# Dense bfloat16 matrix products, from the makers' data sheets.
PEAK_FLOPS = {
    "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "GH200": 989e12, "B200": 2250e12, "A100": 312e12,
    "L40S": 362e12, "L4": 121e12, "A10": 125e12, "RTX 4090": 165e12, "RTX 3090": 71e12,
}  # fmt: skip


def peak_flops(name: str, given: float | None) -> float:
    if given:
        return given * 1e12
    for known in sorted(PEAK_FLOPS, key=len, reverse=True):
        if known in name:
            return PEAK_FLOPS[known]
    sys.exit(f"The peak of {name} is not known here: give it with --peak-tflops.")


def random_artifacts(folder: Path, tokens: int) -> None:
    """A tokenizer of the right size, and shards of random documents."""
    tokenizer = new_tokenizer()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(special_tokens=SPECIAL_TOKENS, show_progress=False))
    missing = VOCAB_SIZE - tokenizer.get_vocab_size()
    tokenizer.add_tokens([AddedToken(f"word{number:05d}", normalized=False) for number in range(missing)])
    for name in ("tokenizer", "shards"):
        (folder / name).mkdir()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    names = dict(zip(("bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=False))
    durable.write_json(folder / "tokenizer" / "tokenizer_config.json", names)
    generator = np.random.default_rng(0)
    with ShardWriter(folder / "shards", vocab_size=VOCAB_SIZE, shard_tokens=10**8) as writer:
        while writer.tokens < tokens:
            length = 1 + int(generator.exponential(DOCUMENT_TOKENS))
            text = np.minimum(13 + generator.zipf(1.2, length), VOCAB_SIZE - 1)
            ids = np.concatenate(([0], text, [1]))
            writer.extend(ids, np.array([len(ids)]), np.array([document_key(text.tobytes())]))
        writer.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=256, help="sequences an optimizer step")
    parser.add_argument("--per-device-batch-size", type=int, default=32)
    parser.add_argument("--packing", choices=("documents", "plain", "both"), default="both")
    parser.add_argument("--compile", choices=("always", "never"), default="always")
    parser.add_argument("--peak-tflops", type=float, help="of the GPU, dense bfloat16; known for common ones")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no CUDA GPU here: nothing to measure.")
        return
    name = torch.cuda.get_device_name()
    peak = peak_flops(name, options.peak_tflops)
    for packing in ("plain", "documents") if options.packing == "both" else (options.packing,):
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace(Path(folder))
            random_artifacts(workspace.folder, 4_000_000)
            settings: dict[str, Any] = {
                "model__size": "small",
                "data__packing": packing,
                "batch__batch_size": options.batch_size,
                "batch__per_device_batch_size": options.per_device_batch_size,
                "schedule__max_steps": options.steps,
                "precision__dtype": "bfloat16",
                "precision__compile": options.compile,
                "checkpoints__save_steps": options.steps,
                "evaluation__eval_steps": options.steps,
                "evaluation__eval_tokens": 65_536,
                "evaluation__sample_tokens": 0,
            }
            torch.cuda.reset_peak_memory_stats()
            attempt = workspace.run("pretrain", "model", corpus="corpus", tokenizer="tokenizer", **settings)
            steps = [event for event in attempt.all(Metrics) if event.loss is not None]
            estimated = attempt.all(Estimated)[-1]
            rate = steps[-1].tokens_per_second  # of the last seconds, without validation
            utilisation = rate * estimated.flops / estimated.tokens / peak
            print(
                f"{name}, torch {torch.__version__}, {estimated.parameters / 1e6:.0f}M parameters, packing {packing}, "
                f"compile {options.compile}: {rate:,.0f} tokens/s, {utilisation:.1%} of {peak / 1e12:.0f} TFLOP/s "
                f"(target 40%), peak memory {steps[-1].peak_memory_bytes / 2**30:.1f} GiB "
                f"(estimated {estimated.memory_bytes / 2**30:.1f})"
            )
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
