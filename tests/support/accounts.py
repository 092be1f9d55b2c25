"""An account of an agent that is made up, for tests of what is said of it."""

from deeptrade.judging.overfitting import DeflatedSharpe
from deeptrade.trading.account import NAMES, Account, Against, Curve, PolicyScore
from deeptrade.trading.choice import Chosen

CHOSEN = Chosen(0.0012, 0.9, 3, 0.1, True, 0.01, 12, [0.0, 0.1])
FEES = (0.0, 0.001)
TIMES = ["2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", "2026-02-20T00:00:00+00:00"]
INCOMES = dict(zip(NAMES, (0.31, 0.33, -0.2, -0.1, 0.04, 0.1, 0.12, 0.0, 4.0), strict=True))


def score_of(policy, fee, **changes) -> PolicyScore:
    """Return a score; at a fee of 0 everything earned 0.1 more, and staying flat trades nothing."""
    traded = policy != "flat"
    told = {
        "policy": policy,
        "fee": fee,
        "income": INCOMES[policy] + (0.1 if traded and not fee else 0.0),
        "sharpe": 1.2 if traded else None,
        "low": 0.3 if traded else None,
        "high": 2.1 if traded else None,
        "drawdown": 0.15 if traded else 0.0,
        "turnover": 100.0 if traded else 0.0,
        "turnover_per_day": 2.0 if traded else 0.0,
        "long": 0.25 if traded else 0.0,
        "flat": 0.5 if traded else 1.0,
        "short": 0.25 if traded else 0.0,
        "hit_rate": 0.52 if traded else None,
        "break_even_fee": 0.0041 if traded else None,
        "percentile": 0.97 if policy == "agent" else None,
    }
    return PolicyScore(**told | changes)


ACCOUNT = Account(
    fee=0.001,
    cost=0.0012,
    scores=[score_of(name, fee) for fee in FEES for name in NAMES],
    turns=1200,
    steps=1200,
    days=50.2,
    block_steps=20,
    markets=1,
    begin=TIMES[0],
    end=TIMES[-1],
    flat_against=Against("flat", 0.31, 0.12, 0.5),
    best_against=Against("long", 0.19, -0.05, 0.43),
    seeds=[0.3, 0.28, 0.35, -0.02, 0.31],
    random=[-0.3, -0.1, 0.0, 0.2],
    deflated=DeflatedSharpe(0.08, 0.05, 0.81, 12, 50),
    costs={"opened": 40.0, "closed": 38.0, "turned": 20.0, "closed_at_ends": 2.0},
    times=TIMES,
    curves=[Curve(name, [0.0, INCOMES[name] / 2, INCOMES[name]]) for name in NAMES],
)
