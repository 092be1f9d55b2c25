"""Parameters of the notebooks, checked: by `run` before any kernel starts, and by each notebook in its first cell.

papermill itself lets a misspelt one pass, and so would a notebook.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..files import read_json
from ..settings import as_declared, nearest
from .execute import notebook_path

_KINDS = {kind.__name__: kind for kind in (bool, int, float, str)}
OWN = ("csv", "out", "run", "plan", "rl_out")
"""Parameters that `run` sets itself."""

PATHS = ("store", "warm_start", "rl_csv")
"""Others that are paths."""

_INJECTED = "# Parameters\n"
"""Begins the cell that papermill adds."""

_NEARLY = 0.8
"""How alike two names must be, from 0 to 1, to take one for a misspelling of the other: epoch and epochs are 0.91."""


def declared(notebook: Path) -> dict[str, dict[str, Any]]:
    """Return papermill's view of a notebook's parameters: name, inferred_type_name, default, help by name."""
    from papermill.inspection import inspect_notebook

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


def chosen_parameters(notebook: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a notebook of ours in their declared types, from the `globals()` of its kernel.

    papermill's -r hands over text; a parameter whose line was removed has its default. Raises SettingsError for a value
    of another type, and for a name in the first cell, or set by papermill, that the notebook does not have.
    """
    known = _declarations(notebook)
    for name in _misspelt(namespace.get("In", ()), known):
        raise SettingsError(f"this notebook has no parameter {name!r}; {nearest(name, known)}")
    return {name: as_declared(name, namespace.get(name, default), kind) for name, (kind, default) in known.items()}


def injected_names(namespace: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters that papermill set in a notebook, from its `globals()`; also those set to the default."""
    cells = [source for source in namespace.get("In", ()) if source.startswith(_INJECTED)]
    return frozenset(name for source in cells for name, _ in _assigned(source))


def _declarations(notebook: str) -> dict[str, tuple[type, Any]]:
    """Type and default of each parameter of a notebook of ours, as it is in the package: the user may edit a copy."""
    cells = read_json(notebook_path(notebook))["cells"]
    source = next("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
    return {
        ast.unparse(line.target): (_KINDS[ast.unparse(line.annotation)], ast.literal_eval(line.value))
        for line in ast.parse(source).body
        if isinstance(line, ast.AnnAssign) and line.value is not None
    }


def _misspelt(cells: Collection[str], known: Collection[str]) -> Iterator[str]:
    """Yield names that stand for no parameter, in the latest cell that declares some and in the latest of papermill.

    A plain `name = value` among the declarations may be the user's own, unless it is nearly that of a parameter.
    """
    declaring = [source for source in cells if any(declares and name in known for name, declares in _assigned(source))]
    for name, declares in _assigned(declaring[-1]) if declaring else ():
        if name not in known and (declares or get_close_matches(name, known, cutoff=_NEARLY)):
            yield name
    injected = [source for source in cells if source.startswith(_INJECTED)]
    yield from (name for name, _ in _assigned(injected[-1]) if name not in known) if injected else ()


def _assigned(source: str) -> Iterator[tuple[str, bool]]:
    """Yield the names that a cell assigns, and whether it declares them: `name: type = value`."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a cell of magics
        return
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(statement, ast.Assign | ast.AnnAssign):
                yield target.id, isinstance(statement, ast.AnnAssign)
