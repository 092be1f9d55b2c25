"""What a data file holds: the profile as tables, with alerts on what deserves attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from ...profiles.examination import OUTLIER
from ...units import count_of, format_bytes
from ..findings import data as findings
from ..findings.data import Alert
from .common import Json, number, pairs, percent, span

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
        f"{format_bytes(profile['file_bytes'])} as CSV."
    )


def _subject(profile: Json) -> str:
    """Return the start of a sentence: what holds the rows, the file or only its beginning."""
    return (
        f"The beginning of {profile['name']} holds" if findings.is_part_of_file(profile) else f"{profile['name']} holds"
    )


def overview(profile: Json) -> pd.DataFrame:
    """Return what the file holds, as (property, value)."""
    step = profile["step_seconds"]
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
            "first row": profile["span"]["start"],
            "last row": profile["span"]["end"],
            "time between rows": "only one row" if step is None else f"{step / 60:g} min (median)",
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
            ({"market": gap["market"]} if gap["market"] else {})
            | {
                "last row before": gap["after"],
                "first row after": gap["until"],
                "rows missing": _or_dash(gap["missing_rows"]),
                "targets lost": _or_dash(gap["lost_targets"]),
            }
            for gap in profile["gaps"][:_MOST_GAPS]
        ]
    )


def _or_dash(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


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
        f"{alert.value:.1%} of {alert.feature} is NaN or infinite",
        f"{alert.threshold:.1%}",
        "leave it out with --features, or fix the source",
    ),
    "constant": lambda alert: (
        f"{alert.channels} of {alert.all_channels} channels of {alert.feature} "
        + ("never changes" if alert.channels == 1 else "never change"),
        "standard deviation 0",
        "they carry no information; the model scales them by 1",
    ),
    "leak": lambda alert: (
        f"channel {alert.channel} of {alert.feature} has correlation {alert.value:.2f} with y_{alert.horizon}",
        f"{alert.threshold:g}",
        "it may contain the future: check how it is computed, or leave it out",
    ),
    "outliers": lambda alert: (
        f"{alert.value:.1%} of {alert.feature} is more than {OUTLIER:g} standard deviations from its mean",
        f"{alert.threshold:.1%}",
        "see its minimum and maximum below: feed errors look like this",
    ),
    "still": lambda alert: (
        f"no channel of {alert.feature} changes over {alert.value:.0f} consecutive rows",
        f"{alert.threshold:.0f} rows",
        "a feed may have stopped: check what was recorded then",
    ),
    "zeros": lambda alert: (
        f"a channel of {alert.feature} that is rarely 0 is 0 in {alert.value:.0f} consecutive rows",
        f"{alert.threshold:.0f} rows",
        "no volume, or no data",
    ),
    "drift": lambda alert: (
        f"the means of {alert.channels} of {alert.all_channels} channels of {alert.feature} moved by up to "
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


def examined(profile: Json) -> pd.DataFrame:
    """Return one row per feature: overlap of windows, outliers, unchanged rows, drift, correlation with targets."""
    rows = []
    for feature in profile["features"]:
        steps, correlation = feature["shape"][0], feature["correlation"]
        shared = feature["shared_steps"]
        largest = findings.extremes(feature)
        strongest = "-" if correlation is None else f"{correlation:.2f} (y_{feature['correlated_horizon'] + 1})"
        rows.append(
            {
                "feature": feature["name"],
                "shared with next row": "-" if shared is None else f"{shared} of {steps} steps",
                "beyond 8 sd": f"{feature['outlier_share']:.3%}",
                "rows unchanged": f"{feature['longest_still_rows']:,}",
                "rows at 0": f"{largest.zero_rows:,}",
                "drift (sd)": f"{largest.drift:+.2f}",
                "correlation": strongest,
            }
        )
    return pd.DataFrame(rows)


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
                "minimum": number(extent.values[0]),
                "maximum": number(extent.values[1]),
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
    return {0.0: "minimum", 0.5: "median", 1.0: "maximum"}.get(share, f"{100 * share:g}% quantile")


def rejected(profile: Json) -> pd.DataFrame:
    """Return how many rows were rejected, by reason."""
    return pd.DataFrame(sorted(profile["rejected"].items()), columns=["reason", "rows"])
