"""What the agent and its rivals would have earned, as a reader sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...files import user_path
from ...run_folder import RunFolder
from ...trading.account import NAMES, Account, PolicyScore
from ...trading.settings import AgentSettings
from ...trading.stage import agent_folder
from ...trading.verdict import POLICY_WORDS, basis_points, share
from ...units import count_of
from .common import unbroken
from .costs import interval

NOT_TRADED = unbroken("no trades")


def read_positions(run: str | Path, settings: AgentSettings) -> pd.DataFrame:
    """Return positions.csv of the agent of a run, empty where there is none."""
    path = agent_folder(RunFolder(user_path(run)).training, settings).positions
    return pd.read_csv(path, keep_default_na=False) if path.exists() else pd.DataFrame()


def agent_line(content: Mapping[str, Any]) -> str:
    """Return the first sentence of agent.json."""
    return str(content["verdict"]["sentence"])


def agent_basis(content: Mapping[str, Any]) -> str:
    """Return what the account rests on: rows, dates, candidates."""
    account, chosen = Account.from_json(content["account"]), chosen_of(content)
    rows = content["rows"]
    return (
        f"Judged on {rows['validation']['turns']:,} rows, {account.begin[:10]} to {account.end[:10]}, which chose "
        f"nothing. Learned from {rows['train']['turns']:,} rows, each forecast by a training that had not seen it; "
        f"chosen on {rows['inner']['turns']:,} inner rows among {count_of(chosen['trials'], 'candidate')}."
    )


def chosen_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the agent at the told fee was chosen."""
    cost = content["account"]["cost"]
    return next(one for one in content["chosen"] if one["cost"] == cost)


def _name(policy: str) -> str:
    return POLICY_WORDS[policy].removeprefix("the ")


def policies(account: Account) -> pd.DataFrame:
    """Return a row per policy at the told fee."""
    return pd.DataFrame([_row(account.of(name)) for name in NAMES])


def _row(one: PolicyScore) -> dict[str, str]:
    traded = one.turnover > 0
    bearable = one.break_even_fee if traded and one.policy != "long" else None  # held throughout, it hardly pays fees
    return {
        "policy": _name(one.policy),
        "income": share(one.income) if traded else NOT_TRADED,
        "Sharpe (95% interval)": "-" if one.low is None else interval(one.sharpe, one.low, one.high),
        "drawdown": f"{100 * one.drawdown:.1f}%" if traded else "-",
        "turnover a day": f"{one.turnover_per_day:.2g}" if traded else "-",
        "long, flat, short": unbroken(" / ".join(f"{100 * part:.0f}%" for part in (one.long, one.flat, one.short))),
        "hits": "-" if one.hit_rate is None else f"{one.hit_rate:.0%}",
        "breaks even at": "-" if bearable is None else basis_points(bearable) if bearable > 0 else "no fee",
    }


def incomes_by_fee(account: Account) -> pd.DataFrame:
    """Return a row per policy: by fee its income, in % of the stake."""
    return _by_fee(account, lambda one: share(one.income))


def sharpes_by_fee(account: Account) -> pd.DataFrame:
    """Return a row per policy: by fee its Sharpe ratio a year, with a 95% interval."""
    return _by_fee(account, lambda one: "-" if one.low is None else interval(one.sharpe, one.low, one.high))


def _by_fee(account: Account, told: Callable[[PolicyScore], str]) -> pd.DataFrame:
    def cell(name: str, fee: float) -> str:
        one = account.of(name, fee)
        return told(one) if one.turnover else NOT_TRADED

    return pd.DataFrame(
        [
            {"policy": _name(name)} | {basis_points(fee): cell(name, fee) for fee in account.fees}
            for name in NAMES
            if name != "flat"
        ]
    )


def chosen_agents(content: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row per fee: what was chosen on the inner rows, and whether that was more than luck."""
    return pd.DataFrame(
        [
            {
                "cost of trading": basis_points(one["cost"]),
                "discount": f"{one['gamma']:g}",
                "epoch": str(one["epoch"]),
                "income on inner rows": share(one["income"]),
                "candidates": str(one["trials"]),
                "joint p": "-" if one["p"] is None else f"{one['p']:.2g}",
                "trades": "yes" if one["evidence"] else "no, stays flat",
            }
            for one in content["chosen"]
        ]
    )


def rivals_line(account: Account) -> str:
    """Return how the agent compares with the best simple rule, and with its own positions at random times."""
    best, agent = account.best_against, account.of("agent")
    if not account.trades:
        return f"The agent trades nothing; the best simple rule, in hindsight, is {POLICY_WORDS[best.policy]}."
    low, high = (None if one is None else share(one) for one in (best.low, best.high))
    bounds = "" if low is None else f" (95% interval {low} to {high})"
    return (
        f"Against {POLICY_WORDS[best.policy]}, the best simple rule in hindsight, the agent earned "
        f"{share(best.difference)} of the stake{bounds}; it earned more than {agent.percentile or 0:.0%} of "
        f"{len(account.random)} policies with its positions at other times and its costs."
    )


def networks_line(account: Account) -> str:
    """Return what each of the agent's networks would have earned alone."""
    alone = ", ".join(share(one) for one in account.seeds)
    return f"Each of the {len(account.seeds)} networks alone, had it traded: {alone} of the stake."


def deflated_line(account: Account) -> str:
    """Return the deflated Sharpe ratio in words."""
    found = account.deflated
    if found.probability is None:
        return f"The deflated Sharpe ratio is not known: {count_of(found.steps, 'day')} judged are too few."
    return (
        f"The probability that the true Sharpe ratio is above zero, with the choice among "
        f"{count_of(found.trials, 'candidate')} allowed for, is {found.probability:.0%} (deflated Sharpe ratio, "
        f"{count_of(found.steps, 'day')})."
    )


def costs_table(account: Account) -> pd.DataFrame:
    """Return where the agent's costs went: stakes traded and what they cost, by what was done."""
    words = {
        "opened": "opening positions",
        "closed": "closing them",
        "turned": "turning them around",
        "closed_at_ends": "closing before gaps and at the end",
    }
    return pd.DataFrame(
        [
            {"what": words[name], "stakes traded": f"{size:.3g}", "cost": share(-account.cost * size)}
            for name, size in account.costs.items()
        ]
    )
