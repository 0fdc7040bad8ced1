"""Reading: sources as raw documents in one process, and their text in many."""

from workbench.corpus.reading.extract import extract
from workbench.corpus.reading.raw import Extracted, Raw, ReadOptions, Reject, UnusableFile
from workbench.corpus.reading.reader import read

__all__ = ["Extracted", "Raw", "ReadOptions", "Reject", "UnusableFile", "extract", "read"]
