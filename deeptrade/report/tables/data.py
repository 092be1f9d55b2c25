"""What a data file holds: the profile as tables, with alerts on what deserves attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from ...profiles.examination import OUTLIER
from ...times import duration_text
from ...units import count_of, format_bytes
from ..findings import data as findings
from ..findings.data import Alert
from .common import Json, number, pairs, percent, span, unbroken

_MOST_GAPS = 20
_MOST_ALIKE = 4
"""Alerts of one kind that are listed one by one; the rest are counted, since a file may have hundreds of features."""


def data_verdict(profile: Json) -> str:
    """Return one sentence on what the file holds."""
    rows = profile["rows"]
    rejected = f"{rows['rejected']:,} rejected" if rows["rejected"] else "none rejected"
    return (
        f"{_subject(profile)} {count_of(rows['read'], 'row')} ({rejected}) with "
        f"{count_of(len(profile['features']), 'feature')} and {count_of(len(profile['targets']), 'horizon')}, "
        f"{profile['span']['start'][:10]} to {profile['span']['end'][:10]}, "
        f"{format_bytes(profile['file_bytes'])} as CSV{_warned(profile)}."
    )


def _warned(profile: Json) -> str:
    warned = sum(alert.level == "warning" for alert in findings.alerts(profile))
    return f"; {count_of(warned, 'warning')}" if warned else ""


def _subject(profile: Json) -> str:
    """Return the start of a sentence: what holds the rows, the file or only its beginning."""
    return (
        f"The beginning of {profile['name']} holds" if findings.is_part_of_file(profile) else f"{profile['name']} holds"
    )


def overview(profile: Json) -> pd.DataFrame:
    """Return what the file holds, as (property, value)."""
    return pairs(
        {
            "rows read": f"{profile['rows']['read']:,}",
            "rows usable": f"{profile['rows']['usable']:,}",
            "rows rejected": f"{profile['rows']['rejected']:,}",
            "features": len(profile["features"]),
            "numbers per row": f"{findings.numbers_per_row(profile):,}",
            "targets": f"{len(profile['targets'])}, from {profile['target_source']}",
            "size as CSV": format_bytes(profile["sizes"]["csv_bytes"]),
            "size as float32": format_bytes(profile["sizes"]["float32_bytes"]),
            "first row": _when(profile["span"]["start"]),
            "last row": _when(profile["span"]["end"]),
            "time between rows": _usual(profile["step_seconds"]),
            "gaps": profile["gap_count"],
            "repeated timestamps": profile["duplicates"],
            "timestamps out of order": profile["backward"],
            "cost of this profile": f"{profile['cost']['seconds']:.1f} s, "
            f"peak memory {format_bytes(profile['cost']['peak_anon_bytes'])}",
        }
    )


def alerts(profile: Json) -> pd.DataFrame:
    """Return alerts as (level, finding, threshold, next step), warnings first; empty where there are none."""
    lines = [(alert.level, *_IN_WORDS[alert.kind](alert)) for alert in findings.alerts(profile)]
    return pd.DataFrame(_counted(lines), columns=["level", "finding", "threshold", "next step"])


def gaps(profile: Json) -> pd.DataFrame:
    """Return where each of the first gaps begins and ends, and what it cost; empty where there are none."""
    return pd.DataFrame(
        [
            _named(gap["market"])
            | {
                "last row before": _when(gap["after"]),
                "first row after": _when(gap["until"]),
                "rows missing": _or_dash(gap["missing_rows"]),
                "targets lost": _or_dash(gap["lost_targets"]),
            }
            for gap in profile["gaps"][:_MOST_GAPS]
        ]
    )


def _or_dash(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _whose(alert: Alert) -> str:
    """Return what an alert is about: a feature, of one market where rows name them."""
    return f"{alert.feature} of {alert.market}" if alert.market else alert.feature


_IN_WORDS: dict[str, Callable[[Alert], tuple[str, str, str]]] = {
    "rejected": lambda alert: (
        f"{count_of(int(alert.value), 'row')} rejected",
        "any",
        "see line, column and reason in ledger.csv",
    ),
    "gaps": lambda alert: (
        f"{count_of(int(alert.value), 'gap')} in time",
        f"{alert.threshold:.0%} of rows",
        "check the source",
    ),
    "nonfinite": lambda alert: (
        f"{alert.value:.1%} of {_whose(alert)} is NaN or infinite",
        f"{alert.threshold:.1%}",
        "leave it out with --features, or fix the source",
    ),
    "constant": lambda alert: (
        f"{alert.channels} of {alert.all_channels} channels of {_whose(alert)} "
        + ("never changes" if alert.channels == 1 else "never change"),
        "standard deviation 0",
        "they carry no information; the model scales them by 1",
    ),
    "leak": lambda alert: (
        f"channel {alert.channel} of {_whose(alert)} has correlation {alert.value:.2f} with y_{alert.horizon}",
        f"{alert.threshold:g}",
        "it may contain the future: check how it is computed, or leave it out",
    ),
    "outliers": lambda alert: (
        f"{alert.value:.1%} of {_whose(alert)} is more than {OUTLIER:g} standard deviations from its mean",
        f"{alert.threshold:.1%}",
        "see its minimum and maximum below: feed errors look like this",
    ),
    "still": lambda alert: (
        f"no channel of {_whose(alert)} changes over {alert.value:.0f} consecutive rows",
        f"{alert.threshold:.0f} rows",
        "a feed may have stopped: check what was recorded then",
    ),
    "zeros": lambda alert: (
        f"a channel of {_whose(alert)} that is rarely 0 is 0 in {alert.value:.0f} consecutive rows",
        f"{alert.threshold:.0f} rows",
        "no volume, or no data",
    ),
    "drift": lambda alert: (
        f"the means of {alert.channels} of {alert.all_channels} channels of {_whose(alert)} moved by up to "
        f"{alert.value:.1f} standard deviations between the first and the last tenth",
        f"{alert.threshold:g}",
        "training sees such channels relative to the window's last step",
    ),
    "data": lambda alert: (alert.line, "any", "nothing, if this is intended"),
}
"""By kind of alert: the finding, its threshold, and the next step."""


def _counted(found: Sequence[tuple[str, str, str, str]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the first few alerts of each kind (level, threshold and next step), then how many more there are."""
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for level, finding, threshold, step in found:
        kinds.setdefault((level, threshold, step), []).append(finding)
    for (level, threshold, step), lines in kinds.items():
        for finding in lines[:_MOST_ALIKE]:
            yield level, finding, threshold, step
        if len(lines) > _MOST_ALIKE:
            yield level, f"{len(lines) - _MOST_ALIKE:,} more like this: see the tables below", threshold, step


