"""The last pass: parts to the files of the corpus, with the last decisions applied."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.corpus.documents import GIVEN, CorpusWriter
from workbench.corpus.pipeline.parts import CUT, REPAIRED, PartWriter, PassFolder, read_rows
from workbench.corpus.pipeline.work import Judge, Work

FILE_BYTES = 256 << 20  # of text, in one file of the corpus: a task of one process


def groups_of(receipts: Sequence[dict[str, Any]]) -> list[list[int]]:
    """The parts in groups that make one file each; depends on the parts' sizes alone."""
    groups: list[list[int]] = []
    size = FILE_BYTES
    for receipt in receipts:
        if not receipt["documents"]:
            continue
        if size >= FILE_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(receipt["part"])
        size += receipt["bytes"]
    return groups


def write_group(work: Work, group: tuple[int, list[int]]) -> dict[str, Any]:
    """Write the documents of some parts into a folder of their own. Answers the receipt."""
    number, parts = group
    assert work.earlier is not None
    folder = PassFolder(work.folder)
    folder.make(())
    folder.forget(number)
    target = durable.fresh_directory(folder.root / "documents" / f"{number:06d}")
    judge = Judge(work, number)
    tally = Tally()
    given = PartWriter(folder.given(number), GIVEN)
    with CorpusWriter(target) as corpus:
        for part in parts:
            judge.turn_to(part)
            for row in read_rows(PassFolder(work.earlier).documents(part)):
                if judge.passes(row):
                    document = row.document
                    corpus.add(document.text, document.source, document.position, document.language, document.licence)
                    given.add((row.given,))
                    tally.add(row.size, len(document.text), document.language, row.file, row.given, row.flags)
    durable.fsync_tree(target)
    given.close()
    judge.notes.write(folder, number)
    receipt = {"part": number, "parts": parts, "funnel": judge.funnel.plain(), "tally": tally.plain()}
    folder.finish(number, receipt)
    return receipt


class Tally:
    """What is counted of the documents that are in the corpus in the end."""

    def __init__(self) -> None:
        self.documents = self.characters = self.bytes = self.repaired = self.cut = self.files = 0
        self.first_file = self.last_file = -1
        self.given: Counter[int] = Counter()
        self.languages: dict[str, list[int]] = {}  # documents, bytes
        self.lengths: Counter[int] = Counter()  # by the power of two below

    def add(self, size: int, characters: int, language: str | None, file: int, given: int, flags: int) -> None:
        self.documents += 1
        self.characters += characters
        self.bytes += size
        self.repaired += bool(flags & REPAIRED)
        self.cut += bool(flags & CUT)
        if self.first_file < 0:
            self.first_file = file
        if file != self.last_file:
            self.files += 1
            self.last_file = file
        self.given[given] += 1
        counts = self.languages.setdefault(language or "", [0, 0])
        counts[0] += 1
        counts[1] += size
        self.lengths[characters.bit_length() - 1] += 1

    def plain(self) -> dict[str, Any]:
        names = ("documents", "characters", "bytes", "repaired", "cut", "files", "first_file", "last_file")
        plain: dict[str, Any] = {name: getattr(self, name) for name in names}
        for name in ("given", "languages", "lengths"):
            plain[name] = {str(key): value for key, value in getattr(self, name).items()}
        return plain

    def join(self, plain: dict[str, Any]) -> None:
        """Add what `plain` gave of the documents that follow."""
        if not plain["documents"]:
            return
        for name in ("documents", "characters", "bytes", "repaired", "cut"):
            setattr(self, name, getattr(self, name) + plain[name])
        # Files come one after the other: one may end in this group that began in the last.
        self.files += plain["files"] - (plain["first_file"] == self.last_file)
        self.last_file = plain["last_file"]
        self.given.update({int(key): value for key, value in plain["given"].items()})
        self.lengths.update({int(key): value for key, value in plain["lengths"].items()})
        for language, (documents, size) in plain["languages"].items():
            counts = self.languages.setdefault(language, [0, 0])
            counts[0] += documents
            counts[1] += size


def collect(folder: Path, groups: Iterable[int], output: Path) -> None:
    """Put the groups' files into `output`, numbered in their order; they stay in `folder`, too."""
    number = 0
    for group in groups:
        for path in sorted((folder / "documents" / f"{group:06d}").iterdir()):
            target = output / f"documents-{number:05d}.parquet"
            try:
                os.link(path, target)
            except OSError:  # another file system, or one without links
                shutil.copyfile(path, target)
            number += 1
