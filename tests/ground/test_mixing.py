import numpy as np

from deeptrade.mixing import draw, mix


def test_numbers_drawn_and_mixed_are_these_for_ever():
    # Ids of data, orders and initial weights lean on them.
    assert [draw("weights", number, below=10) for number in range(5)] == [5, 1, 3, 6, 9]
    assert draw("", 0, below=2**64) == 4738603851333093638
    assert mix(np.arange(2, dtype=np.uint64), 1).tolist() == [6238072747940578789, 15839785061582574730]


def test_every_number_is_about_as_likely_as_another():
    counts = np.bincount([draw("data", number, below=7) for number in range(7000)], minlength=7)
    assert len(counts) == 7
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(1000)


def test_another_key_draws_other_numbers():
    assert len({tuple(draw(key, number, below=100) for number in range(9)) for key in "abc"}) == 3