def markets(profile: Json) -> pd.DataFrame:
    """Return one row per market: rows, span, gaps, and the spread of its targets; empty without names."""
    return pd.DataFrame(
        [
            {
                "market": market["name"],
                "rows": f"{market['rows']:,}",
                "first row": _when(market["start"]),
                "last row": _when(market["end"]),
                "time between rows": _usual(market["step_seconds"]),
                "gaps": f"{market['gap_count']:,}",
                **{
                    f"sd of {target['name']}, %": percent(target["std"])
                    for target in _first_and_last(market["targets"])
                },
                "targets missing": f"{sum(target['missing'] for target in market['targets']):,}",
            }
            for market in findings.markets(profile)
        ]
    )


def _usual(seconds: float | None) -> str:
    return "only one row" if seconds is None else f"{duration_text(round(seconds * 1e9))} (median)"


def _when(time: str) -> str:
    """Return an ISO 8601 time in UTC as people read it, on one line."""
    return unbroken(time.removesuffix("+00:00").removesuffix(":00").replace("T", " ") + " UTC")


def _first_and_last(several: list[Json]) -> list[Json]:
    return several[:1] + several[1:][-1:]


def examined(profile: Json) -> pd.DataFrame:
    """Return a row per market and feature: overlap of windows, outliers, unchanged rows, drift, correlation."""
    return pd.DataFrame(
        [
            _named(market) | _examined_feature(feature)
            for market, _, features in findings.features_by_market(profile)
            for feature in features
        ]
    )


def _named(market: str) -> dict[str, str]:
    return {"market": market} if market else {}


def _examined_feature(feature: Json) -> dict[str, str]:
    steps, correlation, shared = feature["shape"][0], feature["correlation"], feature["shared_steps"]
    largest = findings.extremes(feature)
    strongest = "-" if correlation is None else f"{correlation:.2f} (y_{feature['correlated_horizon'] + 1})"
    return {
        "feature": feature["name"],
        "shared with next row": "-" if shared is None else f"{shared} of {steps} steps",
        "beyond 8 sd": f"{feature['outlier_share']:.3%}",
        "rows unchanged": f"{feature['longest_still_rows']:,}",
        "rows at 0": f"{largest.zero_rows:,}",
        "drift (sd)": f"{largest.drift:+.2f}",
        "correlation": strongest,
    }


def nonfinite_places(profile: Json) -> pd.DataFrame:
    """Return where numbers are missing or infinite, by step and channel; empty where there are none."""
    return pd.DataFrame(
        [
            {
                "feature": place.feature,
                "not finite": f"{place.count:,}",
                "steps": f"{place.first_step} to {place.last_step} of {place.steps}" if place.steps > 1 else "-",
                "in the last step": f"{place.in_last_step:,}",
                "channels with most": ", ".join(f"{channel} ({count:,})" for channel, count in place.channels),
            }
            for place in findings.nonfinite_places(profile)
        ]
    )


def independence(profile: Json) -> pd.DataFrame:
    """Return one row per horizon: autocorrelation at some lags, and the effective sample size in rows."""
    rows = []
    for target in profile["targets"]:
        by_lag = dict(zip(target["lags"], target["autocorrelation"], strict=True))
        shown = {f"lag {lag}": f"{by_lag[lag]:+.3f}" for lag in (1, 2, 5, 10) if lag in by_lag}
        rows.append({"target": target["name"], **shown, "effective sample size": f"{target['independent_rows']:,.0f}"})
    return pd.DataFrame(rows)


def features(profile: Json) -> pd.DataFrame:
    """Return a row per market and feature: shape, bytes, non-finite numbers, and the range of its channels."""
    return pd.DataFrame(
        [
            _named(market)
            | {
                "feature": feature["name"],
                "shape": "×".join(map(str, feature["shape"])),
                "bytes per row": f"{feature['bytes_per_row']:,}",
                "not finite": f"{feature['nonfinite']:,}",
                "mean": span(*extent.means),
                "sd": span(*extent.deviations),
                "minimum": number(extent.values[0]),
                "maximum": number(extent.values[1]),
            }
            for market, _, some in findings.features_by_market(profile)
            for feature, extent in ((one, findings.feature_range(one)) for one in some)
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
    return {0.0: "minimum", 0.5: "median", 1.0: "maximum"}.get(share, f"{100 * share:g}% quantile")


def rejected(profile: Json) -> pd.DataFrame:
    """Return how many rows were rejected, by reason."""
    return pd.DataFrame(sorted(profile["rejected"].items()), columns=["reason", "rows"])
