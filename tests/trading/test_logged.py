"""Logs of another agent: read as they are, faults named, nothing invented."""

import json

import numpy as np
import pytest

from deeptrade.errors import DataError
from deeptrade.trading.logged import ACTIONS, read_log
from tests.support.logs import NAMES, log_rows, with_times, write_log


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.csv"


def kinds(log):
    return {fault.kind for fault in log.faults}


def text_of(log, kind):
    return next(fault.text for fault in log.faults if fault.kind == kind)


def changed(rows, column, value, every=1):
    """Return the rows with another cell in every nth of them."""
    place = NAMES.index(column)
    return [[*row[:place], value, *row[place + 1 :]] if not n % every else row for n, row in enumerate(rows)]


def test_what_is_read_is_what_was_written(path):
    rows = log_rows()
    log = read_log(write_log(path, rows))
    np.testing.assert_array_equal(log.states, np.array([json.loads(row[0]) for row in rows], np.float32))
    np.testing.assert_array_equal(log.following, np.array([json.loads(row[3]) for row in rows], np.float32))
    assert [ACTIONS[action] for action in log.actions] == [row[1] for row in rows]
    assert log.rewards.tolist() == [float(row[2]) for row in rows]
    assert log.ends.tolist() == [row[4] == "1" for row in rows]
    assert (log.read, len(log), log.unread) == (300, 300, {})


def test_a_log_without_a_fault_but_its_unit_has_only_that_named(path):
    log = read_log(write_log(path, with_times(log_rows()), header=["timestamp", *NAMES]))
    assert kinds(log) == {"log"}


@pytest.mark.parametrize("prepare", [lambda rows: rows, with_times], ids=["five cells", "six cells"])
def test_a_missing_header_is_named_and_the_first_row_kept(path, prepare):
    rows = log_rows()
    log = read_log(write_log(path, prepare(rows), header=None))
    assert len(log) == 300
    assert "no_header" in kinds(log)
    assert log.rewards[0] == float(rows[0][2])


def test_columns_may_stand_in_any_order(path):
    rows = [row[::-1] for row in log_rows()]
    log = read_log(write_log(path, rows, header=NAMES[::-1]))
    np.testing.assert_array_equal(log.states, read_log(write_log(path, log_rows())).states)


def test_actions_may_be_numbers_in_the_originals_order(path):
    rows = log_rows()
    numbered = [[old, str(ACTIONS.index(action)), *rest] for old, action, *rest in rows]
    np.testing.assert_array_equal(read_log(write_log(path, numbered)).actions, read_log(write_log(path, rows)).actions)


def test_a_state_in_one_more_pair_of_brackets_is_the_same_state(path):
    rows = [[f"[{old}]", action, reward, f"[{new}]", done] for old, action, reward, new, done in log_rows()]
    assert read_log(write_log(path, rows)).states.shape == (300, 3)


@pytest.mark.parametrize(("scale", "kind"), [(1, "log"), (100, "percent"), (0, "unknown")])
def test_the_unit_of_rewards_is_told_by_their_size(path, scale, kind):
    rows = [[old, action, str(scale * float(reward)), new, done] for old, action, reward, new, done in log_rows()]
    log = read_log(write_log(path, rows))
    assert log.unit == kind
    assert kind in kinds(log)


def test_done_that_is_never_set_is_named(path):
    log = read_log(write_log(path, changed(log_rows(), "done", "0")))
    assert "never_done" in kinds(log)
    assert not log.ends.any()


def test_a_missing_column_done_is_named_and_means_no_end(path):
    log = read_log(write_log(path, [row[:-1] for row in log_rows()], header=NAMES[:-1]))
    assert {"no_done"} <= kinds(log)
    assert "never_done" not in kinds(log)
    assert not log.ends.any()


