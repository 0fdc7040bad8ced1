"""Python's own documentation as prose: real text that is on every machine.

Each module of the standard library becomes one document: its docstrings under the names and
signatures that they belong to, and its longer comments, in the order of the source. The topics of
`help()` (`pydoc_data.topics`) become one document each. Nothing is imported or run.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import warnings
from collections.abc import Iterator

from workbench.corpus.python_library import TOPICS
from workbench.corpus.reading.entry import Entry
from workbench.corpus.reading.raw import Raw, Reject
from workbench.corpus.reading.rows import cell
from workbench.recipes.base import PYTHON_DOCS

MIN_COMMENT_LINES = 3  # shorter ones seldom make sense without the code around them
COMMENT_BLOCK = re.compile(rf"(?:^[ \t]*#.*\n){{{MIN_COMMENT_LINES},}}", re.MULTILINE)
COMMENT_MARK = re.compile(r"^[ \t]*#+ ?", re.MULTILINE)
# Lines that only code has: an assignment, a call, a header of a block at the line's end, and the like.
CODE_LINE = re.compile(
    r"^\s*(?:[\w.\[\]]+ *[-+*/|&]?= *\S|[\w.]+\(.*\)$|(?:if|for|def|class|while|try|else)\b.*:$|return\b)"
)
LEGAL = re.compile(r"copyright|permission to use|licen[sc]e", re.IGNORECASE)

BLOCKS = ("body", "orelse", "handlers", "finalbody")  # where statements hold others; their expressions hold none


def read_python(entry: Entry) -> Iterator[Raw | Reject]:
    """The documentation inside a module of the standard library, or the topics of `help()`."""
    if entry.name == TOPICS:
        for topic, text in topics():
            yield from cell(dataclasses.replace(entry, name=f"{PYTHON_DOCS}/topics/{topic}"), text, 0, {})
        return
    assert entry.path is not None
    name = module_name(entry.name)
    module = dataclasses.replace(entry, name=f"{PYTHON_DOCS}/{name}")
    try:
        text = module_text(entry.path.read_bytes(), name)
    except (SyntaxError, ValueError) as error:
        yield module.reject("not Python", str(error))
        return
    if text:
        yield from cell(module, text, 0, {})


def module_text(source: bytes, name: str) -> str:
    """The docstrings and comments of the module `name` as text; "" if it has none.

    Raises `SyntaxError` or `ValueError` where `source` is not Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old modules have invalid escapes
        tree = ast.parse(source)
    parts = sorted([*_docstrings(tree, ""), *_comments(source.decode("utf-8", "replace"))])
    if not parts:
        return ""
    return "\n\n".join([f"The module {name}", *(text for _, text in parts)]) + "\n"


def module_name(path: str) -> str:
    """`email/mime/__init__.py` is `email.mime`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def topics() -> Iterator[tuple[str, str]]:
    """(name, text) of each topic of `help()`."""
    from pydoc_data.topics import topics as texts

    yield from sorted(texts.items())


def _docstrings(node: ast.AST, prefix: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the docstrings in and below `node`."""
    if isinstance(node, ast.Module):
        if text := ast.get_docstring(node):
            yield 0, text.strip()
        inner = ""
    elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        inner = f"{prefix}{node.name}."
        if text := ast.get_docstring(node):
            yield node.lineno, f"{_heading(node, prefix)}\n\n{inspect.cleandoc(text)}"
    else:
        inner = prefix
    for block in BLOCKS:
        for child in getattr(node, block, ()):
            yield from _docstrings(child, inner)


def _heading(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, prefix: str) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {prefix}{node.name}"
    return f"{prefix}{node.name}({ast.unparse(node.args)})"


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the blocks of comments that are prose."""
    for block in COMMENT_BLOCK.finditer(source):
        lines = COMMENT_MARK.sub("", block.group()).rstrip().splitlines()
        text = "\n".join(lines).strip("\n")
        letters = sum(map(str.isalpha, text))
        code = sum(1 for line in lines if CODE_LINE.match(line))
        if letters > 0.6 * len(text) and len(text) >= 100 and code * 4 <= len(lines) and not LEGAL.search(text):
            yield source.count("\n", 0, block.start()) + 1, text
