"""What trading on the forecasts would have earned after costs."""

from __future__ import annotations

import pandas as pd

from ...judging.costs import FEES, TOLD_FEE, AfterCosts, Kind, TradingScore

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
    """Return a row per rule: by fee its income, in % of the stake, and its Sharpe ratio with a 95% interval."""
    return pd.DataFrame(
        [
            {"position by": RULES[rule]} | {f"{basis_points(fee)} bp": _told(traded.of(rule, fee)) for fee in FEES}
            for rule in traded.rules
        ]
    )


def costs_in_detail(traded: AfterCosts) -> pd.DataFrame:
    """Return a row per rule at TOLD_FEE: what it changes and holds, its largest loss, and which fee it could bear."""
    found = [one for rule in traded.rules if (one := traded.of(rule)) is not None]
    return pd.DataFrame(
        [
            {
                "position by": RULES[one.rule],
                "turnover per day": f"{one.turnover_per_day:.2f}",
                "mean position": f"{one.exposure:.0%}",
                "drawdown, % of the stake": f"{100 * one.drawdown:.1f}",
                "breaks even at": "-" if one.break_even_fee is None else f"{_fee_text(one.break_even_fee)} bp",
            }
            for one in found
        ]
    )


def costs_line(traded: AfterCosts) -> str:
    """Return one sentence: what trading on the sign of the forecast would have earned, beside being always long."""
    sign, long = traded.of("sign"), traded.of("long")
    if sign is None or long is None:
        return "What trading would have earned is not known: no row can be traded."
    if sign.break_even_fee is None:
        return f"The forecast never has a sign, so nothing would have been traded; always long {earned(long.income)}."
    days = f"in {traded.days:,.0f} days" if traded.days >= 1.5 else "within a day"
    ratio = f" ({_ratio(sign)})" if sign.sharpe is not None else ""
    bearable = (
        f"it breaks even at {_fee_text(sign.break_even_fee)} bp"
        if sign.break_even_fee > 0
        else "without a fee it earns nothing either"
    )
    return (
        f"At {basis_points(TOLD_FEE)} bp a change of position, trading on the sign of the forecast would have "
        f"{earned(sign.income)} {days}{ratio}; {bearable}; always long {earned(long.income)}."
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


def _told(one: TradingScore | None) -> str:
    if one is None:
        return "-"
    ratio = "" if one.sharpe is None else f"; {_ratio(one)}"
    return f"{100 * one.income:+.1f}%{ratio}".replace(" ", "\N{NO-BREAK SPACE}")


def _ratio(one: TradingScore) -> str:
    bounds = "" if one.low is None else f", {one.low:.1f} to {one.high:.1f}"
    return f"Sharpe {one.sharpe:.1f}{bounds}"


def _fee_text(fee: float) -> str:
    return f"{fee * _BASIS_POINTS:.1f}"
