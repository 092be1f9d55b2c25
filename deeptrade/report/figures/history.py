"""What the market did over the whole span of a data file, and which of its rows train, choose and judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import num2date
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from ..findings.common import Json
from ..text import drawable, shorten
from .common import day_of, finish, in_time
from .marks import say
from .palette import LINE, MARKETS, MODEL, QUIETER

_SPLIT_WORDS = {"train": "rows to learn from", "inner": "rows that choose the epoch", "judge": "rows that judge"}
_MOST_LETTERS = 30


@dataclass(frozen=True)
class _Past:
    """One market: days, prices (empty where none are known) and volatilities, float64; each row stands for `weight`."""

    name: str
    days: np.ndarray
    price: np.ndarray
    volatility: np.ndarray
    weight: float

    @classmethod
    def of(cls, found: Json, rows: int) -> _Past:
        """Read the history of a profile; `rows` are those of its market."""
        price, volatility = (
            np.array([np.nan if value is None else value for value in found[name]], float)
            for name in ("price", "volatility")
        )
        days = np.array([day_of(time) for time in found["times"]])
        name = shorten(found["market"] or "", _MOST_LETTERS)
        return cls(name, days, price, volatility, rows / max(1, len(days)))

    @property
    def change(self) -> float:
        """Change of the price over the span, as a share; NaN where no price is known."""
        known = self.price[np.isfinite(self.price)]
        return known[-1] / known[0] - 1 if len(known) else np.nan


def history(profile: Json, *, val_ratio: float, inner_ratio: float) -> Figure:
    """Return price and volatility over the whole span, with the rows that train, choose and judge in a lane below.

    Prices of several markets are shares of their first, so that they can be compared.
    """
    pasts = _pasts(profile)
    series = [name for name in ("price", "volatility") if any(np.isfinite(getattr(one, name)).any() for one in pasts)]
    figure = Figure(figsize=(8, 1.2 + 1.5 * len(series)), layout="constrained")
    *axes, lane = figure.subplots(
        len(series) + 1, sharex=True, height_ratios=[5] * len(series) + [1], squeeze=False
    ).flat
    for one, name in zip(axes, series, strict=True):
        finish(one)
        draw = {"price": _draw_prices, "volatility": _draw_volatilities}[name]
        draw(one, pasts)
    finish(lane)
    figure.axes[0].set_title(_title(pasts, len(profile.get("markets", []))), loc="left")
    _draw_split(lane, pasts, val_ratio=val_ratio, inner_ratio=inner_ratio)
    in_time(lane)
    lane.set_xlabel("time (UTC)")
    _add_keys(figure, pasts)
    return figure


def _pasts(profile: Json) -> list[_Past]:
    rows = {market["name"]: market["rows"] for market in profile.get("markets", [])}
    found = [profile["history"], *profile.get("other_histories", [])]
    return [_Past.of(one, rows.get(one["market"], 1)) for one in found]


def _draw_prices(axes: Axes, pasts: Sequence[_Past]) -> None:
    axes.set_ylabel("price" if len(pasts) == 1 else "price, as a multiple of the first")
    for one, colour in zip(pasts, MARKETS, strict=False):
        known = one.price[np.isfinite(one.price)]
        if len(known):
            values = one.price if len(pasts) == 1 else one.price / known[0]
            axes.plot(one.days, values, color=colour, linewidth=1.5, label=drawable(one.name))


def _draw_volatilities(axes: Axes, pasts: Sequence[_Past]) -> None:
    for one, colour in zip(pasts, MARKETS, strict=False):
        axes.plot(one.days, one.volatility, color=colour, linewidth=1.5, label=drawable(one.name))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("standard deviation of y_1")


def _title(pasts: Sequence[_Past], markets: int) -> str:
    parts = [part for part in (_price_finding(pasts, markets), _volatility_finding(pasts)) if part]
    text = "; ".join(parts) or "neither prices nor targets are known"
    return text[0].upper() + text[1:]


def _price_finding(pasts: Sequence[_Past], markets: int) -> str:
    priced = [one for one in pasts if np.isfinite(one.change)]
    if not priced:
        return ""
    if len(pasts) > 1:
        most = max(priced, key=lambda one: abs(one.change))
        among = f"of {len(pasts)} markets" if len(pasts) == markets else f"of the {len(pasts)} markets shown"
        return f"{among}, the price of {drawable(most.name)} moves most ({most.change:+.0%})"
    one = priced[0]
    known = one.price[np.isfinite(one.price)]
    whose = f"the price of {drawable(one.name)}" if one.name else "the price"
    return f"{whose} moves from {known[0]:,.5g} to {known[-1]:,.5g} ({one.change:+.0%})"


def _volatility_finding(pasts: Sequence[_Past]) -> str:
    known = [one for one in pasts if np.isfinite(one.volatility).any()]
    if not known:
        return ""
    wildest = max(known, key=lambda one: float(np.nanmax(one.volatility)))
    at = int(np.nanargmax(wildest.volatility))
    whose = f" in {drawable(wildest.name)}" if len(pasts) > 1 else ""
    when = num2date(wildest.days[at]).strftime("%Y-%m-%d")
    return f"the volatility is highest{whose} around {when}, {wildest.volatility[at]:.2%} a step"


def _draw_split(lane: Axes, pasts: Sequence[_Past], *, val_ratio: float, inner_ratio: float) -> None:
    """Fill a lane with the rows that train, choose and judge: the same instants for all markets."""
    lane.grid(visible=False)
    lane.set(yticks=[], ylim=(0, 1))
    judged = 1 - val_ratio
    shares = [0.0, judged * (1 - inner_ratio), judged, 1.0]
    edges = [_day_at(pasts, share) for share in shares]
    colours = (LINE, QUIETER, MODEL)
    for words, colour, begin, end in zip(_SPLIT_WORDS.values(), colours, edges, edges[1:], strict=False):
        if end > begin:
            patch = lane.axvspan(begin, end, color=colour, linewidth=0)
            dates = " to ".join(num2date(day).strftime("%Y-%m-%d") for day in (begin, end))
            say(patch, [f"{words}: {dates}"])


def _day_at(pasts: Sequence[_Past], share: float) -> float:
    """Return the day up to which there is this share of all rows."""
    days = np.concatenate([one.days for one in pasts])
    order = np.argsort(days, kind="stable")
    passed = np.cumsum(np.concatenate([np.full(len(one.days), one.weight) for one in pasts])[order])
    passed = (passed - passed[0]) / max(passed[-1] - passed[0], np.finfo(float).tiny)
    return float(days[order][np.abs(passed - share).argmin()])


def _add_keys(figure: Figure, pasts: Sequence[_Past]) -> None:
    keys: list[Line2D | Patch] = []
    if len(pasts) > 1:
        keys += [
            Line2D([], [], color=colour, label=drawable(one.name)) for one, colour in zip(pasts, MARKETS, strict=False)
        ]
    colours = (LINE, QUIETER, MODEL)
    keys += [Patch(color=colour, label=words) for words, colour in zip(_SPLIT_WORDS.values(), colours, strict=True)]
    figure.legend(handles=keys, loc="outside lower left")
