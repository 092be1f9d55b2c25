"""Many runs in one command: every combination of some parameters, each run a process of its own."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

from ..errors import DataError, DeepTradeError, SettingsError
from ..files import friendly_os_errors, refuse_secrets, user_path
from ..planning.jobs import Job, Start, in_child, path_argument, run_all
from ..report.compare_page import write_comparison
from ..run_folder import RunFolder
from ..settings import FitSettings
from .execute import notebook_path
from .parameters import PATHS, check_parameters
from .run import ALL_NOTEBOOKS, Found


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
    start: Start = in_child,
    at_once: int = 1,
    executor: Executor | None = None,
) -> Path:
    """Run the notebooks for every combination and return the path of out/compare.html.

    Each combination has a folder below `out` named after it, which continues or is done like any run's; what it printed
    is in out/NAME.log. start runs one, in a thread of its own where several are to be under way at once; executor,
    given with these, first reads the data into the store that all of them share. The comparison is written again after
    every run. A run that fails does not stop the rest.

    Raises SettingsError for a value that no notebook accepts, before anything runs; GridError at the end if runs
    failed, DataError where all of them failed for a reason the user can fix; what `start` raises at once.
    """
    say = sink or (lambda line: None)
    refuse_secrets(data)
    shared, out = dict(parameters or {}), user_path(out)
    both = sorted(set(grid) & set(shared))
    if both:
        raise SettingsError(f"parameter {both[0]!r} is given by -r and by --grid; leave one out")
    combined = [{**shared, **combination} for combination in combinations(grid)]
    found = [Found.of(data, settings) for settings in [_checked(combination) for combination in combined]]
    with friendly_os_errors(f"making the folder {out}"):
        out.mkdir(parents=True, exist_ok=True)
    if executor is not None:
        for one in found:
            one.compiled(say, executor=executor)
    names = {folder_name({name: one[name] for name in grid}): one for one in combined}
    numbers = {name: f"run {number} of {len(names)}" for number, name in enumerate(names, start=1)}
    failures: dict[str, int] = {}
    page = RunFolder(out).comparison_page

    def begin(name: str) -> None:
        say(f"{numbers[name]}: {name}")

    def run_one(name: str) -> tuple[int, str]:
        job = _job(data, out / name, names[name])
        if fresh and not job.is_running_still():  # here, not there: a job that goes on after a loss does not start over
            RunFolder(job.out).remove()
        return start(job)

    for name, (code, last) in run_all(list(names), run_one, begin=begin, at_once=at_once):
        say(f"{numbers[name]}: {'done' if code == 0 else f'failed with exit code {code}'}; {last}")
        if code:
            failures[name] = code
        page = _compare(out) or page
    if failures:
        failed = [name for name in names if name in failures]
        message = f"{len(failed)} of {len(names)} runs failed: {', '.join(failed)}; see their logs in {out}"
        raise DataError(message) if set(failures.values()) == {DeepTradeError.exit_code} else GridError(message)
    return page


def _checked(parameters: Mapping[str, str]) -> FitSettings:
    """Return the settings of the training of a run; SettingsError for a parameter that no notebook accepts."""
    values = check_parameters(parameters, {name: notebook_path(name) for name in ALL_NOTEBOOKS})
    return FitSettings(**values["03_train"])


def _job(data: str | Path, out: Path, parameters: Mapping[str, str]) -> Job:
    """Return the run of one combination, which writes `out`."""
    given = [
        part
        for name, value in parameters.items()
        for part in ("-r", name, path_argument(value) if name in PATHS and value else value)
    ]
    return Job(
        ("run", path_argument(str(data)), "--out", out, *given),
        data=(str(data), *filter(None, [parameters.get("rl_csv")])),
        out=out,
        log=out.with_name(f"{out.name}.log"),
    )


def _compare(out: Path) -> Path | None:
    """The comparison of the runs so far; None if no run has left anything yet."""
    try:
        return write_comparison([out], out=out)
    except DataError:
        return None
