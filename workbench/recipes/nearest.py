"""What somebody probably meant: the nearest of the names and keys that there are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

LISTED = 12  # names in a list of all there is; more are only counted

# What other programs call a field -> what it is called here, the likeliest first.
ALIASES: dict[str, tuple[str, ...]] = {
    alias: fields
    for aliases, fields in {
        "lr rate": ("learning_rate",),
        "wd decay": ("weight_decay",),
        "clip grad_clip gradient_clip max_norm": ("max_grad_norm",),
        "betas beta": ("beta1", "beta2"),
        "bs batch global_batch global_batch_size": ("batch_size",),
        "micro_batch micro_batch_size per_device_train_batch_size": ("per_device_batch_size",),
        "accum accumulation grad_accum gradient_accumulation": ("gradient_accumulation_steps",),
        "steps step iters iterations max_iters num_steps": ("max_steps",),
        "epoch epochs num_epochs": ("num_train_epochs", "max_steps"),
        "warmup warmup_steps": ("warmup_ratio",),
        "scheduler schedule lr_scheduler lr_schedule": ("lr_scheduler_type",),
        "ctx context context_length context_size n_ctx seq_len seq_length sequence_length block_size max_seq_len "
        "max_seq_length length": ("max_length",),
        "dim d_model n_embd width hidden": ("hidden_size",),
        "depth layers n_layer n_layers num_layers": ("num_hidden_layers",),
        "heads n_head n_heads num_heads": ("num_attention_heads",),
        "kv_heads n_kv_heads num_kv_heads": ("num_key_value_heads",),
        "ffn d_ff mlp inner ffn_dim": ("intermediate_size",),
        "arch model_type": ("architecture",),
        "vocab": ("vocab_size",),
        "tok": ("tokenizer",),
        "data dataset": ("corpus", "sources"),
        "quant quantize outtype q": ("quantization",),
        "gpus nproc nproc_per_node devices workers": ("processes",),
        "rank lora_r r": ("lora_rank",),
        "alpha": ("lora_alpha",),
        "temp": ("temperature",),
        "n_predict max_new_tokens n tokens": ("max_tokens",),
        "output out o": ("name",),
    }.items()
    for alias in aliases.split()
}


def nearest(given: str, choices: Sequence[str], *, likeness: float = 0.6) -> str:
    """'Did you mean …?' where something is near (`likeness` is difflib's, from 0 to 1), else the list of what there
    is."""
    near = difflib.get_close_matches(given, choices, 1, cutoff=likeness)
    return f"Did you mean {near[0]}?" if near else listed(choices)


def nearest_key(given: str, choices: Sequence[str]) -> str:
    """The same for dotted keys: `learning_rate` and `optimizer.lr` for `optimizer.learning_rate`.

    Where nothing is near: the keys of the section that was meant, or all sections.
    """
    found = near_key(given, choices)
    if found:
        return f"Did you mean {found}?"
    section = given.rpartition(".")[0]
    inside = [choice for choice in choices if section and choice.startswith(section + ".")]
    return listed(inside or dict.fromkeys(f"{c.split('.')[0]}.…" if "." in c else c for c in choices), most=24)


def near_key(given: str, choices: Sequence[str]) -> str | None:
    """The key that was probably meant, if one is near; those of the given section first."""
    section, _, name = given.replace("-", "_").rpartition(".")
    ordered = sorted(choices, key=lambda choice: choice.rpartition(".")[0] != section)
    names = {}
    for choice in reversed(ordered):
        names[choice.rpartition(".")[2].replace("-", "_")] = choice
    for known in (name, *ALIASES.get(name.lower(), ())):
        if known in names:
            return names[known]
    near = difflib.get_close_matches(name, names, 1, cutoff=0.7)
    return names[near[0]] if near else None


def listed(choices: Sequence[str] | dict[str, None], *, most: int = LISTED) -> str:
    """'There are: a, b, c.', and how many more."""
    names = list(choices)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"There are: {', '.join(names[:most])}{more}." if names else ""
