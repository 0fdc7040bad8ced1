"""A project of many runs and many metric rows, written straight into its catalog: for measuring readers."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from workbench.store.catalog import open_catalog
from workbench.store.project import Project, create

METRICS = ("loss", "grad_norm", "learning_rate", "tokens_per_second")


def make_large_project(root: Path, *, runs: int = 100, rows: int = 1_000_000) -> Project:
    """`runs` finished trainings with `rows` metric rows between them, one corpus, tokenizer and model."""
    project = create(root)
    steps = rows // runs // len(METRICS)
    now = time.time()
    with open_catalog(project) as catalog:
        connection = catalog.connection
        for number in range(1, runs + 1):
            run = f"pretrain-{number}"
            connection.execute(
                "INSERT INTO runs (id, number, stage, name, engine, identity, produces, created, state, reason, "
                "remedy, started, ended, step, total_steps, tokens, loss, tokens_per_second, unit, updated) "
                "VALUES (?, ?, 'pretrain', ?, 'pytorch', ?, 'model', ?, 'finished', '', '', ?, ?, ?, ?, ?, 2.5, "
                "5000, 'steps', ?)",
                (run, number, f"base-{number}", run, now - 9e4, now - 9e4, now - 8e4, steps, steps, steps * 4096, now),
            )
            connection.executemany(
                "INSERT INTO metrics (run, name, step, value) VALUES (?, ?, ?, ?)",
                (
                    (run, name, step, 2.5 + 5 * math.exp(-6 * step / steps))
                    for name in METRICS
                    for step in range(1, steps + 1)
                ),
            )
        for kind, name in (("corpus", "books"), ("tokenizer", "bpe-4k"), ("model", "base")):
            connection.execute(
                "INSERT INTO artifacts (kind, id, name, version, identity, digest, stage, created, bytes, recipe, "
                "report) VALUES (?, ?, ?, 1, ?, '', '', ?, 1000000, '{}', ?)",
                (kind, name, name, name, now - 9e4, json.dumps({"documents": 1000})),
            )
        connection.commit()
    return project
