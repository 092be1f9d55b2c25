"""Remove from pages what must not leave the machine: addresses, scripts, folders, names of user and host."""

from __future__ import annotations

import getpass
import os
import re
import socket
from functools import partial
from html import escape, unescape

from ..files import shorten_home

_TAG = re.compile(r"""(<!--.*?-->|</?[a-zA-Z](?:"[^"]*"|'[^']*'|[^>"'])*>)""", re.DOTALL)
_ATTRIBUTE = re.compile(r"""\s+([^\s=>"'/]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?""")
_ACTIVE = re.compile(
    r"<(script|style|iframe|object|embed|template)\b.*?</\1\s*>|<(link|meta|base)\b[^>]*>", re.I | re.S
)
_FOREIGN = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:|/|\\)", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w./~])(?:file://)?(?:~(?:/[\w.@+~*?-]+)+|(?:/[\w.@+~*?-]+){2,})/?")
_SUSPECT = re.compile(
    r"\s(?:on|xmlns|href|src|action|formaction|poster|data|background|xlink|style)|[/~][^>]|[&:]", re.IGNORECASE
)
"""What a tag has of which an attribute has to be looked at: of a drawing's thousands, few do."""

_LINKS = {"href", "src", "srcset", "action", "formaction", "poster", "data", "background", "xlink:href"}
_NAMES = {"class", "id", "style"}


def clean(html: str) -> str:
    """Return a piece of HTML with text and attributes scrubbed, without scripts, styles and external addresses.

    Links within the page and to files next to it stay, and so do embedded images. Do not pass our own style sheet.
    """
    names = _private_names()  # asked for once: a page with drawings has thousands of tags
    parts = _TAG.split(_ACTIVE.sub("", html))
    for at in range(0, len(parts), 2):
        parts[at] = _scrub_escaped(parts[at], names)
    for at in range(1, len(parts), 2):
        parts[at] = "" if parts[at].startswith("<!--") else _clean_tag(parts[at], names)
    return "".join(parts)


def scrub(text: str) -> str:
    """Return plain text without the home folder and the names of user and host; only whole words, and not 'root'.

    Absolute paths are reduced to their last part: /data/x/market.csv becomes market.csv.
    """
    return _without(text, _private_names())


def _without(text: str, names: re.Pattern[str] | None) -> str:
    if "/" in text or "~" in text:
        text = _PATH.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], shorten_home(text))
    return text if names is None else names.sub("...", text)


def _private_names() -> re.Pattern[str] | None:
    """Return what finds the names of user and host; None where there are none to hide."""
    home, host = os.path.expanduser("~"), socket.gethostname()
    names = {os.path.basename(home), host, host.partition(".")[0], _user()} - {"root", "", "~", "localhost"}
    found = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))  # box.example before box
    return re.compile(rf"(?<!\w)(?:{found})(?!\w)") if found else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id may have no name
        return ""


def _scrub_escaped(text: str, names: re.Pattern[str] | None) -> str:
    """Return text from between tags, scrubbed; text that needs no change keeps its escapes."""
    plain = unescape(text)
    scrubbed = _without(plain, names)
    return text if scrubbed == plain else escape(scrubbed, quote=False)


def _clean_tag(tag: str, names: re.Pattern[str] | None) -> str:
    if "=" not in tag or not (_SUSPECT.search(tag) or (names and names.search(tag))):
        return tag
    return _ATTRIBUTE.sub(partial(_clean_attribute, names=names), tag)


def _clean_attribute(match: re.Match[str], names: re.Pattern[str] | None) -> str:
    name, value = match[1].lower(), unescape((match[2] or "").strip("\"'"))
    if name in _LINKS and value.startswith("data:image/"):
        return match[0]
    if name.startswith(("on", "xmlns")) or (name in _LINKS and _FOREIGN.match(value)):
        return ""
    if name == "style" and re.search(r"url\(|expression\(", value):
        return ""
    if name in _NAMES | _LINKS:
        return match[0]
    scrubbed = _without(re.sub(r"https?://", "", value), names)
    return match[0] if scrubbed == value else f' {match[1]}="{escape(scrubbed)}"'
