"""Figures of the second stage: what policies earned, and where the agent was long and short."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from ...trading.account import Account
from ...trading.verdict import POLICY_WORDS, basis_points, share
from .common import in_time, legend_below, new_axes
from .palette import AGENT, MODEL, MODEL_LAST, MODEL_LATER, PRICE, QUIET, SHORT, SOFT

_STYLES = {
    "long": (PRICE, 1.4, "-"),
    "sign_first": (MODEL, 1.4, "-"),
    "sign_last": (MODEL_LATER, 1.4, "-"),
    "one_step": (QUIET, 1.4, "--"),
    "threshold": (MODEL_LAST, 2.0, "--"),
    "candidate": (AGENT, 1.4, ":"),
    "agent": (AGENT, 2.6, "-"),
}
"""Colour, width and line, from the lowest to the one on top: rules on forecasts have the model's colours."""

_MOST_POINTS = 4000


def policy_curves(account: Account) -> Figure:
    """Return the equity curves of all policies that could have been followed, at the told fee."""
    agent, best = account.of("agent"), account.best_against
    figure, axes = new_axes(
        f"After costs of {basis_points(account.cost)} the agent earned {share(agent.income)} of the stake;\n"
        f"the best simple rule, {POLICY_WORDS[best.policy]}, {share(account.of(best.policy).income)}"
    )
    days = date2num([datetime.fromisoformat(time) for time in account.times])
    curves = {curve.policy: curve.income for curve in account.curves}
    for name, (colour, width, line) in _STYLES.items():
        income = [100 * value for value in curves[name]]
        axes.plot(days, income, line, color=colour, linewidth=width, label=POLICY_WORDS[name])
    axes.axhline(0, color=SOFT, linewidth=1)
    axes.set_ylabel("income [% of the stake]")
    in_time(axes)
    axes.set_xlabel("time (UTC)")
    legend_below(figure)
    return figure


def incomes_over_fees(account: Account) -> Figure:
    """Return the income of the agent and its rivals by fee."""
    figure, axes = new_axes(_fee_title(account))
    fees = [fee * 1e4 for fee in account.fees]
    for name, (colour, width, line) in _STYLES.items():
        values = [100 * account.of(name, fee).income for fee in account.fees]
        axes.plot(fees, values, f"o{line}", color=colour, linewidth=width, markersize=4, label=POLICY_WORDS[name])
    axes.axhline(0, color=SOFT, linewidth=1)
    axes.set_xlabel("fee [bp of what is traded]")
    axes.set_ylabel("income [% of the stake]")
    legend_below(figure)
    return figure


def _fee_title(account: Account) -> str:
    earning = [fee for fee in account.fees if account.of("agent", fee).income > 0]
    if not earning:
        return "At no fee did the agent earn anything"
    return f"The agent earned something at fees up to {basis_points(max(earning))}"


def positions_over_price(positions: pd.DataFrame, account: Account) -> Figure:
    """Return the price of the first market over the judged rows, with the times at which the agent was long and short.

    positions: what positions.csv holds.
    """
    rows = positions[positions["split"] == "validation"]
    market = rows["market"].iloc[0]
    rows = rows[rows["market"] == market]
    held = rows["position"].to_numpy()
    shares = [f"{name} {(held == position).mean():.0%}" for name, position in (("long", 1), ("short", -1), ("flat", 0))]
    name = f" of {market}" if market else ""
    figure, axes = new_axes(f"{', '.join(shares).capitalize()} of the time, over the price{name}")
    days = date2num(pd.to_datetime(rows["timestamp"], utc=True).dt.tz_localize(None).to_numpy())
    days = np.append(days, days[-1] + np.median(np.diff(days)) if len(days) > 1 else days[-1])
    price = 100 * np.exp(np.concatenate([[0.0], np.cumsum(np.log1p(rows["y_1"].to_numpy()))]))
    every = max(1, len(rows) // _MOST_POINTS)
    axes.plot(days[::every], price[::every], color=QUIET, linewidth=1, label="price")
    for position, colour, label in ((1, AGENT, "long"), (-1, SHORT, "short")):
        place = _stretches(held == position, every)
        shown = place >= 0
        axes.plot(
            np.where(shown, days[place], np.nan),
            np.where(shown, price[place], np.nan),
            color=colour,
            linewidth=2,
            label=label,
        )
    axes.set_ylabel("price [first row is 100]")
    in_time(axes)
    axes.set_xlabel("time (UTC)")
    legend_below(figure)
    return figure


def _stretches(held: np.ndarray, every: int) -> np.ndarray:
    """Return the places of each stretch of turns that are held, to the end of its last step; -1 between stretches.

    held: bool (turns,). every: of a long stretch, only each so many turns.
    """
    edges = np.diff(np.concatenate([[0], held.astype(np.int8), [0]]))
    pairs = zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True)
    parts = [np.array([*range(begin, end, every), end, -1]) for begin, end in pairs]
    return np.concatenate(parts) if parts else np.array([-1])


def random_policies(account: Account) -> Figure:
    """Return the incomes of random policies with the agent's turnover, and the agent's own as a line."""
    agent = account.of("agent")
    figure, axes = new_axes(
        f"The agent earned more than {agent.percentile or 0:.0%} of {len(account.random)} policies "
        "with its positions at other times",
        height=2.4,
    )
    axes.hist([100 * value for value in account.random], bins=20, color=QUIET, label="random policies")
    axes.axvline(100 * agent.income, color=AGENT, linewidth=2, linestyle="--", label="the agent")
    axes.set_xlabel("income [% of the stake]")
    axes.set_ylabel("policies")
    legend_below(figure)
    return figure
