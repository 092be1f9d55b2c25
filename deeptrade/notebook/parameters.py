"""Parameters of the notebooks, checked before any kernel starts: papermill itself lets a misspelt one pass."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from papermill.inspection import inspect_notebook

from ..errors import SettingsError
from ..settings import as_declared, nearest

_KINDS = {kind.__name__: kind for kind in (bool, int, float, str)}


def declared(notebook: Path) -> dict[str, dict[str, Any]]:
    """Return papermill's view of a notebook's parameters: name, inferred_type_name, default, help by name."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    return inspect_notebook(str(notebook))


def check_parameters(given: Mapping[str, Any], notebooks: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Return for each notebook the values that go to it, in their declared types; a shared name goes to each.

    Raises SettingsError for a name that no notebook has, with the nearest one, and for a value of another type.
    """
    declarations = {name: declared(path) for name, path in notebooks.items()}
    known = sorted({parameter for parameters in declarations.values() for parameter in parameters})
    for name in given:
        if name not in known:
            raise SettingsError(f"parameter {name!r} is in none of the notebooks; {nearest(name, known)}")
    return {
        notebook: {
            name: as_declared(name, value, _KINDS[parameters[name]["inferred_type_name"]])
            for name, value in given.items()
            if name in parameters
        }
        for notebook, parameters in declarations.items()
    }
