"""Rows out of order are rejected by reason, whatever the blocks; files that run backwards or overlap are refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrade import compile_store, open_store
from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError
from deeptrade.sources.blocks import Place, make_block
from deeptrade.sources.schema import Feature
from deeptrade.sources.time_order import TimeOrder
from tests.support.markets import make_market

HOUR = 3600 * 10**9
START = 1_700_000_000 * 10**9
FEATURE = Feature("arr_a", (1,))


def make_blocks(times, sizes, file=0):
    """Blocks of one feature, which holds each row's number."""
    start = 0
    for size in sizes:
        stop = min(start + size, len(times))
        rows = np.arange(start, stop)
        yield make_block(
            Place(file, start, stop),
            lines=len(rows),
            source_hash="",
            schema_features=[FEATURE],
            features={"arr_a": rows[:, None].astype(np.float32)},
            non_finite=np.zeros((len(rows), 1), np.int64),
            numbers=np.zeros((len(rows), 1), np.float32),
            timestamps=np.asarray(times[start:stop], np.int64),
            markets=np.full(stop - start, "", object),
            positions=np.stack([rows - start, 10 * rows, 10 * rows + 10], axis=1),
            faults={},
        )
        start = stop


def rejected(hours, sizes):
    """(row, reason) of the rejected rows of a file with these times, read in blocks of these sizes."""
    found, start = [], 0
    for block in TimeOrder(["m.csv"], [FEATURE]).check(make_blocks(START + HOUR * np.array(hours), sizes)):
        found += [(start + fault.row, fault.reason) for fault in block.faults]
        kept = block.features["arr_a"][:, 0]
        assert block.moments["arr_a"].result().mean[0] == pytest.approx(kept.mean() if len(kept) else 0)
        start += block.rows
    return found


def cuts(rows):
    return st.lists(st.integers(1, rows), min_size=1, max_size=rows).map(lambda sizes: [*sizes, *[rows] * 2])


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        ([0, 1, 2, 3, 4], []),
        ([0, 1, 1, 2, 3], [(2, "repeated")]),
        ([0, 1, 3, 2, 4, 5], [(3, "out_of_order")]),
        ([5, 6, 7, 1, 8, 9, 2, 10], [(3, "out_of_order"), (6, "out_of_order")]),
        ([0, 1, 2, 9000, 3, 4, 5, 6], [(3, "out_of_order")]),
        ([9000, 0, 1, 2, 3, 4, 5, 6], [(0, "out_of_order")]),
        ([0, 1, 9000, 9001, 9002, 2, 3, 4, 5, 6, 7], [(2, "out_of_order"), (3, "out_of_order"), (4, "out_of_order")]),
        ([0, 1, 2, 800, 801, 802], []),
        ([0, 1, 2, 800, 3], [(4, "out_of_order")]),
        ([0, 1, 2, 800], []),
    ],
    ids=["ascending", "repeated", "swapped", "back", "ahead", "first ahead", "three ahead", "gap", "one after", "last"],
)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_rows_out_of_order_are_rejected_the_same_however_the_file_is_cut(hours, expected, data):
    assert rejected(hours, data.draw(cuts(len(hours)))) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=40), st.data())
def test_accepted_rows_ascend_and_nothing_is_lost(hours, data):
    times = START + HOUR * np.array([*range(-50, 0), *hours])
    kept, rows = [], 0
    for block in TimeOrder(["m.csv"], [FEATURE]).check(make_blocks(times, data.draw(cuts(len(times))))):
        kept += block.timestamps.tolist()
        rows += block.usable + len(block.faults)
        rejected_rows = [fault.row for fault in block.faults]
        assert np.array_equal(block.row_numbers(), np.setdiff1d(np.arange(block.rows), rejected_rows))
    assert rows == len(times)
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize("rows", [3, 60])
def test_a_file_that_runs_backwards_is_refused_with_the_way_out(tmp_path, rows):
    market = make_market(tmp_path / "newest_first.csv", rows=rows)
    market.cells.reverse()
    market.write()
    with pytest.raises(DataError, match=r"newest_first\.csv runs backwards in time, from .* to .* and on; give --sort"):
        open_dataset(market.path)
    with pytest.raises(DataError, match="give --sort"):
        compile_store(market.path)
    assert not (tmp_path / "newest_first.dtstore").exists()


@pytest.mark.parametrize("second_starts", [0, 20, 59])
def test_files_that_overlap_are_refused_with_their_names(tmp_path, second_starts):
    folder = tmp_path / "parts"
    folder.mkdir()
    make_market(folder / "b.csv", start=0)
    make_market(folder / "a.csv", start=second_starts)
    first, second = ("b.csv", "a.csv") if second_starts else ("a.csv", "b.csv")
    with pytest.raises(DataError, match=rf"{second} begins at .*, before {first} ends at .*--duplicates first"):
        open_dataset(folder)


def test_rows_appended_after_a_stamp_far_ahead_make_it_the_outlier(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=20)
    market.cells[-1][0] = str(1_900_000_000)
    market.write()
    with open_store(compile_store(market.path, max_bad_rows=0.2)) as data:
        assert not data.ledger
    market.cells += make_market(tmp_path / "later.csv", rows=10, start=20).cells
    market.write()
    with open_store(compile_store(market.path, max_bad_rows=0.2)) as data:
        assert [(entry.row, entry.reason) for entry in data.ledger] == [(19, "out_of_order")]
        grown = data.timestamps.copy()
    with open_store(compile_store(market.path, store=tmp_path / "fresh.dtstore", max_bad_rows=0.2)) as data:
        np.testing.assert_array_equal(grown, data.timestamps)


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (lambda row: 1_709_510_400_000_000_000 + 60 * row, "rows are 6e-08 seconds apart"),
        (lambda row: 2_403_040_000 + 100 * row, "the rows begin in 2046"),
        (lambda row: f"1920-01-{row + 1:02}", "the rows begin in 1920"),
    ],
)
def test_odd_times_raise_an_alert_with_the_probable_cause(tmp_path, times, says):
    market = make_market(tmp_path / "m.csv", rows=20)
    for row, cells in enumerate(market.cells):
        cells[0] = str(times(row))
    market.write()
    with open_dataset(market.path) as data:
        assert any(says in warning for warning in data.warnings)


def test_rejecting_shares_nothing_with_the_block_before():
    (block,) = make_blocks(START + HOUR * np.arange(3), [3])
    copy = replace(block).rejecting({}, [FEATURE])
    copy.features["arr_a"][:] = 9
    assert block.features["arr_a"][:, 0].tolist() == [0, 1, 2]
