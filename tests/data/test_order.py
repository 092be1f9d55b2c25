import itertools
import mmap
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrade.data.order import (
    BLOCK_ROWS,
    ArrivingOrder,
    _std_bias,
    batch_spread,
    epoch_order,
    read_amplification,
    windowed_order,
)
from deeptrade.data.split import split_by_count
from deeptrade.errors import SettingsError
from deeptrade.store.row_range import RowRange


@given(count=st.integers(1, 3000), seed=st.integers(0, 2**31), epoch=st.integers(0, 50))
@settings(deadline=None, max_examples=100)
def test_every_sample_comes_exactly_once(count, seed, epoch):
    order = epoch_order(count, key="data", seed=seed, epoch=epoch)
    np.testing.assert_array_equal(np.sort(order[0:count]), np.arange(count))


@given(count=st.integers(1, 500), cuts=st.lists(st.integers(0, 500), max_size=6))
@settings(deadline=None, max_examples=100)
def test_any_part_equals_that_part_of_the_whole(count, cuts):
    order = epoch_order(count, key="data", seed=1, epoch=0)
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [order[start:stop] for start, stop in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), order[0:count])


def test_key_seed_and_epoch_each_give_another_order():
    base = {"key": "data", "seed": 0, "epoch": 0}
    orders = [base, base | {"key": "other"}, base | {"seed": 1}, base | {"epoch": 1}]
    texts = {epoch_order(100, **arguments)[0:100].tobytes() for arguments in orders}
    assert len(texts) == 4


def test_the_order_never_changes():
    # Old runs resume with this order: a change needs a new ORDER_VERSION.
    assert epoch_order(10, key="data", seed=0, epoch=0)[0:10].tolist() == [9, 4, 6, 0, 5, 1, 7, 3, 2, 8]


def test_shuffled_neighbors_are_far_apart():
    count = 10_000
    jumps = np.abs(np.diff(epoch_order(count, key="data", seed=0, epoch=0)[0:count]))
    # The mean distance of two uniform draws from 0..n is n/3.
    assert abs(jumps.mean() / (count / 3) - 1) < 0.03


def test_the_split_is_by_time_with_a_gap_of_horizons_on_each_side():
    split = split_by_count(100, val_ratio=0.2, horizons=10)
    assert split.train.numbers().tolist() == list(range(70))
    assert split.purged.tolist() == list(range(70, 90))
    assert split.validation.numbers().tolist() == list(range(90, 100))


@given(st.integers(0, 60), st.integers(0, 60), st.sets(st.integers(0, 70)))
@settings(deadline=None, max_examples=200)
def test_rows_are_the_numbers_from_start_to_stop_without_the_rejected(start, stop, rejected):
    rows = RowRange(start, stop, sorted(rejected))
    expected = [row for row in range(start, stop) if row not in rejected]
    assert rows.numbers().tolist() == expected
    assert len(rows) == len(expected)
    assert [rows.at(np.array([position]))[0] for position in range(len(rows))] == expected


@given(st.integers(30, 300), st.floats(0.05, 0.5), st.integers(1, 8), st.randoms())
@settings(deadline=None, max_examples=100)
def test_no_training_target_reaches_into_validation(rows, val_ratio, horizons, random):
    usable = np.array([random.random() > 0.1 for _ in range(rows)])
    arguments = {"val_ratio": val_ratio, "horizons": horizons}
    boundary, numbers = rows - round(rows * val_ratio), np.flatnonzero(usable)
    train, validation = numbers[numbers < boundary - horizons], numbers[numbers >= boundary + horizons]
    if not len(train) or not len(validation):
        with pytest.raises(SettingsError, match="leaves no"):
            split_by_count(rows, np.flatnonzero(~usable), **arguments)
        return
    split = split_by_count(rows, np.flatnonzero(~usable), **arguments)
    parts = [split.train.numbers(), split.purged, split.validation.numbers()]
    assert parts[0][-1] + horizons < parts[2][0]
    np.testing.assert_array_equal(parts[0], train)
    np.testing.assert_array_equal(parts[2], validation)
    together = np.concatenate(parts)
    np.testing.assert_array_equal(together, np.flatnonzero(usable))


def test_too_few_rows_are_refused():
    with pytest.raises(SettingsError, match="leaves no validation row after purging 15 rows"):
        split_by_count(100, val_ratio=0.05, horizons=10)


