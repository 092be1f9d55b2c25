"""forecast every row of some data with a saved model, and say what its agent would hold"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import user_path
from ..run_folder import RunFolder, TrainingFolder
from ..units import count_of
from .console import add_settings, given_settings, print_line

if TYPE_CHECKING:
    import pandas as pd

    from ..data.dataset import Dataset


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade predict`."""
    parser.add_argument("model", metavar="MODEL", help="a run's model.keras, or its folder")
    parser.add_argument("data", metavar="DATA", help="data with the model's features; targets are not needed")
    parser.add_argument("--out", required=True, metavar="OUT", help=".csv or .parquet")
    parser.add_argument("--batch_size", type=int, default=32, help="rows per forward pass [%(default)s]")
    parser.add_argument(
        "--intervals", action="store_true", help="add the bounds of 95%% intervals, low_1.. and high_1.."
    )
    add_settings(parser, "store", "memory_limit", "cache_limit", "max_rows", "max_bad_rows", "sort", "duplicates")


def run(options: argparse.Namespace) -> None:
    """Write the forecasts."""
    from ..judging.forecast_file import check_ending, write_forecasts
    from ..memory import MemoryLimits
    from ..training.runtime import quiet_start

    given = given_settings(options, without=["out", "batch_size", "intervals"])
    limits = MemoryLimits.of(given.pop("memory_limit", ""))
    check_ending(options.out)
    with quiet_start():
        from ..data.backend import tf
        from ..judging.predict import predict

        tf.config.list_physical_devices("GPU")  # what it says when it first looks for one, too
        from ..data.opening import open_dataset

    with open_dataset(options.data, needs_targets=False, memory_limit=limits, sink=print_line, **given) as data:
        forecasts = predict(options.model, data, batch_size=options.batch_size, intervals=options.intervals)
        rejected = Counter(entry.reason for entry in data.ledger)
        agent = _agent_of(Path(options.model), forecasts, data)
    write_forecasts(forecasts, options.out)
    print_line(f"{options.out}: {count_of(len(forecasts), 'forecast')}{agent}, {_newest(forecasts)}")
    if rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
        print_line(f"{count_of(rejected.total(), 'row')} rejected and not forecast: {reasons}")
    result = _result_of(user_path(options.model))
    for line in _of_other_markets(result, forecasts):
        print_line(line)
    if options.intervals:
        print_line(_how_intervals_held(result))


def _agent_of(model: Path, forecasts: pd.DataFrame, data: Dataset) -> str:
    """Add a column `position` where the model's run has an agent; return what to say of it."""
    folder = _folder_of(model)
    result = folder.read_result() or {}
    if not folder.agent.model.is_file():
        return ""
    account = folder.agent.read_current(result.get("weights_sha256", ""))
    if account is None:
        return ", no positions (the agent is of another state of the forecaster; run fit again)"
    if "log" in account:
        return ", no positions (the agent was taught by a log, whose states these rows do not have)"
    from ..trading.acting import load_agent, positions_to_hold

    agent = load_agent(folder.agent.model)
    forecasts["position"] = positions_to_hold(agent, forecasts, data)
    return " and positions, all of them flat" if agent.always_flat else " and positions"


_MOST_NAMED = 10


def _newest(forecasts: pd.DataFrame) -> str:
    """Say of when the newest forecast is, of each market where rows name some."""
    times = forecasts.index.get_level_values("timestamp")
    if "market" not in forecasts.index.names:
        return f"the newest of {times.max().isoformat()}"
    newest = times.to_series(index=forecasts.index.get_level_values("market")).groupby(level=0).max()
    named = [f"{market} {time.isoformat()}" for market, time in newest.head(_MOST_NAMED).items()]
    others = f" and {count_of(len(newest) - _MOST_NAMED, 'market')} more" if len(newest) > _MOST_NAMED else ""
    return f"the newest of {', '.join(named)}{others}"


def _result_of(model: Path) -> dict[str, Any]:
    """Return the result of the run that a model is from; empty where there is none."""
    return _folder_of(model).read_result() or {}


def _folder_of(model: Path) -> TrainingFolder:
    return RunFolder(model).training if model.is_dir() else TrainingFolder(model.parent)


def _of_other_markets(result: Mapping[str, Any], forecasts: pd.DataFrame) -> Iterator[str]:
    """Yield a line where the model of a run is asked about markets that it was not trained on."""
    trained = (result.get("settings") or {}).get("markets", "")
    if trained and "market" in forecasts.index.names:
        known = {name.strip() for name in trained.split(",")}
        others = sorted(set(forecasts.index.get_level_values("market")) - known)
        if others:
            yield f"the model was trained on {trained}; the forecasts of {', '.join(others)} are of other markets"


def _how_intervals_held(result: Mapping[str, Any]) -> str:
    """Say how often the intervals held in the validation of the model's run."""
    shares = [one for one in (result.get("calibration") or {}).get("coverage") or () if one is not None]
    if not shares:
        return "95% intervals; how often they hold on later rows is not known"
    low, high = (f"{share:.1%}" for share in (min(shares), max(shares)))
    return f"95% intervals; in validation they held {low}{'' if low == high else f' to {high}'} of outcomes"
