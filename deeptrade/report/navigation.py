"""How one gets from page to page of a run, and to the parts of a page: links that work from disk and inside a zip."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote

from ..files import atomic_write
from ..run_folder import RunFolder

TITLES = {
    "00_explore": "A first look",
    "01_profile_dataset": "What the file holds",
    "02_auto_optimize": "Settings that fit",
    "03_train": "How training went",
    "04_memory_report": "Where the memory went",
    "07_trading_agent": "What an agent would earn",
}
"""Notebooks of a run, as readers know their pages."""

OVERVIEW, ON_ONE_PAGE, COMPARISON = "Overview", "All on one page", "Comparison of runs"

_SLOT = re.compile(r'(<nav class="(pages|turn)"[^>]*>).*?(</nav>)', re.DOTALL)
_HEADING = re.compile(r"<h2\b([^>]*)>(.*?)</h2>", re.DOTALL)
_LEAST_HEADINGS = 4
_MOST_LINKS = 9
"""Links that are shown; of more pages, only the first and the one that is read, and the others on request."""


@dataclass(frozen=True)
class Stop:
    """A page that exists: its title, its file for readers, and the one with code, '' where there is none.

    Files are named from the folder of all pages, with slashes.
    """

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
    if found.report.exists():
        told.append(Stop(ON_ONE_PAGE, found.report.name))
    if told and found.comparison_page.exists():  # else it is of runs elsewhere, and has links to those
        told.append(Stop(COMPARISON, found.comparison_page.name))
    return told


def _both(found: RunFolder, name: str) -> tuple[Path, Path]:
    return found.page(name, code=False), found.page(name, code=True)


def link_pages(folder: Path) -> None:
    """Write links to all pages of a run into each of them, in place of those that were there.

    Where runs are compared in the folder above, as those of a grid are, the page that does so is linked too.
    """
    above = Path("..") / RunFolder(folder.parent).comparison_page.name
    link_stops(folder, stops(folder), above=above.as_posix() if (folder / above).exists() else "")


def link_stops(folder: Path, known: Sequence[Stop], *, above: str = "") -> None:
    """Write links to all these pages into each of them; `above` is that of a page which compares several runs."""
    for at, stop in enumerate(known):
        for name in {stop.reader, stop.full} - {""}:
            page = folder / name
            text = page.read_text(encoding="utf-8")
            slots = {
                "pages": _all_pages(known, at, is_full=name != stop.reader, above=above),
                "turn": _neighbours(known, at),
            }
            linked = _SLOT.sub(partial(_fill, slots=slots), text)
            if linked != text:
                with atomic_write(page) as file:
                    file.write(linked.encode())


def _fill(slot: re.Match[str], slots: Mapping[str, str]) -> str:
    return f"{slot[1]}{slots[slot[2]]}{slot[3]}"


def _all_pages(known: Sequence[Stop], here: int, *, is_full: bool, above: str) -> str:
    """Return links to all pages, this one marked, and to this one's other form; '' where there is no other page."""
    stop = known[here]
    parts = [f'<a href="{_from(stop, above)}">{COMPARISON}</a>'] if above else []
    links = [_link(stop, one, is_full=is_full) for one in known]
    if len(links) > _MOST_LINKS:
        shown = {0, here}
        parts += [links[at] for at in sorted(shown)]
        rest = " ".join(link for at, link in enumerate(links) if at not in shown)
        parts.append(f"<details><summary>{len(links)} pages</summary>{rest}</details>")
    elif len(links) > 1:
        parts += links
    if stop.full and stop.full != stop.reader:
        other, text = (stop.reader, "without code") if is_full else (stop.full, "with code")
        parts.append(f'<a class="form" href="{_from(stop, other)}">{text}</a>')
    return "".join(parts)


def _link(stop: Stop, one: Stop, *, is_full: bool) -> str:
    current = ' aria-current="page"' if one is stop else ""
    file = one.full if one is stop and is_full else one.reader
    return f'<a href="{_from(stop, file)}"{current}>{_text(one)}</a>'


def _neighbours(known: Sequence[Stop], here: int) -> str:
    parts, stop = [], known[here]
    if here:
        before = known[here - 1]
        parts.append(f'<a rel="prev" href="{_from(stop, before.reader)}">\N{LEFTWARDS ARROW} {_text(before)}</a>')
    if here + 1 < len(known):
        after = known[here + 1]
        parts.append(f'<a rel="next" href="{_from(stop, after.reader)}">{_text(after)} \N{RIGHTWARDS ARROW}</a>')
    return "".join(parts)


def _from(stop: Stop, file: str) -> str:
    """Return a file's name as the page of a stop, which may lie in a folder below, has to call it."""
    return quote(posixpath.relpath(file, posixpath.dirname(stop.reader) or "."))


def _text(stop: Stop) -> str:
    return escape(stop.title, quote=False)


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