def test_states_that_do_not_change_are_counted(path):
    rows = [
        [old, action, reward, old if n < 120 else new, done]
        for n, (old, action, reward, new, done) in enumerate(log_rows())
    ]
    assert "120 of 300 rows" in text_of(read_log(write_log(path, rows)), "same_state")


def test_an_action_that_is_not_known_is_named_and_its_rows_left_out(path):
    log = read_log(write_log(path, changed(log_rows(), "action", "BUY", every=10)))
    assert log.unread == {"the action is not known": 30}
    assert "'BUY'" in text_of(log, "unknown_action")
    assert len(log) == 270


def test_an_action_that_no_row_has_is_named(path):
    rows = [row for row in log_rows(500) if row[1] != "SHORT"]
    assert "SHORT" in text_of(read_log(write_log(path, rows)), "unseen_action")


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("old_state", "[1, 2", "old_state is no JSON array of numbers"),
        ("old_state", "null", "old_state is no JSON array of numbers"),
        ("new_state", '["a", "b", "c"]', "new_state is no JSON array of numbers"),
        ("new_state", "[[1, 2], [3]]", "new_state is no JSON array of numbers"),
        ("old_state", "[1, NaN, 2]", "old_state has a number that is not finite"),
        ("old_state", "[1, 1e99, 2]", "old_state has a number that is not finite"),
        ("old_state", "[1, 2]", "a state of another length"),
        ("old_state", "[" * 100_000, "old_state is no JSON array of numbers"),
        ("reward", "", "the reward is no finite number"),
        ("reward", "inf", "the reward is no finite number"),
        ("reward", "1e999", "the reward is no finite number"),
        ("done", "perhaps", "done is neither 0 nor 1"),
    ],
)
def test_a_row_that_cannot_be_read_is_counted_with_its_reason(path, column, value, reason):
    rows = log_rows()
    log = read_log(write_log(path, changed(rows, column, value, every=20)))
    assert log.unread == {reason: 15}
    assert log.read == len(log) + 15 == 300
    kept = [float(row[2]) for number, row in enumerate(rows) if number % 20]
    assert log.rewards.tolist() == kept  # nothing takes the place of what is left out


def test_a_row_that_is_cut_off_and_another_header_are_counted(path):
    rows = log_rows()
    log = read_log(write_log(path, [*rows[:100], NAMES, *rows[100:], rows[0][:3]]))
    assert log.unread == {"another header": 1, "too few cells": 1}


def test_bytes_that_are_no_text_cost_only_their_row(path):
    write_log(path, log_rows())
    content = path.read_bytes()
    place = content.index(b"]", 5000)
    path.write_bytes(content[:place] + b"\xff" + content[place:])
    assert sum(read_log(path).unread.values()) == 1


def test_rows_are_taken_in_order_of_time(path):
    hours = np.random.default_rng(1).permutation(300)
    rows = with_times(log_rows(), hours.tolist())
    log = read_log(write_log(path, rows, header=["timestamp", *NAMES]))
    assert "out_of_order" in kinds(log)
    assert log.rewards.tolist() == [float(rows[place][3]) for place in np.argsort(hours)]


def test_without_times_the_order_of_the_rows_is_named_as_what_it_is(path):
    assert "no_times" in kinds(read_log(write_log(path, log_rows())))


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (log_rows(199), NAMES, "199 transitions, at least 200"),
        ([], NAMES, "0 transitions"),
        ([], None, "0 transitions"),
        (log_rows(), ["old_state", "action", "profit", "new_state", "done"], "no column 'reward'"),
        ([["1", "2"]], None, "accepted: a header"),
        (changed(log_rows(), "reward", "x"), NAMES, "300 of 300 rows cannot be read"),
    ],
)
def test_a_file_that_cannot_teach_is_refused_in_one_line(path, rows, header, says):
    with pytest.raises(DataError) as raised:
        read_log(write_log(path, rows, header=header))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_one_line(path):
    with pytest.raises(DataError, match=r"log\.csv: No such file"):
        read_log(path)
