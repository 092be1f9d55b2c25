"""What a data file holds: the profile as tables, and what in it deserves a look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from ...profiles.examination import OUTLIER
from ...units import format_bytes
from ..findings import data as findings
from ..findings.data import Alert
from .common import Json, number, pairs, percent, span

_MOST_ALIKE = 4
"""Alerts of one kind that are told one by one; of a file with hundreds of features, the rest are counted."""


def data_verdict(profile: Json) -> str:
    """Return one sentence on what the file holds."""
    rows = profile["rows"]
    rejected = f"{rows['rejected']:,} rejected" if rows["rejected"] else "none rejected"
    return (
        f"{_subject(profile)} {rows['read']:,} rows ({rejected}) with {len(profile['features'])} features and "
        f"{len(profile['targets'])} horizons, {profile['span']['start'][:10]} to {profile['span']['end'][:10]}, "
        f"{format_bytes(profile['file_bytes'])} as CSV."
    )


def _subject(profile: Json) -> str:
    """Who holds the rows: the file, or its first part where only that was looked at."""
    return (
        f"Of {profile['name']} only the first rows were looked at:"
        if findings.is_part_of_file(profile)
        else f"{profile['name']} holds"
    )


def overview(profile: Json) -> pd.DataFrame:
    """Return what the file holds as (what, value)."""
    step = profile["step_seconds"]
    return pairs(
        {
            "rows read": f"{profile['rows']['read']:,}",
            "rows usable": f"{profile['rows']['usable']:,}",
            "rows rejected": f"{profile['rows']['rejected']:,}",
            "features": len(profile["features"]),
            "numbers per row": f"{findings.numbers_per_row(profile):,}",
            "targets": f"{len(profile['targets'])}, from {profile['target_source']}",
            "bytes as CSV": format_bytes(profile["sizes"]["csv_bytes"]),
            "bytes as float32": format_bytes(profile["sizes"]["float32_bytes"]),
            "first row": profile["span"]["start"],
            "last row": profile["span"]["end"],
            "time between rows": "one row" if step is None else f"{step / 60:g} min (median)",
            "gaps": profile["gap_count"],
            "repeated timestamps": profile["duplicates"],
            "timestamps that go back": profile["backward"],
            "cost of this profile": f"{profile['cost']['seconds']:.1f} s, "
            f"peak memory {format_bytes(profile['cost']['peak_anon_bytes'])}",
        }
    )


def alerts(profile: Json) -> pd.DataFrame:
    """Return what deserves a look as (level, what, threshold, next step), warnings first; empty when nothing does."""
    lines = [(alert.level, *_IN_WORDS[alert.kind](alert)) for alert in findings.alerts(profile)]
    return pd.DataFrame(_counted(lines), columns=["level", "what", "threshold", "next step"])


_IN_WORDS: dict[str, Callable[[Alert], tuple[str, str, str]]] = {
    "rejected": lambda alert: (
        f"{alert.value:,.0f} rows are rejected",
        "any",
        "see ledger.csv: line, column and reason",
    ),
    "gaps": lambda alert: (
        f"{alert.value:,.0f} gaps in time",
        f"{alert.threshold:.0%} of rows",
        "check the source",
    ),
    "nonfinite": lambda alert: (
        f"{alert.value:.1%} of {alert.feature} is NaN or infinite",
        f"{alert.threshold:.1%}",
        "leave it out with --features, or mend it",
    ),
    "constant": lambda alert: (
        f"{alert.channels} of {alert.all_channels} channels of {alert.feature} never change",
        "standard deviation 0",
        "they teach nothing; the model scales them by 1",
    ),
    "leak": lambda alert: (
        f"channel {alert.channel} of {alert.feature} has correlation {alert.value:.2f} with y_{alert.horizon}",
        f"{alert.threshold:g}",
        "it may know the future: see how it is made, or do without it",
    ),
    "outliers": lambda alert: (
        f"{alert.value:.1%} of {alert.feature} is more than {OUTLIER:g} standard deviations from its mean",
        f"{alert.threshold:.1%}",
        "see its least and most below: errors of a feed look like this",
    ),
    "still": lambda alert: (
        f"all channels of {alert.feature} stand still for {alert.value:.0f} rows in a row",
        f"{alert.threshold:.0f} rows",
        "a feed may have stopped: see what was recorded then",
    ),
    "zeros": lambda alert: (
        f"a channel of {alert.feature} that is seldom 0 is 0 for {alert.value:.0f} rows in a row",
        f"{alert.threshold:.0f} rows",
        "no volume, or no data",
    ),
    "drift": lambda alert: (
        f"{alert.channels} of {alert.all_channels} channels of {alert.feature} moved by {alert.value:.1f} standard "
        "deviations at most between the first and the last tenth",
        f"{alert.threshold:g}",
        "training sees such channels relative to the window's last step",
    ),
    "data": lambda alert: (alert.line, "any", "nothing to do where it is meant so"),
}
"""Per kind of alert: what was found, its threshold, and the next step."""


def _counted(found: Sequence[tuple[str, str, str, str]]) -> Iterator[tuple[str, str, str, str]]:
    """The alerts, of each kind (level, threshold and next step) the first few and the number of the others."""
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for level, what, threshold, step in found:
        kinds.setdefault((level, threshold, step), []).append(what)
    for (level, threshold, step), lines in kinds.items():
        for what in lines[:_MOST_ALIKE]:
            yield level, what, threshold, step
        if len(lines) > _MOST_ALIKE:
            yield level, f"{len(lines) - _MOST_ALIKE:,} more like this: see the tables below", threshold, step


def examined(profile: Json) -> pd.DataFrame:
    """Return one row per feature: what windows repeat, how long it stands still, how far it moved, what it tells."""
    rows = []
    for feature in profile["features"]:
        steps, correlation = feature["shape"][0], feature["correlation"]
        shared = feature["shared_steps"]
        largest = findings.extremes(feature)
        told = "-" if correlation is None else f"{correlation:.2f} (y_{feature['correlated_horizon'] + 1})"
        rows.append(
            {
                "feature": feature["name"],
                "next row repeats": "-" if shared is None else f"{shared} of {steps}",
                "beyond 8 sd": f"{feature['outlier_share']:.3%}",
                "still, rows": f"{feature['longest_still_rows']:,}",
                "at 0, rows": f"{largest.zero_rows:,}",
                "moved, sd": f"{largest.drift:+.2f}",
                "correlation": told,
            }
        )
    return pd.DataFrame(rows)


def nonfinite_places(profile: Json) -> pd.DataFrame:
    """Return where numbers are missing or infinite, by step and channel; empty where none is."""
    return pd.DataFrame(
        [
            {
                "feature": place.feature,
                "not finite": f"{place.count:,}",
                "steps": f"{place.first_step} to {place.last_step} of {place.steps}" if place.steps > 1 else "-",
                "in the last step": f"{place.in_last_step:,}",
                "most in channels": ", ".join(f"{channel} ({count:,})" for channel, count in place.channels),
            }
            for place in findings.nonfinite_places(profile)
        ]
    )


def independence(profile: Json) -> pd.DataFrame:
    """Return one row per horizon: autocorrelation at some lags, and how many independent rows its targets are worth."""
    rows = []
    for target in profile["targets"]:
        by_lag = dict(zip(target["lags"], target["autocorrelation"], strict=True))
        shown = {f"lag {lag}": f"{by_lag[lag]:+.3f}" for lag in (1, 2, 5, 10) if lag in by_lag}
        rows.append({"target": target["name"], **shown, "worth independent rows": f"{target['independent_rows']:,.0f}"})
    return pd.DataFrame(rows)


def features(profile: Json) -> pd.DataFrame:
    """Return one row per feature: shape, bytes, non-finite numbers, and the range of its channels."""
    return pd.DataFrame(
        [
            {
                "feature": feature["name"],
                "shape": "×".join(map(str, feature["shape"])),
                "bytes per row": f"{feature['bytes_per_row']:,}",
                "not finite": f"{feature['nonfinite']:,}",
                "mean": span(*extent.means),
                "sd": span(*extent.deviations),
                "least": number(extent.values[0]),
                "most": number(extent.values[1]),
            }
            for feature, extent in ((one, findings.feature_range(one)) for one in profile["features"])
        ]
    )


def targets(profile: Json) -> pd.DataFrame:
    """Return one row per horizon: missing values, mean, spread and quantiles, in percent of return."""
    return pd.DataFrame(
        [
            {"target": target["name"], "missing": f"{target['missing']:,}", "mean %": percent(target["mean"])}
            | {"sd %": percent(target["std"])}
            | {_quantile_name(float(q)): percent(value) for q, value in target["quantiles"].items()}
            for target in profile["targets"]
        ]
    )


def _quantile_name(share: float) -> str:
    return {0.0: "least", 0.5: "median", 1.0: "most"}.get(share, f"{100 * share:g}% below")


def rejected(profile: Json) -> pd.DataFrame:
    """Return rejected rows by reason."""
    return pd.DataFrame(sorted(profile["rejected"].items()), columns=["reason", "rows"])
