from dataclasses import dataclass

import numpy as np
import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.data.split import Split
from deeptrade.store.row_range import RowRange
from deeptrade.training.row_counts import count_rows, ledger_entries


@dataclass
class Data:
    """The parts of a dataset that counting needs: thirteen rows, two of them rejected."""

    rows = 13
    rejected = (1, 2)


@pytest.fixture
def data():
    return Data()


SPLIT = Split(train=RowRange(0, 6, [1, 2]), validation=RowRange(8, 10), purged=np.arange(6, 8), inner=RowRange(10, 13))


def left_out_of(epoch, *rows, reason="non_finite_step"):
    return [{"epoch": epoch, "row": row, "reason": reason, "detail": f"step {epoch}"} for row in rows]


def count(data, epochs, current, left_out=(), **options):
    rows = count_rows(data, SPLIT, epochs=epochs, current=np.array(current, int), left_out=left_out, **options)
    assert rows == naive_count(epochs, current, left_out, **options)
    return rows


def naive_count(epochs, current, left_out, unread=0, unread_inner=0):
    """The naive count, with sets: a row is trained if it was not left out in at least one turn."""
    turns = [(epoch, row) for epoch in range(epochs) for row in SPLIT.train.numbers().tolist()]
    turns += [(epochs, row) for row in current]
    missed = {(one["epoch"], one["row"]) for one in left_out}
    trained = {row for epoch, row in turns if (epoch, row) not in missed}
    had_a_turn = {row for _, row in turns}
    return {
        "read": 13,
        "trained": len(trained),
        "inner": 3 - unread_inner,
        "validation": 2 - unread,
        "purged": 2,
        "rejected": 2 + len(had_a_turn - trained) + unread + unread_inner,
        "unused": len(set(SPLIT.train.numbers().tolist()) - had_a_turn),
    }


def test_rows_not_reached_are_unused_and_none_are_after_an_epoch(data):
    assert count(data, 0, [5, 0]) == {
        "read": 13, "trained": 2, "inner": 3, "validation": 2, "purged": 2, "rejected": 2, "unused": 2
    }  # fmt: skip
    assert count(data, 1, [])["unused"] == 0
    assert count(data, 1, [3])["trained"] == 4


def test_a_row_left_out_in_every_epoch_is_rejected_and_one_trained_in_another_is_not(data):
    first, again = left_out_of(0, 3, 4), left_out_of(1, 4, 5)
    assert count(data, 0, [3, 4], first)["rejected"] == 2 + 2
    assert count(data, 1, [], first)["trained"] == 2
    assert count(data, 1, [3], first)["trained"] == 3
    assert count(data, 2, [], [*first, *again])["trained"] == 3


def test_inner_and_validation_rows_that_cannot_be_read_are_rejected(data):
    rows = count(data, 1, [], unread=1)
    assert (rows["validation"], rows["rejected"]) == (1, 3)
    rows = count(data, 1, [], unread_inner=2)
    assert (rows["inner"], rows["rejected"]) == (1, 4)


def test_the_ledger_has_each_row_once_and_knows_its_line(market):
    market.cells[7][3] = "[[1.0]]"
    market.write()
    with open_dataset(market.path, max_bad_rows=0.1) as dataset:
        left_out = [*left_out_of(0, 2, 9), *left_out_of(1, 9), *left_out_of(1, 3, reason="read_error")]
        split = Split(train=RowRange(0, 40), validation=RowRange(50, 60), purged=np.arange(45, 47))
        unread = {"row": 55, "reason": "read_error", "detail": "damaged"}
        entries = ledger_entries(dataset, split, [*left_out, unread])
    rows = [(entry.row, entry.reason, entry.detail) for entry in entries if entry.reason != "shape"]
    assert [entry.row for entry in entries] == [7, 45, 46, 2, 9, 3, 55]
    assert rows[2:] == [
        (2, "non_finite_step", "step 0"),
        (9, "non_finite_step", "step 0"),
        (3, "read_error", "step 1"),
        (55, "read_error", "damaged"),
    ]
    lines = market.lines()
    for entry in entries:
        assert entry.line == entry.row + 2
        assert entry.byte_offset == sum(map(len, lines[: entry.row + 1]))
