"""Remove from pages what must not leave the machine: addresses, scripts, folders, names of user and host."""

from __future__ import annotations

import getpass
import os
import re
import socket
from html import escape, unescape

from ..files import shorten_home

_TAG = re.compile(r"""(<!--.*?-->|</?[a-zA-Z](?:"[^"]*"|'[^']*'|[^>"'])*>)""", re.DOTALL)
_ATTRIBUTE = re.compile(r"""\s+([^\s=>"'/]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?""")
_ACTIVE = re.compile(
    r"<(script|style|iframe|object|embed|template)\b.*?</\1\s*>|<(link|meta|base)\b[^>]*>", re.I | re.S
)
_FOREIGN = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:|/|\\)", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w./~])(?:file://)?(?:~(?:/[\w.@+~*?-]+)+|(?:/[\w.@+~*?-]+){2,})/?")
_LINKS = {"href", "src", "srcset", "action", "formaction", "poster", "data", "background", "xlink:href"}
_NAMES = {"class", "id", "style"}


def clean(html: str) -> str:
    """Return a piece of HTML with text and attributes scrubbed, without scripts, styles and external addresses.

    Links within the page and to files next to it stay, and so do embedded images. Do not pass our own style sheet.
    """
    parts = _TAG.split(_ACTIVE.sub("", html))
    for at in range(0, len(parts), 2):
        parts[at] = _scrub_escaped(parts[at])
    for at in range(1, len(parts), 2):
        parts[at] = "" if parts[at].startswith("<!--") else _clean_tag(parts[at])
    return "".join(parts)


def scrub(text: str) -> str:
    """Return plain text without the home folder and the names of user and host; only whole words, and not 'root'.

    Absolute paths are reduced to their last part: /data/x/market.csv becomes market.csv.
    """
    text = _PATH.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], shorten_home(text))
    for name in sorted(_private_names(os.path.expanduser("~")), key=len, reverse=True):  # box.example before box
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "...", text)
    return text


def _private_names(home: str) -> set[str]:
    host = socket.gethostname()
    names = {os.path.basename(home), host, host.partition(".")[0], _user()}
    return names - {"root", "", "~", "localhost"}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id may have no name
        return ""


def _scrub_escaped(text: str) -> str:
    """Return text from between tags, scrubbed; text that needs no change keeps its escapes."""
    plain = unescape(text)
    scrubbed = scrub(plain)
    return text if scrubbed == plain else escape(scrubbed, quote=False)


def _clean_tag(tag: str) -> str:
    return tag if "=" not in tag else _ATTRIBUTE.sub(_clean_attribute, tag)


def _clean_attribute(match: re.Match[str]) -> str:
    name, value = match[1].lower(), unescape((match[2] or "").strip("\"'"))
    if name in _LINKS and value.startswith("data:image/"):
        return match[0]
    if name.startswith(("on", "xmlns")) or (name in _LINKS and _FOREIGN.match(value)):
        return ""
    if name == "style" and re.search(r"url\(|expression\(", value):
        return ""
    if name in _NAMES | _LINKS:
        return match[0]
    scrubbed = scrub(re.sub(r"https?://", "", value))
    return match[0] if scrubbed == value else f' {match[1]}="{escape(scrubbed)}"'
