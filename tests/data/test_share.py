"""The rows of every step that one of several workers takes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrade.data.batches import BatchReader
from deeptrade.data.opening import open_dataset
from deeptrade.data.share import Share
from deeptrade.store.row_range import RowRange

sizes = st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 6), st.integers(1, 200))


@given(sizes)
def test_the_shares_of_all_workers_are_the_passes_of_one_process_in_order(numbers):
    count, batch_size, passes, samples = numbers
    step_rows = batch_size * passes
    for start in range(0, samples, step_rows):
        stop = min(start + step_rows, samples)
        shares = [Share(number, count, batch_size, step_rows).of_step(start, stop) for number in range(count)]
        found = [
            (position, min(position + batch_size, last))
            for first, last in shares
            for position in range(first, last, batch_size)
        ]
        assert found == [(first, min(first + batch_size, stop)) for first in range(start, stop, batch_size)]


@given(sizes)
def test_no_worker_has_two_passes_more_than_another(numbers):
    count, batch_size, passes, _ = numbers
    step_rows = batch_size * passes
    spans = [Share(number, count, batch_size, step_rows).of_step(0, step_rows) for number in range(count)]
    rows = [last - first for first, last in spans]
    assert max(rows) - min(rows) <= batch_size


@given(sizes, st.integers(0, 5))
def test_the_passes_of_a_share_continue_at_any_of_them_and_hold_its_positions(numbers, skipped):
    count, batch_size, passes, samples = numbers
    for number in range(count):
        share = Share(number, count, batch_size, batch_size * passes)
        every = list(share.passes(0, samples, batch_size=batch_size))
        if skipped < len(every):
            assert list(share.passes(every[skipped][0], samples, batch_size=batch_size)) == every[skipped:]
        held = np.flatnonzero(share.holds(np.arange(samples), samples))
        assert held.tolist() == [position for first, last in every for position in range(first, last)]


def test_a_share_may_be_cut_into_smaller_passes():
    share = Share(1, 2, batch_size=4, step_rows=16)
    assert list(share.passes(0, 32, batch_size=3)) == [(8, 11), (11, 14), (14, 16), (24, 27), (27, 30), (30, 32)]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_reader_of_a_share_yields_its_rows_alone(market, prefetch):
    with open_dataset(market.path) as data:
        rows = RowRange(0, 47)
        whole = BatchReader(data, rows, batch_size=2)
        found = []
        for number in range(3):
            reader = BatchReader(data, rows, batch_size=2, prefetch=prefetch, share=Share(number, 3, 2, 10))
            batches = list(reader.stream(0))
            assert [batch.row_ids.tolist() for batch in batches] == [
                whole.epoch_rows(0, *span).tolist() for span in reader.share.passes(0, 47, batch_size=2)
            ]
            found += [row for batch in batches for row in batch.row_ids.tolist()]
    assert sorted(found) == list(range(47))
