"""What a data file holds, as numbers, and the alerts that its profile raises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from .common import Json

GAP_SHARE, NONFINITE_SHARE = 0.01, 0.001
"""Thresholds of alerts: gaps per row, non-finite numbers per number."""

OUTLIER_SHARE, STILL_ROWS, DRIFT, LEAK, SURE_ERRORS = 0.001, 6, 1.0, 0.5, 6.0
"""Thresholds of alerts: share of last steps that are outliers; consecutive rows without a change; change of a mean, in
standard deviations; correlation with a target, since honest features never predict returns that well. The last two
must also exceed SURE_ERRORS standard errors of as many independent rows, because chance goes far in few rows."""

_TENTHS = 10
_SELDOM = 0.5
_FEED_CHANNELS = 4
"""Channels from which a feature counts as a feed, such as open, high, low and close."""

_MOST_CHANNELS = 3


@dataclass(frozen=True)
class Alert:
    """One finding that deserves attention.

    `value` is what was compared with `threshold`, in the unit of its kind: rows ('rejected', 'still', 'zeros'), gaps
    ('gaps', where the threshold is a share of rows), shares from 0 to 1 ('nonfinite', 'outliers'), channels
    ('constant'), a correlation ('leak'), standard deviations ('drift'). `channels` of `feature` are concerned, of
    `all_channels`; `channel` and `horizon` count from 0 and 1. `market` is the one whose rows were looked at, '' where
    rows name none. `line` is a warning of the profile ('data').
    """

    kind: Literal["rejected", "gaps", "nonfinite", "constant", "leak", "outliers", "still", "zeros", "drift", "data"]
    level: Literal["warning", "note"]
    value: float = 0.0
    threshold: float = 0.0
    feature: str = ""
    channels: int = 0
    all_channels: int = 0
    channel: int = 0
    horizon: int = 0
    market: str = ""
    line: str = ""


def alerts(profile: Json) -> list[Alert]:
    """Return the alerts of a profile, warnings first."""
    rows = profile["rows"]
    found: list[Alert] = []
    if rows["rejected"]:
        found.append(Alert("rejected", "warning", rows["rejected"]))
    if profile["gap_count"] > GAP_SHARE * rows["usable"]:
        found.append(Alert("gaps", "warning", profile["gap_count"], GAP_SHARE))
    for name, count, features in features_by_market(profile):
        for feature in features:
            alerts_of_one = (*_channel_alerts(feature, count), *_pass_alerts(feature, count))
            found += [replace(alert, market=name) for alert in alerts_of_one]
    found += [Alert("data", "note", line=line) for line in profile["warnings"]]
    return sorted(found, key=lambda alert: alert.level != "warning")


def features_by_market(profile: Json) -> list[tuple[str, int, list[Json]]]:
    """Return (market, rows, features) of every market, or of all rows, with market '', where rows name none."""
    several = [(market["name"], market["rows"], market["features"]) for market in markets(profile)]
    return several or [("", profile["rows"]["usable"], profile["features"])]


def markets(profile: Json) -> list[Json]:
    """Return what the profile knows of each market; empty where rows name none, and in profiles of earlier versions."""
    return [market for market in profile.get("markets", []) if "features" in market]


def _channel_alerts(feature: Json, rows: int) -> Iterator[Alert]:
    """Yield alerts on missing numbers and on channels that never change."""
    name, channels = feature["name"], len(feature["std"])
    share = feature["nonfinite"] / max(1, rows * feature["bytes_per_row"] // 4)
    if share > NONFINITE_SHARE:
        yield Alert("nonfinite", "warning", share, NONFINITE_SHARE, name)
    constant = sum(spread == 0 for spread in feature["std"])
    if constant:
        yield Alert("constant", "note", constant, 0, name, channels=constant, all_channels=channels)


def _pass_alerts(feature: Json, rows: int) -> Iterator[Alert]:
    """Yield alerts on what the pass over the rows found in one feature."""
    name, channels, correlation = feature["name"], len(feature["zero_share"]), feature["correlation"] or 0.0
    if abs(correlation) > LEAK and abs(correlation) * rows**0.5 > SURE_ERRORS:
        channel, horizon = feature["correlated_channel"], feature["correlated_horizon"] + 1
        yield Alert("leak", "warning", correlation, LEAK, name, channel=channel, horizon=horizon)
    if feature["outlier_share"] > OUTLIER_SHARE:
        yield Alert("outliers", "warning", feature["outlier_share"], OUTLIER_SHARE, name)
    if channels >= _FEED_CHANNELS and STILL_ROWS <= feature["longest_still_rows"] < rows:
        yield Alert("still", "warning", feature["longest_still_rows"], STILL_ROWS, name)
    zeros = zip(feature["zero_share"], feature["longest_zero"], strict=True)
    longest = max((stretch for share, stretch in zeros if share < _SELDOM), default=0)
    if longest >= STILL_ROWS:
        yield Alert("zeros", "note", longest, STILL_ROWS, name)
    # By chance: the difference of two means, each over a tenth of the rows.
    by_chance = SURE_ERRORS * (2 * _TENTHS / max(rows, 1)) ** 0.5
    moved = [abs(drift) for drift in feature["drift"] if abs(drift) > max(DRIFT, by_chance)]
    if moved:
        yield Alert("drift", "note", max(moved), DRIFT, name, channels=len(moved), all_channels=channels)


def numbers_per_row(profile: Json) -> int:
    """Return how many float32 numbers the features of a row hold."""
    return sum(feature["bytes_per_row"] for feature in profile["features"]) // 4


def is_part_of_file(profile: Json) -> bool:
    """Return whether the profile covers only the file's first rows."""
    return bool(profile.get("max_rows")) and profile["rows"]["read"] == profile["max_rows"]


