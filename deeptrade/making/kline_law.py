"""The law of a bar: low <= open, close <= high, positive prices, volumes of at least 0; and columns that break it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from ..errors import DataError
from .kline_columns import CHANNELS, Roles

_OPEN, _HIGH, _LOW, _CLOSE = range(4)
_MOST_BAD = 0.5
_SUSPECT = 0.05
"""From this share of bad bars on, another order of the columns is looked for; real files stay far below 1%."""
_LAWFUL = 0.99
_SAMPLE_BARS = 5000
_FEWEST_PAIRS, _FEWEST_BAD = 20, 3

KNOWN_ORDERS: dict[tuple[str, ...], str] = {
    ("open", "close", "high", "low", "volume"): "Bitfinex and KuCoin",
    ("low", "high", "open", "close", "volume"): "Coinbase",
    ("volume", "close", "high", "low", "open"): "Gate",
    ("open", "close", "low", "high", "volume"): "HTX",
    ("high", "low", "open", "close", "volume"): "Bitstamp",
}
"""Orders of the five columns after the time, with who writes them."""


@dataclass(frozen=True)
class Fault:
    """Why a bar is none: the column and what is wrong with it."""

    column: str
    detail: str


def lawful(values: np.ndarray) -> np.ndarray:
    """Return bool (bars,): whether a bar obeys the law. `values` is float64 (bars, channels), see CHANNELS."""
    opened, high, low, closed = (values[:, channel] for channel in range(4))
    with np.errstate(invalid="ignore"):
        good = (low <= np.minimum(opened, closed)) & (np.maximum(opened, closed) <= high)
        good &= (low > 0) & np.isfinite(high)
        for channel in range(4, values.shape[1]):
            good &= (values[:, channel] >= 0) & np.isfinite(values[:, channel])
    return good


def fault(bar: np.ndarray) -> Fault:
    """Return what is wrong with a bar that breaks the law, float64 (channels,)."""
    named = dict(zip(CHANNELS, bar.tolist(), strict=False))
    for name, value in named.items():
        if not np.isfinite(value):
            return Fault(name, f"{name} is missing or not finite")
        if value < 0 or (value == 0 and name in CHANNELS[:4]):
            return Fault(name, f"{name} {value!r} is not {'positive' if name in CHANNELS[:4] else 'at least 0'}")
    for name in ("open", "close", "low"):
        if named[name] > named["high"]:
            return Fault("high", f"high {named['high']!r} is below {name} {named[name]!r}")
    name = "open" if named["open"] < named["low"] else "close"
    return Fault("low", f"low {named['low']!r} is above {name} {named[name]!r}")


def check_order(
    times: np.ndarray, values: np.ndarray, *, rows: np.ndarray, roles: Roles, file: str, naming: str
) -> None:
    """Raise DataError where most bars of a file break the law, with the order its columns probably have.

    `rows` are the numbers of the bars in their file, int64 (bars,).

    Bars with four equal prices obey it in any order, so the others decide. Open and close can change places within the
    law: there a bar's open, which follows the last close, tells them apart. `naming` is how columns without names get
    some, '' where they have names.
    """
    moving = values[:, :4].max(axis=1) > values[:, :4].min(axis=1)
    bad = ~lawful(values)
    share = bad.sum() / max(1, (moving | bad).sum())
    swapped = share <= _SUSPECT and _ends_swapped(times[:_SAMPLE_BARS], values[:_SAMPLE_BARS])
    if not swapped and (share <= _SUSPECT or _FEWEST_BAD > bad.sum() < len(bad)):
        return
    order = None if share <= _SUSPECT else _lawful_order(times, values, np.flatnonzero(moving)[:_SAMPLE_BARS])
    if share <= _MOST_BAD and order is None and not swapped:
        return
    found = "each open is near the close after it, not near the one before" if swapped else _count(values, bad, rows)
    raise DataError(f"{file}: {found}; {_advice(roles, order, swapped=swapped, naming=naming)}")


def _count(values: np.ndarray, bad: np.ndarray, rows: np.ndarray) -> str:
    first = int(np.flatnonzero(bad)[0])
    return (
        f"{int(bad.sum())} of {len(bad)} rows are no bars, such as row {rows[first]}, where "
        f"{fault(values[first]).detail}"
    )


def _advice(roles: Roles, order: Sequence[str] | None, *, swapped: bool, naming: str) -> str:
    place = sorted(CHANNELS[:5], key=lambda name: roles.channels[name])
    if swapped:
        swap = {"open": "close", "close": "open"}
        order = tuple(swap.get(name, name) for name in CHANNELS[:5])
    if order is None:
        return "no order of its columns makes bars of them: check the file, or correct the names in its header"
    true = dict(zip(CHANNELS[:5], order, strict=True))  # by what a column is called: what it holds
    probable = tuple(true[name] for name in place)
    names = ",".join(probable)
    if not naming:
        return f"columns {','.join(place)} probably hold {names}: correct the names in its header"
    maker = KNOWN_ORDERS.get(probable)
    header = ["timestamp" if index == roles.time else name for index, name in enumerate(roles.names)]
    for name, truth in zip(place, probable, strict=True):
        header[roles.channels[name]] = truth
    known = f", as {maker} write{'' if ' and ' in maker else 's'} them" if maker else ""
    return f"its columns are probably time,{names}{known}: {naming}, {','.join(header)}"


def _lawful_order(times: np.ndarray, values: np.ndarray, moving: np.ndarray) -> tuple[str, ...] | None:
    """The order of the five columns under which bars obey the law, best by how opens follow closes; None where none is.

    Element i is what the column taken for CHANNELS[i] holds.
    """
    sample = values[moving[np.argsort(times[moving], kind="stable")], :5]
    if not len(sample):
        return None
    found = []
    for order in permutations(range(5)):  # order[i]: the column that holds CHANNELS[i]
        bars = sample[:, order]
        good = lawful(bars)
        if good.mean() >= _LAWFUL:
            found.append((_follows(bars[good]), _is_unknown(order), order))
    if not found:
        return None
    order = min(found)[2]
    return tuple(CHANNELS[order.index(column)] for column in range(5))


def _is_unknown(order: tuple[int, ...]) -> bool:
    return tuple(CHANNELS[order.index(column)] for column in range(5)) not in KNOWN_ORDERS


def _follows(bars: np.ndarray) -> float:
    """Median distance of an open from the close before it, in units of the price, over lawful bars."""
    return float(np.median(np.abs(bars[1:, _OPEN] / bars[:-1, _CLOSE] - 1))) if len(bars) > 1 else 0.0


def _ends_swapped(times: np.ndarray, values: np.ndarray) -> bool:
    """Whether open and close have changed places: closes follow opens far more closely than opens follow closes."""
    order = np.argsort(times, kind="stable")
    bars = values[order]
    moving = (bars[1:, _OPEN] != bars[1:, _CLOSE]) & lawful(bars[1:]) & lawful(bars[:-1])
    if moving.sum() < _FEWEST_PAIRS:
        return False
    before, after = bars[:-1][moving], bars[1:][moving]
    right = np.median(np.abs(after[:, _OPEN] - before[:, _CLOSE]))
    wrong = np.median(np.abs(after[:, _CLOSE] - before[:, _OPEN]))
    return bool(wrong < right / 4)
