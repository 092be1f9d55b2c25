import threading
import time

import numpy as np
import pytest

from deeptrade.errors import DoesNotFitError
from deeptrade.memory import MemoryLimits, read_memory
from deeptrade.memory.budget import ByteBudget


def test_leases_never_hold_more_than_the_limit():
    budget, most = ByteBudget(lambda: 1000), [0]
    generator = np.random.default_rng(0)
    sizes = [generator.integers(1, 1000, 50).tolist() for _ in range(6)]

    def work(wanted):
        for size in wanted:
            with budget.lease(size, "a buffer"):
                most[0] = max(most[0], budget.leased_bytes)
                time.sleep(0.0002)

    threads = [threading.Thread(target=work, args=(wanted,)) for wanted in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert 500 < most[0] <= 1000
    assert budget.leased_bytes == 0


def test_a_lease_waits_until_another_is_given_back():
    budget = ByteBudget(lambda: 100)
    first, got = budget.lease(80, "one"), []
    waiting = threading.Thread(target=lambda: got.append(budget.lease(50, "two")))
    waiting.start()
    time.sleep(0.05)
    assert not got
    first.release()
    waiting.join(5)
    assert got[0].nbytes == 50
    first.release()  # once more changes nothing
    assert budget.leased_bytes == 50


def test_what_alone_is_over_the_limit_is_refused_with_the_numbers():
    budget = ByteBudget(lambda: 2048)
    with pytest.raises(DoesNotFitError, match=r"^a row needs 3\.0 KiB, 2\.0 KiB may be used; use fewer features"):
        budget.lease(3072, "a row", advice="use fewer features")


def test_a_limit_that_grows_lets_a_waiting_lease_through_and_one_that_shrinks_holds_the_next_back():
    limit = [100]
    budget = ByteBudget(lambda: limit[0])
    held = budget.lease(60, "one")
    limit[0] = 50
    assert budget.try_lease(1) is None
    limit[0] = 200
    assert budget.try_lease(100).nbytes == 100
    held.release()


def test_what_can_be_freed_is_freed_before_a_lease_is_refused():
    budget = ByteBudget(lambda: 100)
    kept = [budget.lease(40, "a cache"), budget.lease(40, "a cache")]

    def free(wanted):
        kept.pop().release()

    budget.on_shortage(free)
    lease = budget.try_lease(50)
    assert lease.nbytes == 50
    assert len(kept) == 1
    budget.off_shortage(free)
    assert budget.try_lease(50) is None


def test_waiting_ends_with_the_numbers_when_its_time_is_over():
    budget = ByteBudget(lambda: 100)
    words = "two needs 50 B, 100 B may be used, 80 B of it in use"
    with budget.lease(80, "one"), pytest.raises(DoesNotFitError, match=words):
        budget.lease(50, "two", timeout_seconds=0.05)


def test_the_budget_of_a_process_is_what_is_left_under_its_limits():
    small = ByteBudget.of_process(MemoryLimits.of(1))
    assert small.try_lease(1 << 10) is None
    large = ByteBudget.of_process()
    with large.lease(1 << 20, "a buffer"):
        assert large.limit_bytes > 1 << 20


def test_a_lease_that_is_not_filled_yet_is_not_counted_twice():
    budget = ByteBudget.of_process(MemoryLimits.of(read_memory().anon_bytes + (200 << 20)))
    with budget.lease(150 << 20, "a window"):
        for _ in range(2):
            assert budget.try_lease(150 << 20) is None
            time.sleep(0.6)


def test_a_squeezed_budget_gives_only_what_is_needed_and_frees_the_rest():
    budget = ByteBudget(lambda: 100)
    kept = [budget.try_lease(20, needed=False)]

    def free(wanted):
        kept.clear()

    budget.on_shortage(free)
    budget.squeeze(True)
    assert budget.leased_bytes == 0
    assert budget.try_lease(1, needed=False) is None
    assert budget.try_lease(30).nbytes == 30
    budget.squeeze(False)
    assert budget.try_lease(1, needed=False) is not None


def test_two_budgets_of_a_process_do_not_give_the_same_bytes_twice():
    limits = MemoryLimits.of(read_memory().anon_bytes + (200 << 20))
    one, other = ByteBudget.of_process(limits), ByteBudget.of_process(limits)
    with one.lease(150 << 20, "the window of a reader"):
        assert other.leased_bytes == 150 << 20
        assert other.try_lease(150 << 20) is None
    assert other.leased_bytes == 0
    with other.lease(150 << 20, "the window of another"):
        assert one.try_lease(150 << 20) is None
