"""How well three minutes of training on a CPU learn a small text, beside a character-level GPT.

    python tests/speed/learning.py [--minutes 3]

tinyshakespeare, its last tenth held out. Ours goes through the real stages with the defaults of a size; only the
vocabulary, the size and the number of steps are chosen, so that the steps fill the time. The other is nanoGPT's
CPU configuration: 4 layers, 4 heads, width 128, block 64, batch 12, no dropout. Prints bits per byte over all
of the held-out text. Target: ours at 2.25 or lower.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
from torch import nn

from tests.speed.stages import Workspace
from workbench.contract import Metrics

TEXT = Path(__file__).resolve().parents[3] / "shared" / "data" / "text" / "tinyshakespeare.txt"
CALIBRATION_STEPS = 30


class Block(nn.Module):
    """A GPT-2 block: pre-norm, causal attention, GELU."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(2))
        self.mix = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BLD: torch.Tensor) -> torch.Tensor:
        rows, length, width = x_BLD.shape
        parts = self.mix(self.norms[0](x_BLD)).view(rows, length, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x_BLD = x_BLD + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        return x_BLD + self.down(F.gelu(self.up(self.norms[1](x_BLD))))


class CharacterGPT(nn.Module):
    """0.8M parameters over the bytes of the text."""

    def __init__(self, vocab_size: int, *, layers: int = 4, heads: int = 4, width: int = 128, block: int = 64):
        super().__init__()
        self.block = block
        self.tokens = nn.Embedding(vocab_size, width)
        self.places = nn.Embedding(block, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                into_residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * layers) if into_residual else 1))

    def forward(self, x_BL: torch.Tensor) -> torch.Tensor:
        places = torch.arange(x_BL.shape[1])
        return self.norm(self.blocks(self.tokens(x_BL) + self.places(places))) @ self.tokens.weight.t()


def character_bits(text: bytes, seconds: float) -> tuple[float, int]:
    """(bits per byte on the last tenth, iterations) of the character-level model after `seconds`."""
    torch.manual_seed(1337)
    alphabet = sorted(set(text))
    numbers = torch.tensor([alphabet.index(byte) for byte in text])
    cut = len(text) * 9 // 10
    train, held_out = numbers[:cut], numbers[cut:]
    model = CharacterGPT(len(alphabet))
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    begin, iterations = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < seconds:
        warm = min(1.0, (iterations + 1) / 100)
        rate = warm * (1e-4 + 9e-4 * (1 + math.cos(math.pi * elapsed / seconds)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = torch.randint(len(train) - model.block - 1, (12,))
        rows = torch.stack([train[start : start + model.block + 1] for start in starts])
        loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        iterations += 1
    with torch.no_grad():
        count = (len(held_out) - 1) // model.block
        rows = held_out[: count * model.block].view(count, model.block)
        targets = held_out[1 : count * model.block + 1].view(count, model.block)
        nats = [
            F.cross_entropy(model(part).flatten(0, 1), wanted.flatten(), reduction="sum")
            for part, wanted in zip(rows.split(64), targets.split(64), strict=True)
        ]
    return float(sum(nats)) / (count * model.block * math.log(2)), iterations


def our_bits(workspace: Workspace, size: str, seconds: float) -> None:
    """Train for about `seconds` with the defaults of `size`, and print what came of it."""

    def settings(steps: int) -> dict[str, object]:
        return {
            "corpus": "corpus",
            "tokenizer": "tokenizer",
            "model__size": size,
            "data__validation_split": "tail",
            "data__validation_fraction": 0.1,
            "schedule__max_steps": steps,
            "precision__compile": "never",
            "evaluation__eval_tokens": 200_000,  # all of it
            "evaluation__eval_steps": steps,
            "evaluation__sample_tokens": 0,
            "checkpoints__save_steps": steps,
        }

    trial = workspace.run("pretrain", "trial", **settings(CALIBRATION_STEPS))
    times = [event.time for event in trial.all(Metrics) if event.loss is not None]
    steps = int(seconds / (times[-1] - times[0]) * (len(times) - 1))
    attempt = workspace.run("pretrain", "model", **settings(steps))
    report = attempt.report()
    losses = [event.loss for event in attempt.all(Metrics) if event.loss is not None]
    print(
        f"ours, size {size}: {report['parameters'] / 1e6:.1f}M parameters, {report['steps']:,} steps, "
        f"{report['tokens']:,} tokens, {report['tokens_per_second']:,.0f} tokens/s, {report['seconds']:.0f} s, "
        f"last training loss {losses[-1]:.2f}: {report['eval_bits_per_byte']:.3f} bits per byte (target 2.25)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--size", default="nano")
    parser.add_argument("--vocab-size", type=int, default=1024)
    parser.add_argument("--skip-baseline", action="store_true")
    options = parser.parse_args()
    if not TEXT.is_file():
        sys.exit(f"{TEXT} is missing.")
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.prepare([str(TEXT)], options.vocab_size)
        our_bits(workspace, options.size, options.minutes * 60)
    if not options.skip_baseline:
        bits, iterations = character_bits(TEXT.read_bytes(), options.minutes * 60)
        print(
            f"character-level GPT: {iterations:,} iterations in {options.minutes * 60:.0f} s: {bits:.3f} bits per byte"
        )


if __name__ == "__main__":
    main()
