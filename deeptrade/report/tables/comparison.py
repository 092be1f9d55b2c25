"""Tables of several runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ...judging.costs import TOLD_FEE
from ...units import format_bytes
from .costs import basis_points, earned, interval

if TYPE_CHECKING:
    from ...judging.contest import BesideBest
    from ..comparison import Comparison
    from ..findings.comparison import Spread


def comparison(compared: Comparison) -> pd.DataFrame:
    """Return one row per run: status, error relative to the zero forecast, peak memory, rate and time."""
    return pd.DataFrame(
        [
            {
                "run": run.name,
                "status": run.status,
                "error / zero": "-" if run.error is None else f"{run.error:.4f}",
                "horizons beaten": "-" if run.horizons is None else f"{run.horizons_beaten} of {run.horizons}",
                "steps": "-" if run.steps is None else f"{run.steps:,}",
                "peak memory": format_bytes(run.peak_anon_bytes) if run.peak_anon_bytes else "-",
                "rows/s": f"{run.rows_per_second:.1f}" if run.rows_per_second else "-",
                "seconds": f"{run.wall_seconds:.0f}" if run.wall_seconds else "-",
                "weights": run.weights_sha256[:8] or "-",
            }
            for run in compared.runs
        ]
    )


def backtests(compared: Comparison) -> pd.DataFrame:
    """Return a row per candidate: what trading on the sign of its forecast would have earned; empty where unknown."""
    found = compared.backtests.found if compared.backtests is not None else []
    return pd.DataFrame(
        [
            {
                "candidate": one.name,
                "income, % of the stake": f"{100 * one.income:+.1f}",
                "Sharpe ratio a year": interval(one.sharpe, one.low, one.high),
                "breaks even at": "-" if one.break_even_fee is None else f"{10_000 * one.break_even_fee:.1f} bp",
            }
            for one in found
        ]
    )


def backtests_line(compared: Comparison) -> str:
    """Return what is left of the best backtest once the choice among all is allowed for."""
    traded = compared.backtests
    if traded is None:
        return "No two candidates can be traded on the same rows."
    best, deflated, overfitting = traded.found[0], traded.deflated, traded.overfitting
    line = (
        f"At {basis_points(TOLD_FEE)} bp a change of position, trading on the sign of the forecast of {best.name} "
        f"would have {earned(best.income)}: the best of {len(traded.found)}."
    )
    if deflated.probability is not None:
        likely = f"{deflated.probability:.0%}"
        line += f" With that choice allowed for, its Sharpe ratio is above zero with probability {likely}."
    if overfitting.probability is not None:
        line += (
            f" What is best in one half of the time is no better than the median in the other in "
            f"{overfitting.probability:.0%} of {overfitting.splits} splits (probability of backtest overfitting)."
        )
    return line


def differing_settings(compared: Comparison) -> pd.DataFrame:
    """Return one row per run with the settings that differ between runs."""
    return pd.DataFrame(
        [
            {"run": run.name} | {name: str(run.settings.get(name, "-")) for name in compared.differing}
            for run in compared.runs
        ]
    )


def compared_settings(compared: Comparison) -> pd.DataFrame:
    """Return one row per setting: its seeds, and the mean and spread over them of error and rank IC."""
    return pd.DataFrame(
        [
            {
                "setting": one.name,
                "seeds": ", ".join(str(seed) for seed in one.seeds),
                "error / zero": f"{one.error.mean:.4f}",
                "sd of error": _deviation(one.error),
                "rank IC": "-" if one.rank_ic is None else f"{one.rank_ic.mean:+.3f}",
                "sd of rank IC": "-" if one.rank_ic is None else _deviation(one.rank_ic),
            }
            for one in compared.settings
        ]
    )


def _deviation(spread: Spread) -> str:
    return "-" if spread.deviation is None else f"{spread.deviation:.4f}"


def beside_best(compared: Comparison) -> pd.DataFrame:
    """Return one row per candidate: its error, and how much higher than that of the best, with a 95% interval.

    Empty where the candidates have not been judged on the same, and on enough, rows.
    """
    if compared.contest is None:
        return pd.DataFrame()
    alike = set(compared.contest.alike)
    return pd.DataFrame(
        [
            {
                "candidate": one.name,
                "error / zero": f"{one.error:.4f}",
                "above the best, % of zero's": f"{100 * one.difference:.3f}",
                "95% interval": _interval(one) if number else "-",
                "told from the best": "-" if number == 0 else "no" if one.name in alike else "yes, worse",
            }
            for number, one in enumerate(compared.contest.pairs)
        ]
    )


def _interval(one: BesideBest) -> str:
    return "-" if one.low is None or one.high is None else f"{100 * one.low:.3f} to {100 * one.high:.3f}"
