"""What trading on the forecasts would have earned after costs."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ...judging.costs import FEES, TOLD_FEE, AfterCosts, Kind, TradingScore
from .common import rounded, unbroken

RULES: dict[Kind, str] = {
    "sign": "sign of the forecast",
    "threshold": "sign of large forecasts",
    "size": "by size of the forecast",
    "long": "always long",
    "flat": "always flat",
}
"""Rules as a reader knows them."""

_BASIS_POINTS = 10_000


def costs(traded: AfterCosts) -> pd.DataFrame:
    """Return a row per rule: by fee its income, in % of the stake."""
    return _by_fee(traded, lambda one: rounded(100 * one.income, "+.1f"))


def sharpes(traded: AfterCosts) -> pd.DataFrame:
    """Return a row per rule: by fee its Sharpe ratio a year, with a 95% interval."""
    return _by_fee(traded, lambda one: interval(one.sharpe, one.low, one.high))


def _by_fee(traded: AfterCosts, told: Callable[[TradingScore], str]) -> pd.DataFrame:
    def cell(rule: Kind, fee: float) -> str:
        one = traded.of(rule, fee)
        return "-" if one is None else told(one) if one.turnover else "no trades"

    return pd.DataFrame(
        [
            {"position by": RULES[rule]} | {f"{basis_points(fee)} bp": cell(rule, fee) for fee in FEES}
            for rule in _active(traded)
        ]
    )


def costs_in_detail(traded: AfterCosts) -> pd.DataFrame:
    """Return a row per rule at TOLD_FEE: what it changes and holds, its largest loss, and which fee it could bear."""
    found = [one for rule in _active(traded) if (one := traded.of(rule)) is not None]
    return pd.DataFrame(
        [
            {
                "position by": RULES[one.rule],
                "turnover per day": f"{one.turnover_per_day:.2g}",
                "mean position": f"{one.exposure:.0%}",
                "drawdown, % of the stake": f"{100 * one.drawdown:.1f}",
                "breaks even at": _bearable(one),
            }
            for one in found
        ]
    )


def _active(traded: AfterCosts) -> list[Kind]:
    return [rule for rule in traded.rules if rule != "flat"]


def _bearable(one: TradingScore) -> str:
    if one.break_even_fee is None or one.rule == "long":  # held throughout, it hardly pays fees
        return "-"
    return f"{_fee_text(one.break_even_fee)} bp" if one.break_even_fee > 0 else "at no fee"


def costs_line(traded: AfterCosts) -> str:
    """Return one sentence: what trading on the sign of the forecast would have earned, beside being always long."""
    sign, long = traded.of("sign"), traded.of("long")
    if sign is None or long is None:
        return "What trading would have earned is not known: no row can be traded."
    if sign.break_even_fee is None:
        return f"The forecast never has a sign, so nothing would have been traded; always long {earned(long.income)}."
    if sign.sharpe is None or sign.low is None:
        return "What trading would have earned cannot be told: too few independent steps."
    days = f"in {traded.days:,.0f} days" if traded.days >= 1.5 else "within a day"
    bearable = (
        f"it breaks even at {_fee_text(sign.break_even_fee)} bp"
        if sign.break_even_fee > 0
        else "without a fee it earns nothing either"
    )
    return (
        f"At {basis_points(TOLD_FEE)} bp a change of position, trading on the sign of the forecast would have "
        f"{earned(sign.income)} {days} ({_ratio(sign)}); {bearable}; always long {earned(long.income)}."
    )


def basis_points(fee: float) -> str:
    """Return a fee in basis points, such as '10'."""
    return f"{round(fee * _BASIS_POINTS, 6):g}"


def earned(income: float) -> str:
    """Return what a rule earned or lost, such as 'lost 31% of the stake', or 'lost 7.3 times the stake'."""
    size = abs(income)
    share = f"{size:.0%}" if size >= 0.0995 else f"{size:.1%}"
    text = f"{share} of the stake" if size < 0.9995 else f"{size:,.1f} times the stake"
    return f"{'lost' if income <= -0.0005 else 'earned'} {text}"


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """Return a value with its interval, with one decimal; '-' where it is not known."""
    if value is None:
        return "-"
    bounds = "" if low is None or high is None else f" ({rounded(low, '.1f')} to {rounded(high, '.1f')})"
    return unbroken(f"{rounded(value, '.1f')}{bounds}")


def _ratio(one: TradingScore) -> str:
    return f"Sharpe {one.sharpe:.1f}, {one.low:.1f} to {one.high:.1f}"


def _fee_text(fee: float) -> str:
    return f"{fee * _BASIS_POINTS:.1f}"
