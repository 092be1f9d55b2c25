"""Parameters of the notebooks, checked before any kernel starts: papermill itself lets a misspelt one pass."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from papermill.inspection import inspect_notebook

from .errors import SettingsError

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


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
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
            raise SettingsError(f"parameter {name!r} is in none of the notebooks; {hint}")
    return {
        notebook: {
            name: as_declared(name, value, parameters[name]["inferred_type_name"])
            for name, value in given.items()
            if name in parameters
        }
        for notebook, parameters in declarations.items()
    }


def as_declared(name: str, value: Any, kind: str) -> Any:
    """Return the value as a plain bool, int, float or str, as `kind` names; text is read, other types must fit.

    >>> as_declared("epochs", "3", "int"), as_declared("grad_accum", "yes", "bool")
    (3, True)
    """
    plain = value.item() if isinstance(value, np.generic) else str(value) if isinstance(value, Path) else value
    try:
        if kind == "bool":
            return _as_bool(plain)
        if kind == "str" and isinstance(plain, (list, tuple)):
            return ",".join(map(str, plain))
        if kind == "str" and isinstance(plain, str):
            return plain
        if kind == "int" and not isinstance(plain, (bool, float)):
            return int(plain)
        if kind == "float" and not isinstance(plain, bool):
            return float(plain)
    except (TypeError, ValueError):
        pass
    raise SettingsError(f"{name}={value!r} is not of type {kind}")


def _as_bool(value: Any) -> bool:
    text = str(value).lower()
    if text in _TRUE + _FALSE:
        return text in _TRUE
    raise ValueError(value)
