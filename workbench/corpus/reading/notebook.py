"""Text of Jupyter notebooks: Markdown as it is, code in fences, no outputs."""

from __future__ import annotations

from typing import Any

from workbench.corpus.reading.raw import NoText


def notebook_text(text: str) -> str:
    """The cells in order, with an empty line between two. Raises `NoText`."""
    import orjson

    try:
        notebook = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NoText("broken notebook", error.msg) from None
    if not isinstance(notebook, dict):
        raise NoText("broken notebook", "It is no JSON object.")
    sheets = notebook.get("worksheets")  # before format 4, cells lay in sheets
    cells = [
        cell
        for sheet in (notebook, *(sheets if isinstance(sheets, list) else []))
        if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list)
        for cell in sheet["cells"]
    ]
    parts = [part for cell in cells if isinstance(cell, dict) and (part := _cell(cell, _language(notebook)))]
    if not parts:
        raise NoText("notebook without text", f"{len(cells)} cells hold no text.")
    return "\n\n".join(parts) + "\n"


def _cell(cell: dict[str, Any], language: str) -> str:
    source = cell.get("source", cell.get("input"))
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str) or not source.strip():
        return ""
    if cell.get("cell_type") == "code":
        return f"```{language}\n{source.strip()}\n```"
    return source.strip()


def _language(notebook: dict[str, Any]) -> str:
    """The language of its code, which is Python unless it says otherwise."""
    for key, name in (("language_info", "name"), ("kernelspec", "language")):
        found = notebook.get("metadata")
        found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict) and isinstance(found.get(name), str) and found[name].replace("-", "").isalnum():
            return found[name].lower()
    return "python"
