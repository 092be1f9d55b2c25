"""Logs of another agent: transition files of the original's form, read as they are, with their faults named.

A row is [timestamp,] old_state, action, reward, new_state, done: states are JSON arrays, actions are names or their
numbers. The original writes such files in two ways, both with faults that change what can be learned; each that a file
has is told. A row that cannot be read is counted, by reason, and nothing takes its place.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import friendly_os_errors, user_path
from ..times import UnreadableTimeError, is_number, read_time
from ..units import count_of

ACTIONS = ("LONG", "SHORT", "HOLD")
"""In the original's order, which their numbers follow."""

NAMES = ("old_state", "action", "reward", "new_state", "done")
_ACCEPTED = f"accepted: a header with [timestamp,] {', '.join(NAMES)}, or these five or six cells without one"

LEAST_ROWS = 200
"""Fewer transitions teach nothing."""

PERCENT = 0.02
"""Median size of a reward from which on it looks like percent. Prices change by some 0.1% in the original's 20 minutes:
0.1 in percent, 0.001 as a fraction."""

_YES, _NO = ("1", "1.0", "true", "t", "yes", "y"), ("0", "0.0", "false", "f", "no", "n")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a log: a word for programs, a sentence for readers, and how many rows have it."""

    kind: str
    text: str
    rows: int


@dataclass(frozen=True)
class Log:
    """The transitions of a log that can be read, in order of time.

    states, following: float32 (rows, columns). actions: int64 (rows,), indexes into ACTIONS. rewards: float64 (rows,),
    in the unit of the file, which seems to be `unit`: percent, log or unknown. ends: bool (rows,), whether an episode
    ends after it. read: rows of the file. unread: rows that could not be read, by reason.
    """

    name: str
    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    following: np.ndarray
    ends: np.ndarray
    unit: str
    read: int
    unread: dict[str, int]
    faults: tuple[Fault, ...]

    def __len__(self) -> int:
        return len(self.actions)


@dataclass
class _Rows:
    """What is read so far."""

    states: list[np.ndarray] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    following: list[np.ndarray] = field(default_factory=list)
    ends: list[bool] = field(default_factory=list)
    times: list[int | None] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


class _UnreadRow(Exception):
    """A row that cannot be read; the message is the reason."""


def log_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a log's bytes; DataError where it cannot be read."""
    path = user_path(path)
    with friendly_os_errors(f"reading {path.name}"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_log(path: str | Path) -> Log:
    """Return the transitions of a file.

    Raises DataError where the file cannot be read, is not of this form, or has fewer than LEAST_ROWS transitions, or
    more rows that cannot be read than others.
    """
    path = user_path(path)
    rows, read = _Rows(), 0
    places: dict[str, int] = {}
    has_header = False
    for cells in _lines(path):
        if not places:
            places, has_header = _layout(cells, path.name)
            if has_header:
                continue
        read += 1
        try:
            _take(cells, places, rows)
        except _UnreadRow as reason:
            rows.unread[str(reason)] += 1
    _keep_usual_length(rows)
    _refuse_too_few(rows, path.name)
    order, faults = _order(rows, "timestamp" in places)
    unit = _unit(np.array(rows.rewards))
    log = Log(
        path.name,
        np.stack(rows.states)[order],
        np.array(rows.actions)[order],
        np.array(rows.rewards)[order],
        np.stack(rows.following)[order],
        np.array(rows.ends)[order],
        unit.kind,
        read,
        dict(rows.unread.most_common()),
        (),
    )
    found = [*_layout_faults(places, has_header, len(log)), *faults, unit, *_content_faults(log, rows, places)]
    return replace(log, faults=tuple(found))


def _lines(path: Path) -> Iterator[list[str]]:
    """Yield the cells of each row of a file that has any; what the CSV's rules forbid is a row without cells."""
    with (
        friendly_os_errors(f"reading {path.name}"),
        open(path, encoding="utf-8-sig", errors="replace", newline="") as file,
    ):
        reader = csv.reader(file)
        while True:
            try:
                cells = next(reader, None)
            except csv.Error:
                cells = [""]
            if cells is None:
                return
            if cells:
                yield cells


def _layout(first: list[str], name: str) -> tuple[dict[str, int], bool]:
    """Return where each column is, by the first row of a file, and whether that is a header."""
    names = [cell.strip().lower() for cell in first]
    if set(names) & set(NAMES):
        missing = [column for column in NAMES[:4] if column not in names]
        if missing:
            raise DataError(f"{name} has no column {missing[0]!r}; {_ACCEPTED}")
        return {column: names.index(column) for column in ("timestamp", *NAMES) if column in names}, True
    before = len(first) - len(NAMES)
    if before not in (0, 1) or not first[before].lstrip().startswith("["):
        raise DataError(f"{name} begins with {','.join(first)!r:.60}; {_ACCEPTED}")
    columns = ("timestamp", *NAMES)[1 - before :]
    return {column: place for place, column in enumerate(columns)}, False


def _take(cells: list[str], places: dict[str, int], rows: _Rows) -> None:
    """Add a row to those read, or raise _UnreadRow with the reason."""
    if len(cells) <= max(places.values()):
        raise _UnreadRow("too few cells")
    found = {column: cells[place].strip() for column, place in places.items()}
    if found["action"].lower() == "action":
        raise _UnreadRow("another header")
    states = [_state(found[column], column) for column in ("old_state", "new_state")]
    action, reward, ends = _action(found["action"], rows), _reward(found["reward"]), _done(found.get("done", "0"))
    rows.states.append(states[0])
    rows.following.append(states[1])
    rows.actions.append(action)
    rows.rewards.append(reward)
    rows.ends.append(ends)
    rows.times.append(_time(found.get("timestamp", "")))


def _state(text: str, column: str) -> np.ndarray:
    """Return a state, float32 (columns,); a leading axis of length 1 is dropped."""
    try:
        found = np.asarray(json.loads(text))
    except (ValueError, RecursionError):
        raise _UnreadRow(f"{column} is no JSON array of numbers") from None
    found = found[0] if found.ndim == 2 and len(found) == 1 else found
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "iuf":
        raise _UnreadRow(f"{column} is no JSON array of numbers")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise _UnreadRow(f"{column} has a number that is not finite")
    return found


def _action(text: str, rows: _Rows) -> int:
    if text.upper() in ACTIONS:
        return ACTIONS.index(text.upper())
    if is_number(text) and float(text) in range(len(ACTIONS)):
        return int(float(text))
    rows.unknown[text[:20]] += 1
    raise _UnreadRow("the action is not known")


def _reward(text: str) -> float:
    if not is_number(text) or not np.isfinite(float(text)):
        raise _UnreadRow("the reward is no finite number")
    return float(text)


def _done(text: str) -> bool:
    if text.lower() not in _YES + _NO:
        raise _UnreadRow("done is neither 0 nor 1")
    return text.lower() in _YES


def _time(text: str) -> int | None:
    try:
        return read_time(text)
    except UnreadableTimeError:
        return None


def _keep_usual_length(rows: _Rows) -> None:
    """Leave out rows whose states have another length than most."""
    pairs = [(len(state), len(after)) for state, after in zip(rows.states, rows.following, strict=True)]
    lengths = Counter(length for length, other in pairs if length == other)
    usual = max(lengths, key=lambda length: lengths[length], default=0)
    kept = [number for number, pair in enumerate(pairs) if pair == (usual, usual)]
    if len(kept) < len(pairs):
        rows.unread["a state of another length"] += len(pairs) - len(kept)
    for name in ("states", "actions", "rewards", "following", "ends", "times"):
        values: list[Any] = getattr(rows, name)
        setattr(rows, name, [values[number] for number in kept])


def _refuse_too_few(rows: _Rows, name: str) -> None:
    count, unread = len(rows.actions), sum(rows.unread.values())
    mostly = f" ({rows.unread.most_common(1)[0][0]})" if unread else ""
    if unread > count:
        raise DataError(f"{name}: {unread} of {unread + count} rows cannot be read{mostly}; {_ACCEPTED}")
    if count < LEAST_ROWS:
        raise DataError(
            f"{name} has {count_of(count, 'transition')}, at least {LEAST_ROWS} are needed; use a longer log"
        )


def _order(rows: _Rows, has_times: bool) -> tuple[np.ndarray, list[Fault]]:
    """Return the rows in order of time, as far as it is known, and what is wrong with that order."""
    as_read, count = np.arange(len(rows.actions)), len(rows.actions)
    unknown = sum(time is None for time in rows.times)
    if unknown:
        which = "some timestamps cannot be read" if has_times else "there are no timestamps"
        return as_read, [Fault("no_times", f"{which}: the order of the rows is taken as that of time", unknown)]
    times = np.array(rows.times, np.int64)
    back = int((np.diff(times) < 0).sum())
    if not back:
        return as_read, []
    text = f"the rows go back in time {count_of(back, 'time')}: they are taken in order of time"
    return np.argsort(times, kind="stable"), [Fault("out_of_order", text, min(back, count))]


def _unit(rewards: np.ndarray) -> Fault:
    """Return in what unit rewards seem to be, and what the original means by it."""
    sizes = np.abs(rewards[rewards != 0])
    if not len(sizes):
        return Fault("unknown", "all rewards are 0: nothing can be learned from them", len(rewards))
    size = float(np.median(sizes))
    if size >= PERCENT:
        text = (
            f"rewards look like percent (median size {size:.3g}): there the original's backtester writes how the price "
            "changed, whatever the action was"
        )
        return Fault("percent", text, len(rewards))
    text = (
        f"rewards look like logarithms or fractions (median size {size:.3g}): there the original's bot writes what was "
        "earned before the action, less 0.0001 for a trade"
    )
    return Fault("log", text, len(rewards))


def _layout_faults(places: dict[str, int], has_header: bool, count: int) -> Iterator[Fault]:
    if not has_header:
        yield Fault("no_header", f"there is no header: the cells are taken as {', '.join(places)}", count)
    if "done" not in places:
        yield Fault("no_done", "there is no column done: where an episode ends is not known", count)


def _content_faults(log: Log, rows: _Rows, places: dict[str, int]) -> Iterator[Fault]:
    if "done" in places and not log.ends.any():
        yield Fault("never_done", "done is never set: where an episode ends is not known", len(log))
    same = int((log.states == log.following).all(axis=1).sum())
    if same:
        text = f"old_state equals new_state in {same:,} of {len(log):,} rows: what an action leads to is not in them"
        yield Fault("same_state", text, same)
    if rows.unknown:
        count = sum(rows.unknown.values())
        named = ", ".join(repr(value) for value, _ in rows.unknown.most_common(3))
        known = f"known are {', '.join(ACTIONS)} and 0 to {len(ACTIONS) - 1}"
        yield Fault("unknown_action", f"{count_of(count, 'row')} with actions not known ({named}); {known}", count)
    for number, action in enumerate(ACTIONS):
        if number not in log.actions:
            yield Fault(
                "unseen_action", f"no row has the action {action}: what it is worth is not in the log", len(log)
            )
    unread = sum(log.unread.values())
    if unread:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in log.unread.items())
        yield Fault("unread", f"{count_of(unread, 'row')} cannot be read: {reasons}", unread)
