"""What a data file holds: the profile as tables, and what in it deserves a look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from ...profiles.examination import OUTLIER
from ...units import format_bytes
from .common import Json, number, pairs, percent, span

GAP_SHARE, NONFINITE_SHARE = 0.01, 0.001
"""Thresholds of alerts: gaps per row, non-finite numbers per number."""

OUTLIER_SHARE, STILL_ROWS, DRIFT, LEAK, SURE_ERRORS = 0.001, 6, 1.0, 0.5, 6.0
"""Thresholds of alerts: last steps beyond so many deviations; rows in a row without news; a mean that moved, in
deviations; a correlation with a target: returns are never told that well; and for the last two, their size in
standard errors of as many independent rows, since in few rows chance goes far."""

_TENTHS = 10

_MOST_ALIKE = 4
"""Alerts of one kind that are told one by one; of a file with hundreds of features, the rest are counted."""

_FEED_CHANNELS = 4
"""Channels from which a feature counts as a feed, such as open, high, low and close."""


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
    first = profile.get("max_rows") and profile["rows"]["read"] == profile["max_rows"]
    return f"Of {profile['name']} only the first rows were looked at:" if first else f"{profile['name']} holds"


def overview(profile: Json) -> pd.DataFrame:
    """Return what the file holds as (what, value)."""
    step = profile["step_seconds"]
    return pairs(
        {
            "rows read": f"{profile['rows']['read']:,}",
            "rows usable": f"{profile['rows']['usable']:,}",
            "rows rejected": f"{profile['rows']['rejected']:,}",
            "features": len(profile["features"]),
            "numbers per row": f"{sum(f['bytes_per_row'] for f in profile['features']) // 4:,}",
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
    rows = profile["rows"]
    found: list[tuple[str, str, str, str]] = []
    if rows["rejected"]:
        found.append(
            ("warning", f"{rows['rejected']:,} rows are rejected", "any", "see ledger.csv: line, column and reason")
        )
    if profile["gap_count"] > GAP_SHARE * rows["usable"]:
        found.append(
            ("warning", f"{profile['gap_count']:,} gaps in time", f"{GAP_SHARE:.0%} of rows", "check the source")
        )
    for feature in profile["features"]:
        numbers = max(1, rows["usable"] * feature["bytes_per_row"] // 4)
        if feature["nonfinite"] > NONFINITE_SHARE * numbers:
            what = f"{feature['nonfinite'] / numbers:.1%} of {feature['name']} is NaN or infinite"
            found.append(("warning", what, f"{NONFINITE_SHARE:.1%}", "leave it out with --features, or mend it"))
        constant = sum(spread == 0 for spread in feature["std"])
        if constant:
            what = f"{constant} of {len(feature['std'])} channels of {feature['name']} never change"
            found.append(("note", what, "standard deviation 0", "they teach nothing; the model scales them by 1"))
        found += _examined_alerts(feature, rows["usable"])
    found += [("note", line, "any", "nothing to do where it is meant so") for line in profile["warnings"]]
    found.sort(key=lambda alert: alert[0] != "warning")
    return pd.DataFrame(_counted(found), columns=["level", "what", "threshold", "next step"])


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


def _examined_alerts(feature: Json, rows: int) -> Iterator[tuple[str, str, str, str]]:
    """Alerts on what the pass over the rows found of one feature."""
    name, correlation = feature["name"], feature["correlation"] or 0.0
    if abs(correlation) > LEAK and abs(correlation) * rows**0.5 > SURE_ERRORS:
        target = f"y_{feature['correlated_horizon'] + 1}"
        what = f"channel {feature['correlated_channel']} of {name} has correlation {correlation:.2f} with {target}"
        yield (
            "warning",
            what,
            f"{LEAK:g}",
            "it may know the future: see how it is made, or do without it",
        )
    if feature["outlier_share"] > OUTLIER_SHARE:
        what = f"{feature['outlier_share']:.1%} of {name} is more than {OUTLIER:g} standard deviations from its mean"
        yield (
            "warning",
            what,
            f"{OUTLIER_SHARE:.1%}",
            "see its least and most below: errors of a feed look like this",
        )
    channels = len(feature["zero_share"])
    if channels >= _FEED_CHANNELS and STILL_ROWS <= feature["longest_still_rows"] < rows:
        what = f"all channels of {name} stand still for {feature['longest_still_rows']} rows in a row"
        yield "warning", what, f"{STILL_ROWS} rows", "a feed may have stopped: see what was recorded then"
    zeros = zip(feature["zero_share"], feature["longest_zero"], strict=True)
    longest = max((stretch for share, stretch in zeros if share < 0.5), default=0)
    if longest >= STILL_ROWS:
        what = f"a channel of {name} that is seldom 0 is 0 for {longest} rows in a row"
        yield "note", what, f"{STILL_ROWS} rows", "no volume, or no data"
    by_chance = (
        SURE_ERRORS * (2 * _TENTHS / max(rows, 1)) ** 0.5
    )  # the difference of two means, each over a tenth of the rows
    moved = [abs(drift) for drift in feature["drift"] if abs(drift) > max(DRIFT, by_chance)]
    if moved:
        what = (
            f"{len(moved)} of {channels} channels of {name} moved by {max(moved):.1f} standard deviations at most "
            "between the first and the last tenth"
        )
        yield "note", what, f"{DRIFT:g}", "training sees such channels relative to the window's last step"


def examined(profile: Json) -> pd.DataFrame:
    """Return one row per feature: what windows repeat, how long it stands still, how far it moved, what it tells."""
    rows = []
    for feature in profile["features"]:
        steps, correlation = feature["shape"][0], feature["correlation"]
        shared = feature["shared_steps"]
        drift = max(feature["drift"], key=abs, default=0.0)
        told = "-" if correlation is None else f"{correlation:.2f} (y_{feature['correlated_horizon'] + 1})"
        rows.append(
            {
                "feature": feature["name"],
                "next row repeats": "-" if shared is None else f"{shared} of {steps}",
                "beyond 8 sd": f"{feature['outlier_share']:.3%}",
                "still, rows": f"{feature['longest_still_rows']:,}",
                "at 0, rows": f"{max(feature['longest_zero'], default=0):,}",
                "moved, sd": f"{drift:+.2f}",
                "correlation": told,
            }
        )
    return pd.DataFrame(rows)


def nonfinite_places(profile: Json) -> pd.DataFrame:
    """Return where numbers are missing or infinite, by step and channel; empty where none is."""
    rows = []
    for feature in profile["features"]:
        by_step, by_channel = feature["nonfinite_by_step"], feature["nonfinite_by_channel"]
        if not sum(by_channel):
            continue
        steps = [step for step, count in enumerate(by_step) if count]
        channels = sorted(range(len(by_channel)), key=lambda channel: -by_channel[channel])[:3]
        rows.append(
            {
                "feature": feature["name"],
                "not finite": f"{sum(by_channel):,}",
                "steps": f"{steps[0]} to {steps[-1]} of {len(by_step)}" if len(by_step) > 1 else "-",
                "in the last step": f"{by_step[-1]:,}",
                "most in channels": ", ".join(f"{one} ({by_channel[one]:,})" for one in channels if by_channel[one]),
            }
        )
    return pd.DataFrame(rows)


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
                "mean": span(feature["mean"]),
                "sd": span(feature["std"]),
                "least": number(min(feature["min"])),
                "most": number(max(feature["max"])),
            }
            for feature in profile["features"]
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
