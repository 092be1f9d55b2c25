"""Profile a data file: what it holds, as plain numbers, in constant memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..data.opening import open_dataset
from ..errors import interruptible
from ..files import user_path, write_json
from ..memory import MemoryLimits, MemoryMonitor
from ..run_folder import LEDGER, PROFILE
from ..sources.statistics import FeatureStatistics
from ..sources.time_order import rows_by_market
from ..store.gaps import Gaps
from ..store.ledger import write_ledger
from ..store.row_range import RowRange
from ..times import iso_time
from .examination import examine, examine_targets
from .history import describe_history

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
_MOST_GAPS = 100
_MOST_CHANNELS = 400
"""Channels up to which each has its own histogram and path: a file of 10,000 would have a profile of 10 MB."""


@interruptible()
def profile(
    data: str | Path,
    *,
    out: str | Path | None = None,
    store: str | Path = "",
    max_rows: int = 0,
    max_bad_rows: float = 1.0,
    chunk_size: int = 10_000,
    sort: bool = False,
    duplicates: str = "error",
    memory_limit: str | MemoryLimits = "",
    cache_limit: str | int = 0,
    sink: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Return the profile of data, read from its store if there is one; with `out`, write profile.json and ledger.csv.

    Sizes are bytes, times seconds, and statistics are per channel over the finite numbers of all usable rows. Any share
    of rejected rows is accepted unless `max_bad_rows` sets a lower one. sort and duplicates: as `compile_store` has
    them. memory_limit, a size such as '2GiB', bounds what is read at once; cache_limit, what is
    kept here of a store at an address.

    Raises DataError when the data is missing or is not DeepTrade data.
    """
    started, limits = time.perf_counter(), MemoryLimits.of(memory_limit)
    folder = None if out is None else user_path(out)
    with (
        MemoryMonitor(limit=limits) as monitor,
        open_dataset(
            data,
            store=store,
            max_rows=max_rows,
            max_bad_rows=max_bad_rows,
            chunk_size=chunk_size,
            sort=sort,
            duplicates=duplicates,
            memory_limit=limits,
            cache_limit=cache_limit,
            sink=sink,
            progress=progress,
        ) as dataset,
    ):
        result = describe(dataset)
        ledger = dataset.ledger
    result["max_rows"] = max_rows
    result["cost"] = {"seconds": time.perf_counter() - started, "peak_anon_bytes": monitor.peak_anon_bytes}
    if folder is not None:
        write_ledger(folder / LEDGER, ledger)
        write_json(folder / PROFILE, result)  # last: where it exists, the profile is complete
    return result


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return the profile of an open dataset."""
    usable, features = len(dataset.usable), dataset.schema.features
    rejected = Counter(entry.reason for entry in dataset.ledger)
    return {
        "schema_version": 1,
        "name": dataset.name,
        "data_id": dataset.data_id,
        "file_bytes": dataset.file_bytes,
        "sizes": {"csv_bytes": dataset.file_bytes, "float32_bytes": usable * dataset.schema.row_bytes},
        "rows": {"read": dataset.rows, "usable": usable, "rejected": dataset.rows - usable},
        "target_source": dataset.schema.target_source,
        **_describe_times(dataset),
        "markets": _describe_markets(dataset),
        "duplicates": rejected["repeated"],
        "backward": rejected["out_of_order"],
        **describe_history(dataset),
        **_describe_columns(
            dataset, dataset.usable, by_channel=sum(one.channels for one in features) <= _MOST_CHANNELS
        ),
        "rejected": dict(rejected),
        "warnings": dataset.warnings,
    }


def _describe_columns(dataset: Dataset, rows: RowRange, *, by_channel: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Return what features and targets hold in these rows; histograms and paths of each channel only on request."""
    left_out: dict[str, list[Any]] = {} if by_channel else {"histograms": [], "path": []}
    statistics = dataset.statistics(rows)
    examined = examine(dataset, rows, statistics)
    numbers = rows.numbers()
    targets = dataset.read_targets(numbers)
    by_market = [some for _, some in rows_by_market(dataset.read_markets(numbers))]
    by_target = examine_targets(targets, by_market, dataset.read_times(numbers))
    return {
        "features": [
            {
                "name": feature.name,
                "shape": list(feature.shape),
                "bytes_per_row": 4 * feature.size,
                "nonfinite": sum(examined[feature.name].nonfinite_by_channel),
                **_describe_channels(statistics[feature.name]),
                **asdict(examined[feature.name]),
                **left_out,
            }
            for feature in dataset.schema.features
        ],
        "targets": [
            _describe_target(f"y_{step + 1}", targets[:, step]) | asdict(by_target[step])
            for step in range(dataset.schema.horizons)
        ],
    }


