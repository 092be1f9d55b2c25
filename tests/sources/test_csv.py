import json
import os

import numpy as np
import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError
from deeptrade.inputs import LocalFile
from deeptrade.sources import csv as module
from deeptrade.store import compile_store
from tests.support.markets import make_market


def odd_text(market):
    """The market's text with a BOM, CRLF line ends, blank lines, and line breaks inside quoted arrays."""
    lines = [",".join(market.header)]
    for number, cells in enumerate(market.cells):
        window = cells[1].replace("], [", "],\r\n [") if number % 3 == 0 else cells[1]
        context = json.dumps(json.loads(cells[3]), indent=1) if number % 4 == 0 else cells[3]
        lines.append(",".join([cells[0], f'"{window}"', f'"{cells[2]}"', f'"{context}"', *cells[4:]]))
        lines += [""] * (number % 7 == 0)
    return "\ufeff" + "\r\n".join(lines) + "\r\n"


def check_equal(found, expected):
    assert (found.rows, found.ledger, found.nonfinite) == (expected.rows, expected.ledger, expected.nonfinite)
    np.testing.assert_array_equal(found.targets, expected.targets)
    np.testing.assert_array_equal(found.timestamps, expected.timestamps)
    rows = expected.usable.numbers()
    for name, values in expected.read(rows).items():
        np.testing.assert_array_equal(found.read(rows)[name], values)
    assert [found.entry(row, "", "", "") for row in rows] == [expected.entry(row, "", "", "") for row in rows]


@pytest.fixture
def small(tmp_path):
    return make_market(tmp_path / "m.csv", rows=12)


@pytest.mark.parametrize("first", [600, 601, 602, 603, 604, 605, 606])
def test_a_block_may_end_at_any_byte_of_odd_text(small, first, monkeypatch):
    small.path.write_bytes(odd_text(small).encode())
    with open_dataset(small.path) as whole:
        assert not whole.ledger
        np.testing.assert_array_equal(whole.targets, small.targets.astype(np.float32))
        np.testing.assert_array_equal(whole.read(np.arange(12))["arr_5m"], small.features["arr_5m"][:, 0].astype("f4"))
        for size in range(first, first + 500, 7):  # with seven starts every offset of an edge is met
            monkeypatch.setattr(module, "BLOCK_BYTES", size)
            with open_dataset(small.path) as cut:
                check_equal(cut, whole)


@pytest.mark.parametrize("size", [50, 333, 1000, 4096])
def test_blocks_smaller_than_a_record_lose_nothing(small, size, monkeypatch):
    with open_dataset(small.path) as whole:
        monkeypatch.setattr(module, "BLOCK_BYTES", size)
        with open_dataset(small.path) as cut:
            check_equal(cut, whole)


def test_an_unterminated_quote_at_any_place_costs_its_row_alone(small):
    lines = small.lines()
    quote = lines[5].index(b'"')
    ends = [at for at in range(quote + 1, len(lines[5])) if lines[5][at : at + 1] == b'"']
    for end in ends[::2]:
        text = lines[5][:end] + lines[5][end + 1 :]
        small.path.write_bytes(b"".join([*lines[:5], text, *lines[6:]]))
        with open_dataset(small.path, max_bad_rows=0.5) as data:
            assert [(entry.row, entry.line) for entry in data.ledger] == [(4, 6)]
            assert data.rows == 12


def test_a_record_without_end_is_one_line_with_its_place(small, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_RECORD", 1 << 20)
    monkeypatch.setattr(module, "BLOCK_BYTES", 4096)
    lines = small.lines()
    with open(small.path, "wb") as file:
        file.write(b"".join(lines[:4]) + b'5,"' + b"[" * (3 << 20) + b"\n" + lines[5])
    with pytest.raises(DataError, match=rf"a record of over 1 MiB at byte {len(b''.join(lines[:4]))}; is a closing"):
        open_dataset(small.path, max_bad_rows=0.9)


def test_a_file_that_shrinks_while_it_is_read_is_one_line(small, monkeypatch):
    plain = LocalFile.read

    def shrinking(file, start, stop, buffer=None):
        os.truncate(file.path, 1000)
        return plain(file, start, stop, buffer)

    source = module.CsvSource([LocalFile.at(small.path)], name="m")
    monkeypatch.setattr(LocalFile, "read", shrinking)
    with pytest.raises(DataError, match=r"m\.csv became shorter while it was being read"):
        next(source.tasks()).run()


def test_a_file_that_grows_while_it_is_compiled_is_one_line_and_the_next_compile_is_whole(small, tmp_path, monkeypatch):
    plain, later = module.CsvTask.run, make_market(tmp_path / "later.csv", rows=2, start=12).lines()[1:]

    def growing(task):
        with open(small.path, "ab") as file:
            file.write(later.pop(0))
        return plain(task)

    monkeypatch.setattr(module.CsvTask, "run", growing)
    with pytest.raises(DataError, match="m has changed while it was read; run again when it is whole"):
        compile_store(small.path, store=tmp_path / "s.dtstore")
    assert not (tmp_path / "s.dtstore").exists()
    monkeypatch.setattr(module.CsvTask, "run", plain)
    compile_store(small.path, store=tmp_path / "s.dtstore")
    with open_dataset(small.path, store=tmp_path / "s.dtstore") as data:
        assert data.rows == 13


def test_a_row_that_changed_since_it_was_checked_is_named_when_it_is_read(small):
    with open_dataset(small.path, use_mmap=False) as data:
        content = bytearray(small.path.read_bytes())
        entry = data.entry(7, "", "", "")
        at = content.index(b"[", entry.byte_offset)
        content[at] = ord("x")
        small.path.write_bytes(content)
        with pytest.raises(DataError, match=r"line 9 can no longer be read .*has the file changed\? Run again"):
            data.read(np.arange(12))


def test_reads_that_give_a_part_only_are_gone_on_with_and_an_early_end_is_said(small, monkeypatch):
    read = os.preadv
    with open_dataset(small.path) as mapped, open_dataset(small.path, use_mmap=False) as plain:
        monkeypatch.setattr(os, "preadv", lambda file, buffers, at: read(file, [buffers[0][:7]], at))
        check_equal(plain, mapped)
        monkeypatch.setattr(os, "preadv", lambda file, buffers, at: 0)
        with pytest.raises(DataError, match=r"m\.csv became shorter while it was being read; run again"):
            plain.read(np.arange(12))


def test_a_time_with_an_exponent_that_no_decimal_holds_is_one_rejected_row(small):
    small.cells[5][0] = "1e9999999999999999999"
    small.write()
    with open_dataset(small.path, max_bad_rows=0.1) as data:
        assert [(entry.row, entry.column) for entry in data.ledger] == [(5, "timestamp")]
        assert "neither an ISO 8601 time nor an epoch number" in data.ledger[0].detail


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("# made by x\ntimestamp,arr_a,price\n", "remove the comment lines above the header"),
        ("# made by x, in 2024\ntimestamp,arr_a,price\n", "remove the comment lines above the header"),
        ("#timestamp,arr_a,price\n", "remove the '#' before the header"),
        ("# time,arr_a,price\n", "remove the '#' before the header"),
    ],
)
def test_comment_lines_above_the_header_are_named_as_such(tmp_path, text, advice):
    (tmp_path / "m.csv").write_text(text + '1709510400,"[1]",1\n')
    with pytest.raises(DataError, match=advice) as caught:
        compile_store(tmp_path / "m.csv")
    assert "rename" not in str(caught.value)