@dataclass(frozen=True)
class FeatureRange:
    """Extremes over the channels of a feature, as (lowest, highest); `values` are those of all numbers."""

    means: tuple[float, float]
    deviations: tuple[float, float]
    values: tuple[float, float]


def feature_range(feature: Json) -> FeatureRange:
    """Return the range of a feature's means, standard deviations and values."""
    means, deviations = ((min(feature[key]), max(feature[key])) for key in ("mean", "std"))
    return FeatureRange(means, deviations, (min(feature["min"]), max(feature["max"])))


@dataclass(frozen=True)
class Extremes:
    """The largest over the channels of a feature: `drift` in standard deviations with its sign, `zero_rows` at 0."""

    drift: float
    zero_rows: int


def extremes(feature: Json) -> Extremes:
    """Return the largest drift by size, and the longest run of rows at 0, over the channels of a feature."""
    return Extremes(max(feature["drift"], key=abs, default=0.0), max(feature["longest_zero"], default=0))


@dataclass(frozen=True)
class NonfinitePlaces:
    """Where a feature's numbers are NaN or infinite.

    `count` in all, `in_last_step` of them in the last step; `first_step` and `last_step` from 0 of `steps`; `channels`
    holds (channel from 0, count) of the channels with the most, in descending order.
    """

    feature: str
    count: int
    first_step: int
    last_step: int
    steps: int
    in_last_step: int
    channels: list[tuple[int, int]]


def nonfinite_places(profile: Json) -> list[NonfinitePlaces]:
    """Return the places of non-finite numbers, by feature; only features that have some."""
    found = []
    for feature in profile["features"]:
        by_step, by_channel = feature["nonfinite_by_step"], feature["nonfinite_by_channel"]
        steps = [step for step, count in enumerate(by_step) if count]
        if steps:
            most = sorted(enumerate(by_channel), key=lambda pair: -pair[1])[:_MOST_CHANNELS]
            channels = [(channel, count) for channel, count in most if count]
            where = (steps[0], steps[-1], len(by_step), by_step[-1])
            found.append(NonfinitePlaces(feature["name"], sum(by_channel), *where, channels))
    return found


@dataclass(frozen=True)
class Channel:
    """One channel of a feature: `number` from 0, its name or '', statistics of all its numbers, and of its last steps.

    `missing_share` is from 0 to 1, `drift` in standard deviations; `histogram` and `path` as in FeatureExamination.
    """

    number: int
    name: str
    mean: float
    std: float
    low: float
    high: float
    missing_share: float
    drift: float
    histogram: list[int]
    path: list[float | None]


def channels(feature: Json, rows: int) -> list[Channel]:
    """Return the channels of a feature; none where its profile has no histogram of each."""
    names = feature.get("names") or [""] * len(feature["mean"])
    numbers = max(1, rows * len(feature["nonfinite_by_step"]))
    return [
        Channel(number, name, mean, std, low, high, missing / numbers, drift, histogram, path)
        for number, (name, mean, std, low, high, missing, drift, histogram, path) in enumerate(
            zip(
                names, feature["mean"], feature["std"], feature["min"], feature["max"],
                feature["nonfinite_by_channel"], feature["drift"], feature["histograms"], feature["path"], strict=True,
            )
        )
    ] if feature.get("histograms") else []  # fmt: skip
