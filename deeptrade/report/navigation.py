"""How one gets from page to page of a run, and to the parts of a page: links that work from disk and inside a zip."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape, unescape
from pathlib import Path

from ..files import atomic_write
from ..run_folder import RunFolder

TITLES = {
    "01_profile_dataset": "What the file holds",
    "02_auto_optimize": "Settings that fit",
    "03_train": "How training went",
    "04_memory_report": "Where the memory went",
    "07_trading_agent": "What an agent would earn",
}
"""Notebooks of a run, as readers know their pages."""

OVERVIEW = "Overview"

_SLOT = re.compile(r'(<nav class="(pages|turn)"[^>]*>).*?(</nav>)', re.DOTALL)
_HEADING = re.compile(r"<h2\b([^>]*)>(.*?)</h2>", re.DOTALL)
_LEAST_HEADINGS = 4


@dataclass(frozen=True)
class Stop:
    """A page that exists: its title, its file for readers, and the one with code, '' where there is none."""

    title: str
    reader: str
    full: str = ""


def stops(folder: Path) -> list[Stop]:
    """Return the pages of a run that exist, in order, the first page first."""
    found = RunFolder(folder)
    told = [Stop(OVERVIEW, found.index.name)] if found.index.exists() else []
    for name in TITLES:
        reader, full = (page.name if page.exists() else "" for page in _both(found, name))
        if reader or full:
            told.append(Stop(TITLES[name], reader or full, full))
    return told


def _both(found: RunFolder, name: str) -> tuple[Path, Path]:
    return found.page(name, code=False), found.page(name, code=True)


def link_pages(folder: Path) -> None:
    """Write links to all pages of a run into each of them, in place of those that were there."""
    known = stops(folder)
    for at, stop in enumerate(known):
        for name in {stop.reader, stop.full} - {""}:
            page = folder / name
            text = page.read_text(encoding="utf-8")
            slots = {"pages": _all_pages(known, at, is_full=name != stop.reader), "turn": _neighbours(known, at)}
            linked = _SLOT.sub(partial(_fill, slots=slots), text)
            if linked != text:
                with atomic_write(page) as file:
                    file.write(linked.encode())


def _fill(slot: re.Match[str], slots: Mapping[str, str]) -> str:
    return f"{slot[1]}{slots[slot[2]]}{slot[3]}"


def _all_pages(known: Sequence[Stop], here: int, *, is_full: bool) -> str:
    """Return links to all pages, this one marked, and to this one's other form."""
    parts = []
    for at, stop in enumerate(known):
        current = ' aria-current="page"' if at == here else ""
        parts.append(f'<a href="{stop.full if at == here and is_full else stop.reader}"{current}>{stop.title}</a>')
    stop = known[here]
    if stop.full and stop.full != stop.reader:
        other, text = (stop.reader, "without code") if is_full else (stop.full, "with code")
        parts.append(f'<a class="form" href="{other}">{text}</a>')
    return "".join(parts)


def _neighbours(known: Sequence[Stop], here: int) -> str:
    parts = []
    if here:
        parts.append(f'<a rel="prev" href="{known[here - 1].reader}">\N{LEFTWARDS ARROW} {known[here - 1].title}</a>')
    if here + 1 < len(known):
        parts.append(f'<a rel="next" href="{known[here + 1].reader}">{known[here + 1].title} \N{RIGHTWARDS ARROW}</a>')
    return "".join(parts)


def with_contents(body: str) -> str:
    """Return a body whose headings have anchors; before the first of several stand links to all."""
    found: dict[str, str] = {}

    def anchor(match: re.Match[str]) -> str:
        text = unescape(re.sub(r"<[^>]*>", "", match[2])).strip()
        slug = re.sub(r"\W+", "-", text.lower()).strip("-") or "part"
        while slug in found:
            slug += "-again"
        found[slug] = text
        rest = re.sub(r'\s*\bid="[^"]*"', "", match[1])
        return f'<h2 id="{slug}"{rest}>{match[2]}</h2>'

    body = _HEADING.sub(anchor, body)
    if len(found) < _LEAST_HEADINGS:
        return body
    items = "".join(f'<li><a href="#{slug}">{escape(text, quote=False)}</a></li>' for slug, text in found.items())
    contents = f'<nav aria-label="contents"><ul>{items}</ul></nav>'
    before, heading, after = body.partition("<h2 ")
    return f'{before}<details class="contents" open><summary>On this page</summary>{contents}</details>{heading}{after}'
