import pytest

from deeptrade.memory import Sample
from deeptrade.memory.monitor import Recent
from deeptrade.training.scarce_memory import LOW, MicroBatch, StepPeak, stalled_percent

LIMIT, ROW = 1000, 10


def follow(micro_batch, available, steps, **more):
    """The sizes chosen over some steps, given the memory left; what a change frees or takes counts."""
    changes = []
    for step in range(steps):
        before = micro_batch.size
        size = micro_batch.after_step(available(micro_batch.size), **more)
        if size is not None:
            assert size != before
            changes.append((step, size))
    return changes


def make(batch_size=16, effective_batch=32):
    return MicroBatch(batch_size, effective_batch, row_bytes=ROW, limit_bytes=LIMIT)


def left(free):
    """What is left when `free` bytes are not taken by others: each row of a pass takes ROW."""
    return lambda size: free - size * ROW


def test_with_enough_memory_nothing_changes():
    assert follow(make(), lambda size: LOW * LIMIT, 500) == []


def test_little_memory_gives_the_largest_size_that_leaves_enough_at_once():
    micro_batch = make()
    assert follow(micro_batch, left(200), 200) == [(10, 8)]  # 16 leave 40, 8 leave 120, which is enough
    assert micro_batch.size == 8


def test_if_no_size_is_small_enough_one_row_is_used():
    assert follow(make(), lambda size: 0, 100)[-1][1] == 1
    assert follow(make(), left(-100), 100) == [(10, 1)]


def test_memory_that_is_free_again_is_used_after_a_while_up_to_the_requested_size():
    micro_batch = make()
    assert follow(micro_batch, left(80), 15)[0] == (10, 2)
    assert follow(micro_batch, left(900), 100) == [(19, 16)]


def test_memory_that_comes_and_goes_changes_nothing():
    micro_batch = make()
    follow(micro_batch, left(110), 11)
    for _ in range(20):
        assert follow(micro_batch, left(900), 15) == []
        assert follow(micro_batch, left(115), 1) == []


def test_sizes_divide_the_rows_of_a_step():
    for effective in (6, 30, 32, 97):
        micro_batch = make(batch_size=effective, effective_batch=effective)
        sizes = [size for free in range(1000, 0, -20) for _, size in follow(micro_batch, left(free), 12)]
        assert all(effective % size == 0 for size in sizes)


def test_waiting_for_memory_makes_it_scarce_earlier():
    at = 1.5 * LOW * LIMIT
    assert follow(make(), lambda size: at, 50, stalled_percent=5.0) == []
    assert follow(make(), lambda size: at, 11, stalled_percent=20.0) == [(10, 8)]


def test_a_small_pass_is_not_made_smaller_for_a_share_of_a_large_machine():
    micro_batch = MicroBatch(4, 8, row_bytes=1, limit_bytes=10**9)
    assert follow(micro_batch, lambda size: 10**6, 50) == []


@pytest.mark.parametrize(
    ("text", "percent"),
    [("some avg10=12.50 avg60=1.00 avg300=0.10 total=5\nfull avg10=9.0 avg60=0 avg300=0 total=2\n", 12.5), ("", 0.0)],
)
def test_memory_pressure_is_read_from_the_kernel_if_available(tmp_path, text, percent):
    (tmp_path / "memory").write_text(text)
    assert stalled_percent(tmp_path / "memory") == percent
    assert stalled_percent(tmp_path / "nowhere") == 0.0


def test_scarcity_begins_at_once_and_ends_after_a_while_even_if_the_rows_per_pass_stay():
    fixed = MicroBatch(16, 32, row_bytes=ROW, limit_bytes=LIMIT, adapt=False)
    assert follow(fixed, lambda size: 0, 7) == []
    assert not fixed.is_scarce  # what tracing took is given back soon
    assert follow(fixed, lambda size: 0, 20) == []
    assert fixed.is_scarce
    follow(fixed, left(900), 19)
    assert fixed.is_scarce
    follow(fixed, left(900), 1)
    assert not fixed.is_scarce


def test_growth_waits_longer_each_time_it_had_to_be_undone():
    micro_batch = make()
    shrink, grow = left(110), left(900)
    follow(micro_batch, shrink, 20)
    waited = []
    for _ in range(3):
        waited.append(follow(micro_batch, grow, 200)[0][0] + 1)
        assert follow(micro_batch, shrink, 20)
    assert waited == [20, 40, 80]


def recent(anon, available, *, most=0):
    latest = Sample(seconds=0, phase="train", anon_bytes=anon, rss_bytes=0, available_bytes=available)
    return Recent(latest, available, max(anon, most))


def test_what_a_step_leaves_is_known_even_if_no_sample_met_its_peak():
    peak = StepPeak()
    assert peak.available_bytes(recent(100, 50, most=130)) == 20
    assert peak.available_bytes(recent(100, 40)) == 10  # others took 10, and the step goes up by 30 as before
    peak.forget()
    assert peak.available_bytes(recent(100, 40)) == 40
