"""forecast every row of some data with a saved model"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import user_path
from ..run_folder import RunFolder, TrainingFolder
from ..units import count_of
from .console import add_settings, given_settings, print_line

if TYPE_CHECKING:
    import pandas as pd


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade predict`."""
    parser.add_argument("model", metavar="MODEL", help="a run's model.keras, or its folder")
    parser.add_argument("data", metavar="DATA", help="data with the model's features; targets are not needed")
    parser.add_argument("--out", required=True, metavar="OUT", help=".csv or .parquet")
    parser.add_argument("--batch_size", type=int, default=32, help="rows per forward pass [%(default)s]")
    add_settings(parser, "store", "memory_limit", "max_rows", "max_bad_rows", "sort", "duplicates")


def run(options: argparse.Namespace) -> None:
    """Write the forecasts."""
    from ..judging.forecast_file import check_ending, write_forecasts
    from ..memory import MemoryLimits
    from ..training.runtime import quiet_start

    given = given_settings(options, without=["out", "batch_size"])
    limits = MemoryLimits.of(given.pop("memory_limit", ""))
    check_ending(user_path(options.out))
    with quiet_start():
        from ..data.backend import tf
        from ..judging.predict import predict

        tf.config.list_physical_devices("GPU")  # what it says when it first looks for one, too
        from ..data.opening import open_dataset

    with open_dataset(options.data, needs_targets=False, memory_limit=limits, sink=print_line, **given) as data:
        forecasts = predict(options.model, data, batch_size=options.batch_size)
        rejected = Counter(entry.reason for entry in data.ledger)
    write_forecasts(forecasts, options.out)
    print_line(f"{options.out}: {count_of(len(forecasts), 'forecast')}, {_newest(forecasts)}")
    if rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
        print_line(f"{count_of(rejected.total(), 'row')} rejected and not forecast: {reasons}")
    for line in _of_other_markets(Path(options.model), forecasts):
        print_line(line)


_MOST_NAMED = 10


def _newest(forecasts: pd.DataFrame) -> str:
    """Say of when the newest forecast is, of each market where rows name some."""
    times = forecasts.index.get_level_values("timestamp")
    if "market" not in forecasts.index.names:
        return f"the newest of {times.max().isoformat()}"
    newest = times.to_series(index=forecasts.index.get_level_values("market")).groupby(level=0).max()
    named = [f"{market} {time.isoformat()}" for market, time in newest.head(_MOST_NAMED).items()]
    others = f" and {len(newest) - _MOST_NAMED} markets more" if len(newest) > _MOST_NAMED else ""
    return f"the newest of {', '.join(named)}{others}"


def _of_other_markets(model: Path, forecasts: pd.DataFrame) -> Iterator[str]:
    """Yield a line where the model of a run is asked about markets that it was not trained on."""
    folder = RunFolder(model).training if model.is_dir() else TrainingFolder(model.parent)
    trained = ((folder.read_result() or {}).get("settings") or {}).get("markets", "")
    if trained and "market" in forecasts.index.names:
        known = {name.strip() for name in trained.split(",")}
        others = sorted(set(forecasts.index.get_level_values("market")) - known)
        if others:
            yield f"the model was trained on {trained}; the forecasts of {', '.join(others)} are of other markets"
