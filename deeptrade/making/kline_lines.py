"""The lines of a text file, each a row: a quote never joins two of them, and a header that comes again is no bar."""

from __future__ import annotations

import codecs
import re
from functools import cache
from typing import IO

OPEN_QUOTE = "a quote opens and does not close on its line"
HEADER_AGAIN = "the header again"

_LONGEST_LINE = 1 << 20


class LineReader:
    """A binary file of UTF-8 for pyarrow's reader, with lines of one cell in place of those that hold no row.

    `noted` has them by number, from 1: the text and why it is none. A quote left open would join lines to one cell of
    text, up to the end of a block, and their bars would be lost without a word.
    """

    closed = False

    def __init__(self, file: IO[bytes], *, encoding: str, separator: str, header: str, first_line: int):
        self.noted: dict[int, tuple[str, str]] = {}
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._header, self._first_line = header.encode(), first_line
        self._no_rows = ((self._header, _lines_of(self._header), HEADER_AGAIN),) if header else ()
        self._open_quote = _open_quotes(separator.encode())
        self._ready, self._rest, self._line, self._ended = b"", b"", 1, False

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes of whole or parted lines, none at the end."""
        while not self._ended and (size < 0 or len(self._ready) < size):
            self._ready += self._next(size)
        end = len(self._ready) if size < 0 else size
        taken, self._ready = self._ready[:end], self._ready[end:]
        return taken

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _next(self, size: int) -> bytes:
        raw = self._file.read(size)
        self._ended = not raw
        block = self._rest + self._decoder.decode(raw, final=self._ended).encode()
        if self._ended:
            self._rest = b""
            return self._checked(block if not block or block[-1:] in b"\r\n" else block + b"\n")
        end = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1  # the last \r may precede a \n
        if not end and len(block) > _LONGEST_LINE:
            end = len(block)
        self._rest = block[end:]
        return self._checked(block[:end])

    def _checked(self, block: bytes) -> bytes:
        """The lines with those that hold no row replaced and noted."""
        for mark, pattern, cause in (*self._no_rows, (b'"', self._open_quote, OPEN_QUOTE)):
            if mark in block:
                block = self._replaced(block, pattern, cause)
        self._line += _count(block)
        return block

    def _replaced(self, block: bytes, pattern: re.Pattern[bytes], cause: str) -> bytes:
        """The block with one cell in place of each line that the pattern finds from the first row on."""
        kept, end, line = [], 0, self._line
        for match in pattern.finditer(block):
            start, stop = match.span("line")
            line += _count(block[end:start])
            if start == stop:
                continue
            is_above = line < self._first_line
            kept += [block[end : stop if is_above else start], b"" if is_above else b"-"]
            if not is_above:
                self.noted[line] = (block[start:stop].decode(errors="replace"), cause)
            end = stop
        return b"".join([*kept, block[end:]])


def has_open_quote(line: str, separator: str) -> bool:
    """Return whether a quote that opens a cell of a line is not closed.

    >>> has_open_quote('"1,2', ","), has_open_quote('"1",2"', ",")
    (True, False)
    """
    found = _open_quotes(separator.encode()).match(line.encode() + b"\n")
    return bool(found and found["line"])


def _lines_of(text: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?<![^\r\n])(?P<line>" + re.escape(text) + rb"[ \t]*)(?=[\r\n])")


@cache
def _open_quotes(separator: bytes) -> re.Pattern[bytes]:
    """The next line in which a quote that opens a cell is not closed; a quote within a cell is a letter."""
    mark = re.escape(separator)
    cell = rb'(?:"(?:[^"\r\n]++|"")*+"[^%b\r\n]*+|[^"%b\r\n][^%b\r\n]*+|)' % (mark, mark, mark)
    return re.compile(rb"(?:%b(?:%b%b)*+[\r\n]++)*+(?P<line>[^\r\n]*)" % (cell, mark, cell))


def _count(block: bytes) -> int:
    """Line ends: \\n, \\r\\n or \\r."""
    return block.count(b"\n") + (block.count(b"\r") - block.count(b"\r\n") if b"\r" in block else 0)