@given(st.integers(1, 700), st.integers(1, 300), st.integers(0, 5))
@settings(deadline=None, max_examples=150)
def test_a_windowed_order_has_every_sample_once_and_any_part_equals_that_part_of_the_whole(count, window, epoch):
    order = windowed_order(count, window_rows=window, key="data", seed=0, epoch=epoch)
    whole = order[0:count]
    np.testing.assert_array_equal(np.sort(whole), np.arange(count))
    for cut in (0, 1, count // 3, count):
        np.testing.assert_array_equal(np.concatenate([order[0:cut], order[cut:count]]), whole)
    edges = [order.window(number) for number in range(order.windows)]
    assert [start for start, _ in edges[1:]] == [stop for _, stop in edges[:-1]]
    assert (edges[0][0], edges[-1][1]) == (0, count)
    for number, (start, stop) in enumerate(edges):
        np.testing.assert_array_equal(np.sort(whole[start:stop]), order.rows_of(number))
        assert order.window_of(start) == order.window_of(stop - 1) == number


def test_a_tenth_in_memory_spreads_a_batch_like_a_full_permutation_and_reads_in_runs():
    count = 20_000
    full = epoch_order(count, key="data", seed=0, epoch=0)
    windowed = windowed_order(count, window_rows=count // 10, key="data", seed=0, epoch=0)
    assert batch_spread(full, count, batch_size=32) == pytest.approx(1, abs=0.02)
    assert batch_spread(windowed, count, batch_size=32) == pytest.approx(1, abs=0.05)
    assert batch_spread(windowed_order(count, window_rows=64, key="", seed=0, epoch=0), count, batch_size=32) < 0.9
    runs = np.count_nonzero(np.diff(windowed.rows_of(3)) != 1) + 1
    assert runs <= 2000 / BLOCK_ROWS
    assert read_amplification(windowed, [241 * 9 * 4, 0, 1000], windows=10) <= 1.1


def test_measuring_the_spread_holds_little_more_than_one_batch():
    count, size = 200_000, 2640
    order = windowed_order(count, window_rows=count // 10, key="data", seed=0, epoch=0)
    tracemalloc.start()
    try:
        batch_spread(order, count, batch_size=size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7, 10, 20, 50, 300, 5000])
def test_the_bias_of_the_standard_deviation_of_a_few_draws_equals_a_simulation_s(size):
    generator, deviations = np.random.default_rng(0), []
    for _ in range(10):
        draws = generator.random((max(20, 300_000 // size), size))
        deviations.append(np.std(draws, axis=1, ddof=1).mean() * np.sqrt(12))
    assert _std_bias(size) == pytest.approx(np.mean(deviations), abs=1e-3)


@pytest.mark.parametrize("stride", [40, 4096, 5000, 70_000])
def test_read_amplification_counts_each_page_of_a_window_once(stride):
    order = windowed_order(1000, window_rows=100, key="data", seed=0, epoch=0)
    pages = used = 0
    for number in range(order.windows):
        touched = {
            page
            for row in order.rows_of(number).tolist()
            for page in range(row * stride // mmap.PAGESIZE, ((row + 1) * stride - 1) // mmap.PAGESIZE + 1)
        }
        pages += len(touched)
        used += len(order.rows_of(number)) * stride
    assert read_amplification(order, [stride], windows=order.windows) == pages * mmap.PAGESIZE / used


def test_the_windowed_order_never_changes():
    order = windowed_order(40, window_rows=16, key="data", seed=0, epoch=0)
    assert order[0:12].tolist() == [19, 17, 22, 31, 24, 21, 18, 20, 29, 26, 23, 30]


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=60), window=st.integers(1, 500), epoch=st.integers(0, 9)
)
@settings(deadline=None, max_examples=100)
def test_an_order_of_whole_blocks_has_every_sample_once_and_every_block_in_one_window(lengths, window, epoch):
    edges = np.cumsum([0, *lengths])
    count = int(edges[-1])
    order = windowed_order(count, window_rows=window, key="data", seed=3, epoch=epoch, edges=edges)
    whole = order[0:count]
    np.testing.assert_array_equal(np.sort(whole), np.arange(count))
    np.testing.assert_array_equal(np.concatenate([order[at : at + 7] for at in range(0, count, 7)]), whole)
    window_of = np.empty(count, int)
    window_of[whole] = [order.window_of(position) for position in range(count)]
    assert all(len(set(window_of[start:stop])) == 1 for start, stop in itertools.pairwise(edges))
    for number in range(order.windows):
        start, stop = order.window(number)
        np.testing.assert_array_equal(order.rows_of(number), np.sort(whole[start:stop]))


def test_the_order_of_whole_blocks_never_changes():
    order = windowed_order(12, window_rows=5, key="data", seed=1, epoch=2, edges=np.array([0, 3, 5, 9, 12]))
    assert order[0:12].tolist() == [4, 3, 2, 1, 0, 11, 10, 9, 6, 8, 7, 5]


def arriving(count, window_rows):
    def permute(number, size):
        return epoch_order(size, key=f"window {number}", seed=3, epoch=0)

    return ArrivingOrder(count, window_rows=window_rows, permute=permute)


@given(windows=st.integers(1, 5), more=st.integers(0, 60), window_rows=st.integers(1, 20))
@settings(deadline=None, max_examples=100)
def test_the_order_of_rows_that_arrive_does_not_change_when_more_come(windows, more, window_rows):
    first = windows * window_rows
    whole = arriving(first + more, window_rows)[0 : first + more]
    np.testing.assert_array_equal(arriving(first, window_rows)[0:first], whole[:first])
    np.testing.assert_array_equal(np.sort(whole), np.arange(first + more))
    for start in range(0, len(whole), window_rows):
        stop = min(start + window_rows, len(whole))
        np.testing.assert_array_equal(np.sort(whole[start:stop]), np.arange(start, stop))
    np.testing.assert_array_equal(arriving(first + more, window_rows)[1 : first - 1], whole[1 : first - 1])
