"""The split is an instant; purge and embargo follow the times of labels, whatever the rows' spacing."""

from contextlib import suppress
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrade.data.opening import open_dataset
from deeptrade.data.split import Labels, first_training_rows, split_by_count, split_by_time
from deeptrade.errors import SettingsError
from tests.support.markets import make_market

STEP = 1200


def split_of(market, **options):
    with open_dataset(market.path, max_bad_rows=0.5) as data:
        return data.split(options.pop("val_ratio", 0.2), **options), data


@pytest.mark.parametrize("horizons", [1, 3])
@pytest.mark.parametrize("price", [False, True])
def test_on_a_regular_grid_the_split_is_that_by_row_numbers(tmp_path, horizons, price):
    market = make_market(tmp_path / "m.csv", rows=100, horizons=1 if price else horizons)
    if price:
        market.header[-1] = "price"
        for row, cells in enumerate(market.cells):
            cells[-1] = str(100 + row)
        market.write()
    with open_dataset(market.path, horizons=horizons) as data:
        found, expected = data.split(0.2), split_by_count(100, val_ratio=0.2, horizons=horizons)
    assert found.train.numbers().tolist() == expected.train.numbers().tolist()
    assert found.purged.tolist() == expected.purged.tolist()
    unused = [99] if price else []  # the last row of prices has no row after it
    assert found.validation.numbers().tolist() + unused == expected.validation.numbers().tolist()
    assert found.unused.tolist() == unused


def test_targets_further_apart_than_rows_are_purged_by_their_own_times(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=200)  # rows 20 minutes apart, two targets
    split, data = split_of(market, target_step="1h")
    times = data.timestamps
    instant = times[160]
    assert times[split.train.numbers()].max() + 2 * 3600 * 10**9 < instant
    assert len(split.train) == 160 - 6
    assert times[split.validation.numbers()].min() == instant + 2 * 3600 * 10**9


def test_an_embargo_leaves_out_more_time_and_says_so(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=200)
    plain, _ = split_of(market)
    split, data = split_of(market, embargo="2h")
    assert split.train == plain.train
    assert split.embargoed.tolist() == list(range(162, 168))
    assert data.timestamps[split.validation.numbers()[0]] == data.timestamps[162] + 2 * 3600 * 10**9


def test_rows_without_any_target_are_unused_and_those_with_one_are_not(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=100)
    for row in (5, 98, 99):
        market.cells[row][-2:] = ["", ""]
    market.cells[7][-2] = ""
    market.write()
    split, _ = split_of(market)
    assert split.unused.tolist() == [5, 98, 99]
    assert 7 in split.train.numbers()
    assert not {5, 98, 99} & {*split.train.numbers().tolist(), *split.validation.numbers().tolist()}


def uneven(steps):
    return np.cumsum([1_700_000_000, *steps])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 5000), min_size=40, max_size=80),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from(["", "1h", "7min"]),
    st.sampled_from(["", "30min"]),
    st.floats(0.1, 0.5),
)
def test_no_training_label_ends_at_or_after_the_boundary_over_uneven_rows(
    tmp_path_factory, steps, horizons, price, target_step, embargo, val_ratio
):
    folder = tmp_path_factory.mktemp("uneven")
    times = uneven(steps)
    market = make_market(folder / "m.csv", rows=len(times), horizons=1 if price else horizons, shapes={"arr_a": (2,)})
    market.header[-1] = "price" if price else market.header[-1]
    for cells, time in zip(market.cells, times, strict=True):
        cells[0] = str(time)
        cells[-1] = "100.5" if price else cells[-1]
    market.write()
    split = None
    with open_dataset(market.path, horizons=horizons) as data:
        with suppress(SettingsError):  # too few rows for such targets and embargo
            split = data.split(val_ratio, target_step=target_step, embargo=embargo)
        step = {"": round(data.gaps()[""][1].step), "1h": 3600 * 10**9, "7min": 420 * 10**9}[target_step]
        targets = data.targets
    if split is None:
        return
    seconds = times * 10**9
    boundary = len(times) - max(1, round(len(times) * val_ratio))
    instant = seconds[boundary]
    parts = {
        "train": split.train.numbers().tolist(),
        "validation": split.validation.numbers().tolist(),
        "purged": split.purged.tolist(),
        "embargoed": split.embargoed.tolist(),
        "unused": split.unused.tolist(),
    }
    assert sorted(chain.from_iterable(parts.values())) == list(range(len(times)))
    for row in parts["train"]:
        known = np.flatnonzero(np.isfinite(targets[row])) + 1
        last = seconds[row + known[-1]] if price else seconds[row] + horizons * step
        assert last < instant
    extra = 1800 * 10**9 if embargo else 0
    assert all(seconds[row] >= instant + horizons * step + extra for row in parts["validation"])
    for row in parts["purged"]:
        before = seconds[row] < instant
        if before and not price:
            assert seconds[row] + horizons * step >= instant
        if not before:
            assert seconds[row] < instant + horizons * step


@pytest.mark.parametrize("option", [{"embargo": "soon"}, {"target_step": "0"}])
def test_a_duration_that_is_none_is_refused(market, option):
    with (
        open_dataset(market.path) as data,
        pytest.raises(SettingsError, match=r"duration '.*' is not valid; use a form"),
    ):
        data.split(**option)


def test_a_hole_before_the_boundary_leaves_less_to_purge(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=100)
    for row in range(80, 100):
        market.cells[row][0] = str(int(market.cells[row][0]) + 50 * STEP)
    market.write()
    split, _ = split_of(market)
    assert split.purged.tolist() == [80, 81]
    assert len(split.train) == 80


def labels_of(times, has_target, *, horizons):
    """Labels of rows of one market whose targets stand in columns, the usual step apart."""
    step = int(np.median(np.diff(times))) if len(times) > 1 else 0
    return Labels(
        np.arange(len(times)),
        times,
        times + horizons * step,
        has_target,
        np.ones(len(times), bool),
        horizons=horizons,
        target_step=step,
        overlap=horizons,
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from([True] * 9 + [False])), min_size=60, max_size=160),
    st.floats(0.05, 0.4),
    st.sampled_from([0.0, 0.15, 0.4]),
    st.integers(1, 5),
    st.integers(0, 40),
    st.sampled_from([1, 8]),
)
def test_what_first_rows_tell_of_the_training_rows_holds_for_all(rows, val_ratio, inner_ratio, horizons, silent, whole):
    """Gaps, missing targets and a long stretch without any: the rows told are the first training rows of the whole."""
    times = np.cumsum([step for step, _ in rows])
    has_target = np.array([has for _, has in rows])
    has_target[20 : 20 + silent] = False
    try:
        train = split_by_time(
            labels_of(times, has_target, horizons=horizons), len(times), val_ratio=val_ratio, inner_ratio=inner_ratio
        ).train.numbers()
    except SettingsError:
        return
    before = 0
    for count in range(2, len(times) + 1, 3):
        labels = labels_of(times[:count], has_target[:count], horizons=horizons)
        options = {"val_ratio": val_ratio, "inner_ratio": inner_ratio, "whole": whole}
        told = first_training_rows(labels, count, **options)
        assert told.train.numbers().tolist() == train[: len(told.train)].tolist()
        assert len(told.train) % whole == 0
        assert len(told.train) + len(told.unused) == count
        before = max(before, len(told.train))
    assert before >= whole * (len(train) // 2 // whole) - whole - 8 * horizons  # and it is not next to nothing
