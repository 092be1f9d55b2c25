"""The numbers of a run that are read first, as tiles: skill, income, memory, rate; and what its settings changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..judging.costs import TOLD_FEE, AfterCosts
from ..judging.evaluation import Evaluation
from ..judging.verdict import horizon_name
from ..settings import FitSettings
from ..units import count_of, format_bytes, format_seconds
from .findings.memory import limit_use, peak_sample
from .run_files import RunFiles
from .tables.costs import basis_points

_CHOSEN_BY_PLACE = {"csv", "out", "store", "plan"}
"""Settings that say where things are: they differ in every run."""


@dataclass(frozen=True)
class Tile:
    """One number: its name, itself, and what it is to be read beside; `share` of a whole is shown as a bar."""

    name: str
    value: str
    note: str
    share: float | None = None


def tiles(found: RunFiles) -> list[Tile]:
    """Return the tiles of a run, those whose number is known."""
    known = (_skill(found.judged), _income(found.judged.costs), _memory(found), _rate(found))
    return [tile for tile in known if tile is not None]


def walk_tiles(judged: Evaluation) -> list[Tile]:
    """Return the tiles of a walk, those whose number is known."""
    known = (_skill(judged), _folds(judged), _income(judged.costs), _break_even(judged.costs))
    return [tile for tile in known if tile is not None]


def _folds(judged: Evaluation) -> Tile | None:
    """Return in how many folds the rank IC at the shortest horizon is above zero."""
    ranks = [one.rank_ic for one in judged.folds if one.rank_ic is not None and one.horizon == 1]
    if not ranks:
        return None
    above = sum(rank > 0 for rank in ranks)
    return Tile("Folds above zero", f"{above} of {len(ranks)}", f"by the rank IC {horizon_name(1, judged.step)} ahead")


def _break_even(costs: AfterCosts) -> Tile | None:
    sign = costs.of("sign")
    if sign is None or sign.break_even_fee is None:
        return None
    value = f"{basis_points(round(sign.break_even_fee, 5))} bp" if sign.break_even_fee > 0 else "at no fee"
    return Tile("Breaks even at", value, "a change of position, by the sign of the forecast")


def _skill(judged: Evaluation) -> Tile | None:
    """Return the rank IC at the shortest horizon: the one that is traded on, so not one chosen for its luck."""
    scores = [one for one in judged.of("rank_ic") if one.value is not None]
    if not scores:
        return None
    first = scores[0]
    name = f"Rank IC, {horizon_name(first.horizon, judged.step)} ahead"
    if first.low is None or first.high is None:
        return Tile(name, f"{first.value:.3f}", "too few independent rows for an interval; 0 is no skill")
    return Tile(name, f"{first.value:.3f}", f"95% interval {first.low:.3f} to {first.high:.3f}; 0 is no skill")


def _income(costs: AfterCosts) -> Tile | None:
    sign, long = costs.of("sign"), costs.of("long")
    if sign is None or long is None:
        return None
    name = f"Income after {basis_points(TOLD_FEE)} bp a change"
    note = f"% of the stake in {count_of(round(costs.days), 'day')}, by the sign of the forecast; "
    few = "; too few independent steps to tell" if sign.low is None else ""
    return Tile(name, f"{100 * sign.income:+.1f}%", f"{note}always long {100 * long.income:+.1f}%{few}")


def _memory(found: RunFiles) -> Tile | None:
    limit_bytes, source = found.limit
    if not limit_bytes or not found.samples:
        return None
    peak = peak_sample(found.samples).anon_bytes
    use = limit_use(peak, limit_bytes)
    note = f"{use.used_share:.0%} of the limit of {format_bytes(limit_bytes)} ({source})"
    return Tile("Peak memory", format_bytes(peak), note, share=min(1.0, use.used_share))


def _rate(found: RunFiles) -> Tile | None:
    time = (found.result or {}).get("time", {})
    if not time.get("step_seconds_median"):
        return None
    rate = (found.result or {})["effective_batch"] / time["step_seconds_median"]
    return Tile("Rows per second", f"{rate:,.0f}", f"in training steps; {format_seconds(time['wall_seconds'])} in all")


def judged_line(found: RunFiles) -> str:
    """Return when the rows that judge were, and how many; '' where nothing was judged."""
    verdict = found.judged.verdict
    if verdict is None or not verdict.begin:
        return ""
    rows = (found.result or {}).get("rows", {})
    trained = f", after training on {count_of(rows['trained'], 'row')}" if rows.get("trained") else ""
    return f"Judged on {count_of(verdict.rows, 'row')} from {verdict.begin[:10]} to {verdict.end[:10]}{trained}."


def split_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings that differ from the defaults, and all others."""
    defaults = {item.name: item.default for item in fields(FitSettings)}
    changed = dict(_changed(settings, defaults))
    return changed, {name: value for name, value in settings.items() if name not in changed}


def _changed(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if name == "csv" or (name not in _CHOSEN_BY_PLACE and name in defaults and value != defaults[name]):
            yield name, value