def _describe_channels(statistics: FeatureStatistics) -> dict[str, list[float]]:
    return {
        "mean": statistics.mean.tolist(),
        "std": statistics.std.tolist(),
        "min": statistics.minimum.tolist(),
        "max": statistics.maximum.tolist(),
    }


def _describe_times(dataset: Dataset) -> dict[str, Any]:
    """Return span, step and gaps; of the longest gaps where each begins and ends, and what it cost.

    The step is the median time between rows, of the market where it is longest. `missing_rows` is null where rows are
    not on a regular grid, `lost_targets` where targets come in columns, `market` where rows name none.
    """
    times, by_market = dataset.timestamps, dataset.gaps()
    gaps = [gap for market in by_market for gap in _describe_gaps(dataset, market, *by_market[market])]
    step = max(gaps_of_one.step for _, gaps_of_one in by_market.values())
    return {
        "span": {"start": iso_time(int(times.min())), "end": iso_time(int(times.max()))},
        "step_seconds": step / 1e9 if step else None,
        "gap_count": sum(len(gaps_of_one.after) for _, gaps_of_one in by_market.values()),
        "gaps": sorted(gaps, key=lambda gap: (-gap["seconds"], gap["after"]))[:_MOST_GAPS],
    }


def _describe_gaps(dataset: Dataset, market: str, rows: np.ndarray, gaps: Gaps) -> list[dict[str, Any]]:
    times = dataset.timestamps[rows]
    lost = np.isnan(dataset.targets[rows]) if dataset.schema.target_source == "price" else None
    before = np.concatenate([[-1], gaps.after[:-1]]) if len(gaps.after) else gaps.after
    longest = np.argsort(times[gaps.after] - times[gaps.after + 1], kind="stable")[:_MOST_GAPS]
    return [
        {
            "market": market or None,
            "after": iso_time(int(times[at])),
            "until": iso_time(int(times[at + 1])),
            "seconds": float(times[at + 1] - times[at]) / 1e9,
            "missing_rows": round((times[at + 1] - times[at]) / gaps.step) - 1 if gaps.is_grid else None,
            "lost_targets": None if lost is None else int(lost[start + 1 : at + 1].sum()),
        }
        for start, at in zip(before[longest].tolist(), gaps.after[longest].tolist(), strict=True)
    ]


def _describe_markets(dataset: Dataset) -> list[dict[str, Any]]:
    """Return rows, span, gaps, features and targets of every market; empty where rows name none."""
    if not dataset.markets:
        return []
    return [
        {
            "name": market,
            "rows": len(rows),
            "start": iso_time(int(dataset.timestamps[rows[0]])),
            "end": iso_time(int(dataset.timestamps[rows[-1]])),
            "step_seconds": gaps.step / 1e9 or None,
            "gap_count": len(gaps.after),
            **_describe_columns(dataset, dataset.rows_of(market)),
        }
        for market, (rows, gaps) in dataset.gaps().items()
    ]


def _describe_target(name: str, values: np.ndarray) -> dict[str, Any]:
    known = values[np.isfinite(values)].astype(np.float64)
    summary: dict[str, Any] = {"name": name, "missing": int(len(values) - len(known))}
    if not len(known):
        return summary | dict.fromkeys(("mean", "std", "min", "max")) | {"quantiles": {}}
    quantiles = np.quantile(known, QUANTILES)
    return summary | {
        "mean": float(known.mean()),
        "std": float(known.std()),
        "min": float(known.min()),
        "max": float(known.max()),
        "quantiles": {f"{q:g}": float(v) for q, v in zip(QUANTILES, quantiles, strict=True)},
    }
