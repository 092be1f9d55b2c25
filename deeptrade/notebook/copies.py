"""A user's own copies of the notebooks: `run` executes those of the package, so an edit changes no run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..files import atomic_write, friendly_os_errors, read_json, user_path, write_json
from ..units import count_of
from .execute import notebook_path

ORIGINALS = ".originals.json"
"""Beside the copies: a checksum of the code and text of each as it was copied, to tell edited ones."""


def copy_notebooks(folder: str | Path) -> list[str]:
    """Put a copy of every notebook into a folder, made where missing; return lines on what was done.

    A copy that was edited stays as it is. One that was only run is replaced when the package has a newer notebook.

    Raises SettingsError for the folder of the notebooks themselves, DataError where it cannot be written.
    """
    folder, originals = user_path(folder), notebook_path("00_explore").parent
    if folder.resolve() == originals.resolve():
        raise SettingsError(f"{folder} holds the notebooks that run executes; give another --out for your copies")
    with friendly_os_errors(f"making the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    record = folder / ORIGINALS
    before: dict[str, str] = read_json(record) if record.exists() else {}
    made, kept, outdated = [], [], []
    for original in sorted(originals.glob("[0-9][0-9]_*.ipynb")):
        copy, newest = folder / original.name, _checksum(original)
        is_edited = copy.exists() and _checksum(copy) != before.get(original.name, newest)
        if is_edited:
            kept.append(original.stem)
            outdated += [original.stem] if before.get(original.name, newest) != newest else []
        elif not copy.exists() or before.get(original.name, newest) != newest:
            with atomic_write(copy) as file:
                file.write(original.read_bytes())
            made.append(original.stem)
            before[original.name] = newest
    write_json(record, before)
    return _told(folder, made, kept, outdated)


def _checksum(notebook: Path) -> str:
    """A checksum of what a user edits: kinds and sources of the cells, not their outputs."""
    cells: list[dict[str, Any]] = read_json(notebook).get("cells", [])
    text = repr([(cell.get("cell_type"), "".join(cell.get("source", ""))) for cell in cells])
    return hashlib.sha256(text.encode()).hexdigest()


def _told(folder: Path, made: list[str], kept: list[str], outdated: list[str]) -> list[str]:
    lines = [f"{folder}: {count_of(len(made), 'notebook')} copied"] if made else []
    if kept:
        lines.append(f"{folder}: kept as you edited them: {', '.join(kept)}")
    if outdated:
        lines.append(f"of {', '.join(outdated)} the package has a newer version: rename your copy to get it")
    return [*lines, f"edit the copies in {folder} as you like: deeptrade run uses the notebooks of the package"]
