"""Files of klines of any kind, opened by their content: column names, a sample, and the cells of chosen columns."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import IO, Protocol

import pyarrow as pa

from ..errors import DataError
from ..inputs import InputFile
from .kline_cells import Cells
from .kline_tables import ArrowFile, JsonFile
from .kline_text import TextFile

ACCEPTED = (
    "klines as CSV (also .gz, .zip), JSON, Feather or Parquet with open time, open, high, low, close, volume, "
    "under these names or in this order"
)
UNREADABLE = (
    OSError,
    EOFError,
    NotImplementedError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    pa.ArrowException,
    UnicodeError,
)
"""What reading a damaged file raises, whatever its kind; NotImplementedError comes from zipfile, for a compression that
Python cannot unpack."""

_OTHER_KINDS = (
    (b"\x89HDF", "an HDF5 file; write it as CSV or Parquet"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet; save it as CSV"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"SQLite", "an SQLite database; write its table as CSV"),
    (b"\x80\x04\x95", "a pickle; write the table as CSV or Parquet"),
    (b"\x80\x05\x95", "a pickle; write the table as CSV or Parquet"),
)


class KlineFile(Protocol):
    """A file of klines. `names` are the header's, None without one; `sample` the first rows as text; `rows` a guess;
    `naming` is how its columns get names."""

    name: str
    naming: str
    names: tuple[str, ...] | None
    sample: list[list[str]]
    rows: int

    def read(self, numbers: Mapping[int, str], texts: Sequence[int]) -> Cells:
        """Return the cells of some columns, by position: numbers (with the names errors call them) as
        float64, texts as they are."""
        ...


def open_klines(file: InputFile) -> KlineFile:
    """Open a file by its content; a compressed one is unpacked while it is read.

    Raises DataError for a file that is empty, damaged, or of another kind, in one line that says which.
    """
    try:
        return _open(file)
    except UNREADABLE as error:
        raise unreadable(file.name, error) from None


def unreadable(name: str, error: Exception) -> DataError:
    """Return the one line for a file that cannot be read."""
    reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:200]
    return DataError(f"{name} cannot be read ({reason}); expected {ACCEPTED}")


def _open(file: InputFile) -> KlineFile:
    with file.open() as content:
        start = content.read(16)
    if start[:4] in (b"PAR1", b"ARRO", b"FEA1"):
        return ArrowFile(file)
    kind = next((kind for magic, kind in _OTHER_KINDS if start.startswith(magic)), None)
    if kind:
        raise DataError(f"{file.name} is {kind}; expected {ACCEPTED}")
    opener, size = _unpacked(file, start)
    with opener() as content:
        head = content.read(1 << 16)
    if not head.strip(b"\xef\xbb\xbf \r\n\t"):
        raise DataError(f"{file.name} is empty; expected {ACCEPTED}")
    first = head.lstrip(b"\xef\xbb\xbf \r\n\t")
    if first[:1] in b"[{":
        with opener() as content:
            return JsonFile(file.name, content.read())
    if first[:5].lower() in (b"<html", b"<!doc", b"<?xml"):
        raise DataError(f"{file.name} is a web page or XML, no table; download the file itself; expected {ACCEPTED}")
    return TextFile(file.name, opener, head, size=size)


def _unpacked(file: InputFile, start: bytes) -> tuple[_Opener, int]:
    """What opens the unpacked content, and its size in bytes (a guess for some kinds)."""
    size = file.size
    if start[:2] == b"\x1f\x8b":
        unpacked = int.from_bytes(file.read(max(0, size - 4), size).tobytes(), "little")
        return _Opener(gzip.open, file), max(size, unpacked)
    if start[:3] == b"BZh":
        return _Opener(bz2.open, file), 5 * size
    if start[:6] == b"\xfd7zXZ\x00":
        return _Opener(lzma.open, file), 5 * size
    if start[:4] == b"PK\x03\x04" or start[:4] == b"PK\x05\x06":
        return _in_zip(file)
    return _Opener(None, file), size


class _Opener:
    """Opens a file for reading its content as bytes, each time anew."""

    def __init__(self, how, file: InputFile, member: str = ""):
        self._how, self._file, self._member = how, file, member

    def __call__(self) -> IO[bytes]:
        if self._member:
            with zipfile.ZipFile(self._file.openable()) as archive:
                return archive.open(self._member)
        return self._how(self._file.openable(), "rb") if self._how else self._file.open()


def _in_zip(file: InputFile) -> tuple[_Opener, int]:
    with zipfile.ZipFile(file.openable()) as archive:
        members = [
            member
            for member in archive.infolist()
            if not member.is_dir() and not member.filename.startswith("__MACOSX") and _visible(member.filename)
        ]
    names = [member.filename for member in members]
    if "[Content_Types].xml" in names or "mimetype" in names:
        raise DataError(f"{file.name} is a spreadsheet; save it as CSV; expected {ACCEPTED}")
    if len(members) != 1:
        found = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
        raise DataError(
            f"{file.name} holds {len(members)} files ({found}), one is accepted; unpack it and give its files"
        )
    if members[0].flag_bits & 1:
        raise DataError(f"{file.name} is encrypted; unpack it and give its file")
    return _Opener(None, file, names[0]), members[0].file_size


def _visible(name: str) -> bool:
    return not name.rsplit("/", 1)[-1].startswith(".")
