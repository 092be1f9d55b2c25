"""Many runs in one command: every combination of some parameters, each run a process of its own."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import DataError, DeepTradeError, SettingsError
from ..files import friendly_os_errors, refuse_secrets, user_path
from ..planning.children import bound_command, run_logged
from ..report.compare_page import write_comparison
from ..run_folder import RunFolder
from ..settings import FitSettings
from .execute import notebook_path
from .parameters import check_parameters
from .run import ALL_NOTEBOOKS


class GridError(Exception):
    """Runs of a grid failed, not all of them for a reason that the user can fix; their logs say more."""


def read_grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the values by parameter of texts such as 'model_size=small,medium'.

    A value in square brackets is taken whole, with its commas; [] is the empty value.

    >>> read_grid(["features=[arr_5m,arr_15m],arr_5m"])
    {'features': ['arr_5m,arr_15m', 'arr_5m']}

    Raises SettingsError for a text of another form, and a parameter given twice.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        chosen = _split_values(values)
        if not (name and equals and chosen):
            raise SettingsError(
                f"--grid {text!r} is not accepted; give NAME=VALUE,VALUE such as model_size=small,medium, "
                f"a value that holds commas in brackets, such as 'features=[arr_5m,arr_15m],arr_5m'"
            )
        if name in grid:
            raise SettingsError(f"--grid names {name!r} twice; put its values into one: {name}=VALUE,VALUE")
        grid[name] = chosen
    return grid


def _split_values(text: str) -> list[str]:
    """The different values of 'A,[B,C]' in order; none where one is empty, or a bracket has no partner."""
    parts, depth = [""], 0
    for letter in text:
        if letter == "," and not depth:
            parts.append("")
            continue
        if depth or not parts[-1].strip():  # only a bracket that begins a value holds it together
            depth += (letter == "[") - (letter == "]" and depth > 0)
        parts[-1] += letter
    parts = [part.strip() for part in parts]
    if depth or not all(parts) or any(part[0] == "[" and part[-1] != "]" for part in parts):
        return []
    return list(dict.fromkeys(part[1:-1].strip() if part[0] == "[" else part for part in parts))


_LONGEST_NAME_BYTES = 120


def folder_name(combination: Mapping[str, str]) -> str:
    """Return a name for the folder of a run, fit for any file system and of this combination alone.

    What a path should not hold is written '_'; then, or where the name would be too long, a checksum follows.

    >>> folder_name({"model_size": "tiny", "seed": "1"})
    'model_size=tiny,seed=1'
    >>> folder_name({"features": "arr_5m,arr_15m"})
    'features=arr_5m+arr_15m-2d310f4a'
    """
    exact = ",".join(f"{key}={value}" for key, value in combination.items())
    plain = ",".join(f"{key}={value.replace(',', '+')}" for key, value in combination.items())
    fit = re.sub(r"[^\w.,=+-]", "_", plain).encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore")
    if fit == exact and not fit.endswith(".log"):  # as the log of another run
        return fit
    return f"{fit}-{hashlib.sha256(repr(dict(combination)).encode()).hexdigest()[:8]}"


def combinations(grid: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return every combination of the values, the last parameter changing first.

    >>> combinations({"a": ["1", "2"], "b": ["x"]})
    [{'a': '1', 'b': 'x'}, {'a': '2', 'b': 'x'}]
    """
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def run_grid(
    data: str | Path,
    *,
    out: str | Path,
    grid: Mapping[str, Sequence[str]],
    parameters: Mapping[str, str] | None = None,
    fresh: bool = False,
    sink: Callable[[str], None] | None = None,
    command: Sequence[str] | None = None,
) -> Path:
    """Run the notebooks for every combination, one after the other, and return the path of out/compare.html.

    Each combination has a folder below `out` named after it, which continues or is done like any run's; what it printed
    is in out/NAME.log. The comparison is written again after every run. A run that fails does not stop the rest.

    Raises SettingsError for a value that no notebook accepts, before anything runs; GridError at the end if runs
    failed, DataError where all of them failed for a reason the user can fix.
    """
    say = sink or (lambda line: None)
    refuse_secrets(data)
    shared, out = dict(parameters or {}), user_path(out)
    both = sorted(set(grid) & set(shared))
    if both:
        raise SettingsError(f"parameter {both[0]!r} is given by -r and by --grid; leave one out")
    combined = combinations(grid)
    for combination in combined:
        values = check_parameters({**shared, **combination}, {name: notebook_path(name) for name in ALL_NOTEBOOKS})
        FitSettings(**values["03_train"])
    with friendly_os_errors(f"making the folder {out}"):
        out.mkdir(parents=True, exist_ok=True)
    failures: dict[str, int] = {}
    start = command or bound_command("deeptrade")  # it names this process, which must be the one that runs
    page = RunFolder(out).comparison_page
    for number, combination in enumerate(combined, start=1):
        name = folder_name(combination)
        say(f"run {number} of {len(combined)}: {name}")
        given = [part for item in {**shared, **combination}.items() for part in ("-r", *item)]
        arguments = ["run", str(data), "--out", str(out / name), *given, *(["--fresh"] if fresh else [])]
        code, last = run_logged([*start, *arguments], out / f"{name}.log")
        say(f"run {number} of {len(combined)}: {'done' if code == 0 else f'failed with exit code {code}'}; {last}")
        if code:
            failures[name] = code
        page = _compare(out) or page
    if failures:
        message = f"{len(failures)} of {len(combined)} runs failed: {', '.join(failures)}; see their logs in {out}"
        raise DataError(message) if set(failures.values()) == {DeepTradeError.exit_code} else GridError(message)
    return page


def _compare(out: Path) -> Path | None:
    """The comparison of the runs so far; None if no run has left anything yet."""
    try:
        return write_comparison([out], out=out)
    except DataError:
        return None
