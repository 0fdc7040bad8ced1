"""Text of PDF files, by pypdf, which bounds what a malicious file may unpack to."""

from __future__ import annotations

import io
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.corpus.reading.raw import NoText
from workbench.wording import amount

MIN_CHARACTERS_A_PAGE = 10  # a scan whose pages only bear a stamp or a number has no text
CPU_SECONDS = 300.0  # for one file; 10,000 pages take half of it


class _TooLong(BaseException):
    """The time is over; pypdf catches nothing of this kind."""


def pdf_text(data: bytes) -> str:
    """The text of all pages, with an empty line between two. Raises `NoText`."""
    import pypdf
    from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of each slip that it gets over
    pages: list[str] = []
    try:
        with _limited(CPU_SECONDS), pypdf.PdfReader(io.BytesIO(data)) as reader:
            if reader.is_encrypted and not reader.decrypt(""):
                raise NoText("encrypted PDF", "It opens with a password alone.")
            for page in reader.pages:
                pages.append(page.extract_text().strip())
    except (FileNotDecryptedError, DependencyError) as error:
        raise NoText("encrypted PDF", str(error)) from None
    except (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError) as error:
        # A broken file ends in whatever its pieces are mistaken for; nothing of it is kept.
        raise NoText("broken PDF", f"{type(error).__name__}: {error}") from None
    except (RuntimeError, AssertionError, OSError, MemoryError) as error:
        raise NoText("broken PDF", f"{type(error).__name__}: {error}") from None
    except _TooLong:
        raise NoText("PDF takes too long", f"{amount(len(pages), 'pages')} took {CPU_SECONDS:g} s.") from None
    text = "\n\n".join(page for page in pages if page)
    if len(text) < MIN_CHARACTERS_A_PAGE * max(len(pages), 1) or text.isspace():
        held = f"{amount(len(pages), 'pages')} with {amount(len(text), 'characters')}"
        raise NoText("PDF without text", f"{held}: this may be a scan.")
    return text


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raises `_TooLong` once the process has worked for so long: a file of 10 KB can ask for years.

    The time is that of the processor, so that the same file ends the same way on a busy machine. Without
    effect outside a process's main thread, where no signal arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 1.0)  # again, should a handler of pypdf's have run meanwhile
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
