"""Questions about Python's standard library with answers from its own docstrings: instruction data on every machine."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

MIN_CHARACTERS, MAX_CHARACTERS = 24, 400  # of an answer


def questions(source: bytes, module: str) -> Iterator[dict[str, Any]]:
    """Conversations of one turn: what a module, a class or a function is, in its docstring's first paragraph.

    Raises `SyntaxError` or `ValueError` where `source` is not Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old modules have invalid escapes
        tree = ast.parse(source)
    yield from _of(tree, module, f"What is the module {module} for?")


def _of(node: ast.AST, name: str, question: str) -> Iterator[dict[str, Any]]:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        answer = _first_paragraph(ast.get_docstring(node) or "")
        if MIN_CHARACTERS <= len(answer) <= MAX_CHARACTERS and answer[0].isupper() and answer[-1] in ".!":
            turns = (("user", question), ("assistant", answer))
            yield {"messages": [{"role": role, "content": content} for role, content in turns]}
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not child.name.startswith("_"):
            yield from _of(child, f"{name}.{child.name}", f"What does {name}.{child.name} do?")
        elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _of(child, f"{name}.{child.name}", f"What is the class {name}.{child.name}?")


def _first_paragraph(docstring: str) -> str:
    return " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())
