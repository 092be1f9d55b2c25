"""Pieces of HTML on what a data file holds: alerts with their level, and every channel with its path and histogram."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Any

from ..units import count_of
from . import tables
from .figures.palette import PRICE, QUIET, class_of
from .figures.style import notebook_style
from .findings.common import Json
from .findings.data import Channel, channels
from .tables.common import number, rounded
from .text import legible

_WIDTH, _HEIGHT = 120, 28
_STROKE, _FILL = f"s{class_of(PRICE)[1:]}", f"f{class_of(QUIET)[1:]}"
_MOST_FEATURES = 200
_WARNED_DRIFT, _TOLD_SHARE = 1.0, 5e-5
_HEAD = ("channel", "over time", "histogram", "mean", "sd", "lowest", "highest", "missing", "drift, sd")


def alert_list(profile: Json) -> Any:
    """Return the alerts as a notebook shows them: warnings first, those with the same next step together."""
    found: list[Any] = tables.alerts(profile).to_dict("records")
    if not found:
        return _shown('<p class="good">Nothing: no row is rejected, no threshold is passed.</p>')
    groups = groupby(found, key=lambda one: (one["level"], one["threshold"], one["next step"]))
    return _shown(f'<ul class="alerts">{"".join(_alert(*key, list(some)) for key, some in groups)}</ul>')


def _alert(level: str, threshold: str, step: str, some: Sequence[dict[str, str]]) -> str:
    lines = "<br>".join(_text(one["finding"]) for one in some)
    beside = f'<span class="beside">threshold: {_text(threshold)}; next: {_text(step)}</span>'
    return f'<li><span class="badge {level}">{level}</span><div>{lines}{beside}</div></li>'


def channel_list(profile: Json) -> Any:
    """Return all channels as a notebook shows them, one folded table per feature; the first is open."""
    known = [one for one in profile["features"] if one.get("histograms")]
    if not known:
        return _shown("<p>There are too many channels to show each; the table above has their ranges.</p>")
    rows = profile["rows"]["usable"]
    parts = [_feature(one, channels(one, rows), is_open=at == 0) for at, one in enumerate(known[:_MOST_FEATURES])]
    return _shown("".join(parts))


def _feature(feature: Json, some: Sequence[Channel], *, is_open: bool) -> str:
    shape = "×".join(map(str, feature["shape"]))
    head = f"<strong>{_text(feature['name'])}</strong> {shape}{''.join(_remarks(feature, some))}"
    titles = "".join(f"<th>{title}</th>" for title in _HEAD)
    body = "".join(_row(one) for one in some)
    table = f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
    return f"<details{' open' if is_open else ''}><summary>{head}</summary>{table}</details>"


def _remarks(feature: Json, some: Sequence[Channel]) -> Iterator[str]:
    """Yield what makes one open a folded table."""
    missing = sum(one.missing_share > 0 for one in some)
    still = sum(one.std == 0 for one in some)
    moved = sum(abs(one.drift) > _WARNED_DRIFT for one in some)
    if missing:
        yield f"; {count_of(missing, 'channel')} with missing numbers"
    if still:
        yield f"; {count_of(still, 'channel')} without change"
    if moved:
        yield f"; {count_of(moved, 'channel')} drifted by more than {_WARNED_DRIFT:g} sd"
    if feature["outlier_share"] >= _TOLD_SHARE:
        yield f"; {feature['outlier_share']:.2%} outliers"


def _row(one: Channel) -> str:
    name = f"{one.number} {_text(one.name)}" if one.name else str(one.number)
    missing = f"{one.missing_share:.2%}" if one.missing_share else "-"
    drift = rounded(one.drift, "+.1f")
    drift = f"<strong>{drift}</strong>" if abs(one.drift) > _WARNED_DRIFT else drift
    numbers = "".join(f"<td>{number(value)}</td>" for value in (one.mean, one.std, one.low, one.high))
    drawn = f"<td>{_path(one.path)}</td><td>{_histogram(one.histogram)}</td>"
    return f"<tr><th scope='row'>{name}</th>{drawn}{numbers}<td>{missing}</td><td>{drift}</td></tr>"


def _path(path: Sequence[float | None]) -> str:
    """Return means over time as a line, with a gap where none is known."""
    known = [value for value in path if value is not None]
    if not known:
        return "-"
    low, high = min(known), max(known)
    scale = (_HEIGHT - 4) / (high - low) if high > low else 0.0
    across = _WIDTH / max(1, len(path) - 1)
    points, command = [], "M"
    for at, value in enumerate(path):
        if value is None:
            command = "M"
            continue
        points.append(f"{command}{across * at:.0f} {_HEIGHT - 2 - scale * (value - low):.1f}")
        command = "L"
    text = f"from {number(known[0])} to {number(known[-1])}, between {number(low)} and {number(high)}"
    return _drawing(f'<path class="{_STROKE}" stroke-width="1.5" d="{"".join(points)}"/>', text)


def _histogram(counts: Sequence[int]) -> str:
    """Return counts as one filled shape."""
    most, width = max(counts), _WIDTH / len(counts)
    if not most:
        return "-"
    shape = f"M0 {_HEIGHT}"
    for at, count in enumerate(counts):
        shape += f"V{_HEIGHT - _HEIGHT * count / most:.1f}H{width * (at + 1):.0f}"
    edges = sum(counts[:1]) + sum(counts[-1:])
    text = f"last steps within 5 standard deviations of the mean; {edges / max(1, sum(counts)):.2%} in the outer bins"
    return _drawing(f'<path class="{_FILL}" d="{shape}V{_HEIGHT}Z"/>', text)


def _drawing(content: str, text: str) -> str:
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    return f'<svg class="spark" {size} role="img" aria-label="{text}">{content}<title>{text}</title></svg>'


def _text(text: str) -> str:
    return escape(legible(text), quote=False)


def _shown(content: str) -> Any:
    from IPython.display import HTML

    return HTML(f'<style>{notebook_style()}</style><div class="chart block">{content}</div>')
