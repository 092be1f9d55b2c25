import pytest

from deeptrade.memory import StepMemory
from deeptrade.memory.steps import SPIKE_BYTES, SPIKE_WARM_UP_STEPS

MB = 1 << 20


class Held:
    """Anonymous memory that the test controls."""

    def __init__(self):
        self.size, self.memory, self.seen = 500 * MB, None, []
        self.memory = StepMemory(look=lambda: self.size, sink=self.seen.append)

    def step(self, number, *passes):
        self.memory.begin(number)
        for phases in passes:
            for phase, change in phases.items():
                self.size += change
                self.memory.mark(phase)
            self.memory.next_batch()


def test_changes_belong_to_the_phase_that_ends_after_them():
    held = Held()
    held.step(1, {"read": 2 * MB, "forward": 30 * MB, "backward": -10 * MB})
    held.step(2, {"read": 0, "forward": 6 * MB, "backward": -6 * MB})
    rows = {row.phase: row for row in held.memory.table()}
    assert list(rows) == ["read", "forward", "backward"]
    assert (rows["forward"].visits, rows["forward"].first_bytes, rows["forward"].mean_bytes) == (2, 30 * MB, 18 * MB)
    assert rows["forward"].peak_bytes == 532 * MB
    assert rows["backward"].largest_bytes == -6 * MB


def test_changes_between_steps_belong_to_no_phase():
    held = Held()
    held.step(1, {"read": 0})
    held.size += 99 * MB
    held.step(2, {"read": MB})
    assert held.memory.table()[0].largest_bytes == MB


def test_a_jump_after_the_warm_up_is_named_by_step_batch_and_phase():
    held = Held()
    for number in range(1, SPIKE_WARM_UP_STEPS + 1):
        held.step(number, {"read": 0, "forward": 40 * MB if number == 3 else 0})
    assert held.seen == []
    held.step(11, {"read": 0, "forward": 0}, {"read": 0, "forward": SPIKE_BYTES + MB})
    held.step(12, {"read": 0, "forward": 0})
    assert [(s.step, s.batch, s.phase, s.rise_bytes) for s in held.seen] == [(11, 1, "forward", SPIKE_BYTES + MB)]
    assert held.memory.spikes == held.seen


@pytest.mark.parametrize("rise", [SPIKE_BYTES - 1, 15 * MB])
def test_small_rises_are_no_spikes(rise):
    held = Held()
    for number in range(1, 40):
        held.step(number, {"read": rise if number > 20 else 0, "apply": -rise if number > 20 else 0})
    assert held.seen == []
