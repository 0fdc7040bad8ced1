"""Reading: sources as raw documents in one process, and their text in many."""

from workbench.corpus.reading.extract import extract
from workbench.corpus.reading.raw import Extracted, Raw, ReadOptions, Reject, UnusableFile
from workbench.corpus.reading.reader import GONE, read

__all__ = ["GONE", "Extracted", "Raw", "ReadOptions", "Reject", "UnusableFile", "extract", "read"]
