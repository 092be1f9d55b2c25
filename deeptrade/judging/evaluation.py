"""What is known of forecasts: scores with intervals, simple forecasts beside them, one joint verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..files import read_json
from ..sources.time_order import rows_by_market
from ..times import duration_name, iso_time
from ..training.judged import Judged
from .costs import AfterCosts
from .periods import PeriodScore, by_period, information_ratios, months, regimes
from .resampling import Blocks, block_length
from .scores import Score, groups_by_size, score
from .verdict import Verdict, decide


@dataclass(frozen=True)
class Evaluation:
    """What is known of forecasts: scores, the verdict, and how they hold over time.

    step: the time of one horizon, such as '1h'. block_steps: steps in time of a resampled block. periods: scores by
    month and by volatility. groups: by horizon, (mean forecast, mean target) of rows by the size of their forecast. Of
    a walk also scores by `folds`, by `seeds`, whose mean forecast is judged, and by combinatorial `paths`. costs: what
    trading would have earned; nothing for combinatorial folds, which also learn from what came later.
    """

    scores: list[Score] = field(default_factory=list)
    verdict: Verdict | None = None
    step: str = ""
    block_steps: int = 0
    periods: list[PeriodScore] = field(default_factory=list)
    groups: list[list[tuple[float, float]]] = field(default_factory=list)
    folds: list[PeriodScore] = field(default_factory=list)
    seeds: list[PeriodScore] = field(default_factory=list)
    paths: list[PeriodScore] = field(default_factory=list)
    costs: AfterCosts = field(default_factory=AfterCosts)

    def of(self, metric: str, market: str | None = None) -> list[Score]:
        """Return the scores of a metric by horizon, of a market or of all."""
        return [one for one in self.scores if (one.metric, one.market) == (metric, market)]

    @property
    def markets(self) -> list[str]:
        """The markets that have scores of their own."""
        return [name for name in dict.fromkeys(one.market for one in self.scores) if name is not None]

    @property
    def baselines(self) -> list[str]:
        """The names of the simple forecasts that the model is compared with."""
        prefix = "mae_gain_"
        found = dict.fromkeys(one.metric for one in self.scores if one.metric.startswith(prefix))
        return [name.removeprefix(prefix) for name in found]

    def to_json(self) -> dict[str, Any]:
        """Return the content of evaluation.json; `from_json` reads it."""
        content = asdict(self)
        if self.verdict is not None:
            content |= {
                "verdict": self.verdict.sentence(self.step),
                "joint_p": self.verdict.joint_p,
                "trials": self.verdict.trials,
                "decision": asdict(self.verdict),
            }
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Evaluation:
        """Return what `to_json` told."""
        decision = content.get("decision")
        parts = ("periods", "folds", "seeds", "paths")
        return cls(
            [Score(**one) for one in content["scores"]],
            Verdict(**decision) if decision else None,
            content["step"],
            content["block_steps"],
            groups=[[(forecast, target) for forecast, target in groups] for groups in content["groups"]],
            costs=AfterCosts.from_json(content["costs"]) if "costs" in content else AfterCosts(),
            **{name: [PeriodScore(**one) for one in content.get(name, ())] for name in parts},
        )


def read_evaluation(path: Path, *, weights_sha256: str | None = None) -> Evaluation:
    """Return what an evaluation.json holds; nothing where it is missing, of other weights or of an earlier version.

    weights_sha256: those that must have been judged, None for any.
    """
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict) or "decision" not in content:
        return Evaluation()
    if weights_sha256 is not None and content.get("weights_sha256") != weights_sha256:
        return Evaluation()
    return Evaluation.from_json(content)


def judge(
    judged: Judged,
    others: Mapping[str, np.ndarray],
    *,
    target_step: int,
    overlap: int,
    trials: int = 1,
    seed: int = 0,
) -> Evaluation:
    """Return the evaluation of forecasts of rows in order of time.

    others: simple forecasts by name, float (rows, horizons), NaN where not known; 'mean' is that of the training
    targets, for R2. target_step: ns of one horizon; overlap: steps in time until a row's last target is known.
    """
    forecasts, targets, times, markets = judged.forecasts, judged.targets, judged.times, judged.markets
    by_market = {name: some for name, some in rows_by_market(markets) if name}
    known = np.isfinite(targets).any(axis=1) & np.isfinite(forecasts).any(axis=1)
    length = block_length(_dependent(forecasts, targets), times, overlap=overlap)
    mean = others.get("mean", np.zeros_like(targets))
    scores, resampled = score(
        forecasts,
        targets,
        others,
        training_mean=mean,
        blocks=Blocks(times, length=length, seed=seed),
        markets=markets if by_market else None,
    )
    for name, some in by_market.items():
        blocks = Blocks(times[some], length=length, seed=seed)
        part = {other: values[some] for other, values in others.items()}
        scores += score(forecasts[some], targets[some], part, training_mean=mean[some], blocks=blocks, market=name)[0]
    by_month = by_period(months(times), forecasts, targets)
    scores += [Score(horizon, None, "rank_icir", value) for horizon, value in information_ratios(by_month)]
    verdict = decide(
        resampled["rank_ic"],
        resampled["mae_gain_zero"],
        rows=int(known.sum()),
        begin=iso_time(int(times[0])) if len(times) else "",
        end=iso_time(int(times[-1])) if len(times) else "",
        trials=trials,
    )
    periods = by_month + by_period(regimes(targets, markets), forecasts, targets)
    groups = [groups_by_size(forecasts[:, h], targets[:, h]) for h in range(targets.shape[1])]
    return Evaluation(scores, verdict, duration_name(target_step) if target_step else "", length, periods, groups)


def _dependent(forecasts: np.ndarray, targets: np.ndarray) -> Sequence[np.ndarray]:
    """Return the series whose dependence over time the blocks must keep, at the first, middle and last horizon."""
    horizons = sorted({0, targets.shape[1] // 2, targets.shape[1] - 1})
    pairs = [(forecasts[:, h].astype(float), targets[:, h].astype(float)) for h in horizons]
    products = [(f - np.nanmean(f)) * (y - np.nanmean(y)) for f, y in pairs if np.isfinite(f * y).any()]
    return products + [np.abs(y) - np.abs(y - f) for f, y in pairs]
