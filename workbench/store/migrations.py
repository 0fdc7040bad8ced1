"""The catalog's schema, as numbered steps. Append only: a released step never changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database


def m001_first(db: Database) -> None:
    """Artifacts, what they were made from, runs, their events and their metrics."""
    statements = """
        CREATE TABLE artifacts (
            kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
            identity TEXT NOT NULL, digest TEXT NOT NULL, stage TEXT NOT NULL, run TEXT,
            created REAL NOT NULL, bytes INTEGER NOT NULL, recipe TEXT NOT NULL, report TEXT NOT NULL,
            PRIMARY KEY (kind, id)
        );
        CREATE INDEX artifacts_identity ON artifacts (identity);
        CREATE INDEX artifacts_name ON artifacts (kind, name, version);
        CREATE TABLE inputs (
            kind TEXT NOT NULL, id TEXT NOT NULL, role TEXT NOT NULL,
            input_kind TEXT NOT NULL, input_id TEXT NOT NULL, input_identity TEXT NOT NULL,
            PRIMARY KEY (kind, id, role)
        );
        CREATE INDEX inputs_input ON inputs (input_identity);
        CREATE TABLE runs (
            id TEXT PRIMARY KEY, number INTEGER NOT NULL, stage TEXT NOT NULL, name TEXT NOT NULL, engine TEXT NOT NULL,
            identity TEXT NOT NULL, produces TEXT NOT NULL, created REAL NOT NULL, state TEXT NOT NULL,
            reason TEXT NOT NULL, remedy TEXT NOT NULL, started REAL, ended REAL, artifact TEXT,
            step INTEGER, total_steps INTEGER, tokens INTEGER, loss REAL, eval_loss REAL, tokens_per_second REAL,
            phase TEXT, unit TEXT, updated REAL, events_offset INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX runs_number ON runs (number);
        CREATE TABLE events (
            run TEXT NOT NULL, offset INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL,
            PRIMARY KEY (run, offset)
        ) WITHOUT ROWID;
        CREATE TABLE metrics (
            run TEXT NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL, value REAL,
            PRIMARY KEY (run, name, step)
        ) WITHOUT ROWID;
    """
    for statement in statements.split(";"):  # not as a script: that would end the transaction it stands in
        db.execute(statement)


def m002_attempts(db: Database) -> None:
    """How long the earlier attempts of a run worked."""
    db.execute("ALTER TABLE runs ADD COLUMN seconds_before REAL NOT NULL DEFAULT 0")


MIGRATIONS: tuple[Callable[[Database], None], ...] = (m001_first, m002_attempts)
