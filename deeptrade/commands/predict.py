"""forecast every row of some data with a saved model"""

from __future__ import annotations

import argparse

from ..files import user_path
from .console import add_settings, given_settings, print_line


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
    forecasts = predict(
        options.model, options.data, batch_size=options.batch_size, memory_limit=limits, sink=print_line, **given
    )
    write_forecasts(forecasts, options.out)
    newest = forecasts.index.get_level_values("timestamp").max()
    print_line(f"{options.out}: {len(forecasts)} forecasts, the newest of {newest.isoformat()}")
