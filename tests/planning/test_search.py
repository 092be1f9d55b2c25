import math
from itertools import pairwise

import pytest

from deeptrade.planning.plan import Trial
from deeptrade.planning.rules import batch_sizes
from deeptrade.planning.search import MOST_TRIALS, SEARCH_SECONDS, choose, search


def trial(size, rate, *, good=True):
    return Trial(size, 1, 100, 90 if good else None, 1.0, rate if good else None, 0 if good else -9)


def run_search(rates, *, fits=999, seconds=0.0):
    """Trials of the sizes in `rates` (rows per second by batch size), killed above `fits`; each takes `seconds`."""
    now = [0.0]

    def try_out(size):
        now[0] += seconds
        return trial(size, rates[size], good=size <= fits)

    return search(sorted(rates), try_out, is_good=lambda one: one.exit_code == 0, clock=lambda: now[0])


def sizes_of(trials):
    return [one.batch_size for one in trials]


@pytest.mark.parametrize("effective", [1, 2, 7, 30, 32, 48, 97, 360, 512, 509, 1000])
def test_sizes_divide_the_effective_batch_and_rise_at_least_twofold(effective):
    sizes = batch_sizes(effective)
    assert sizes[0] == 1
    assert all(effective % size == 0 for size in sizes)
    assert all(later >= 2 * size for size, later in pairwise(sizes))
    assert sizes[-1] == max(size for size in range(1, 257) if effective % size == 0)


def test_larger_batches_are_tried_while_the_rate_rises_and_the_fastest_wins():
    trials = run_search({8: 50, 16: 80, 32: 100, 64: 120, 128: 121, 256: 60})
    assert sizes_of(trials) == [32, 64, 128]
    assert choose(trials).batch_size == 64  # 128 gains 1% for twice the memory


def test_smaller_batches_are_tried_while_little_is_lost():
    trials = run_search({1: 20, 2: 60, 4: 97, 8: 99, 16: 100, 32: 100})
    assert sizes_of(trials) == [32, 16, 8, 4, 2]
    assert choose(trials).batch_size == 4


def test_a_trial_without_room_rules_out_all_sizes_above():
    trials = run_search({8: 50, 16: 80, 32: 100, 64: 500}, fits=16)
    assert sizes_of(trials) == [32, 16, 8]
    assert choose(trials[1:]).batch_size == 16
    assert sizes_of(run_search({16: 80, 32: 100, 64: 500, 128: 900}, fits=32)) == [32, 64, 16]


def test_if_nothing_fits_every_smaller_size_is_tried_once():
    assert sizes_of(run_search(dict.fromkeys((1, 2, 4, 8, 16, 32), 1), fits=0)) == [32, 16, 8, 4, 2, 1]


def test_there_are_at_most_six_trials_and_none_begins_late():
    assert len(run_search({2**n: 10.0 for n in range(9)})) <= MOST_TRIALS
    assert sizes_of(run_search({2**n: 2.0**n for n in range(9)}, seconds=SEARCH_SECONDS / 2 + 1)) == [32, 64]


@pytest.mark.parametrize("peak", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("rise", [0.1, 0.5])
@pytest.mark.parametrize("fall", [0.1, 0.5])
def test_a_curve_with_one_peak_is_searched_to_within_five_percent(peak, rise, fall):
    away = {2**n: math.log2(2**n / peak) for n in range(9)}
    rates = {size: 100 * math.exp(-(fall if far > 0 else rise) * abs(far)) for size, far in away.items()}
    assert choose(run_search(rates)).rows_per_second >= 95
