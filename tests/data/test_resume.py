"""Order and resuming, on rows that are computed: any number of them, no file."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrade.data.batches import BatchReader
from deeptrade.data.dataset import Dataset
from deeptrade.data.order import Permutation
from deeptrade.errors import DoesNotFitError, RunConflictError, SettingsError
from deeptrade.memory import ByteBudget
from deeptrade.sources.schema import Feature, Schema
from deeptrade.store.ledger import LedgerEntry
from deeptrade.store.summary import Summary

SCHEMA = Schema((Feature("arr_n", (1,)),), horizons=1)
ROW_BYTES = SCHEMA.row_bytes + 8


class Computed:
    """Usable rows whose numbers are their positions."""

    def read(self, usable, features):
        return {f.name: np.broadcast_to(np.float32(usable)[:, None], (len(usable), f.size)) for f in features}

    def read_targets(self, usable):
        return usable.astype(np.float32)[:, None]

    def release(self):
        pass

    def close(self):
        pass


def computed(rows, *, rejected=(), room=1 << 40, schema=SCHEMA):
    ledger = [LedgerEntry(row, row + 2, 0, "arr_n", "shape", "") for row in rejected]
    summary = Summary("computed", 0, "sha256:computed", schema, rows=rows, ledger=ledger)
    return Dataset(summary, Computed(), ByteBudget(lambda: room))


ways = st.tuples(st.integers(1, 40), st.integers(0, 4), st.floats(1, 20), st.integers(0, 9))


@given(st.integers(1, 150), st.sampled_from([0, 1, 16, 40]), st.sets(st.integers(0, 149)), st.lists(ways, max_size=8))
@settings(deadline=None, max_examples=100)
def test_stops_and_restores_of_any_kind_give_the_undisturbed_ids(rows, window_rows, rejected, stops):
    """Each stop serves some batches, then continues twice with another batch size, prefetch and budget."""
    rejected = sorted(row for row in rejected if row < rows)
    data = computed(rows, rejected=rejected)
    names = {"seed": 4, "window_rows": window_rows}
    plain = BatchReader(data, data.usable, batch_size=rows, **names)
    undisturbed = [batch.row_ids for epoch in (0, 1) for batch in plain.stream(epoch)]
    served, state = [], plain.state(0, 0)
    for batch_size, prefetch, room, count in [*stops, (7, 2, 9.0, 10**9)]:
        data.budget = ByteBudget(
            lambda room=room, size=batch_size: int((room * size + 2 * window_rows + 32) * ROW_BYTES)
        )
        for _ in range(2):
            reader = BatchReader(data, data.usable, batch_size=batch_size, prefetch=prefetch, **names)
            epoch, position = reader.restore(json.loads(json.dumps(state)))
        while epoch < 2 and count:
            stream = reader.stream(epoch, start=position)
            for batch in stream:
                served.append(batch.row_ids)
                np.testing.assert_array_equal(
                    batch.targets[:, 0], batch.row_ids - np.searchsorted(rejected, batch.row_ids)
                )
                position, count = position + len(batch.row_ids), count - 1
                if not count:
                    break
            stream.close()
            if position == reader.samples:
                epoch, position = epoch + 1, 0
        reader.close()
        assert data.budget.leased_bytes == 0
        state = reader.state(epoch, position)
    np.testing.assert_array_equal(np.concatenate([*served, []]), np.concatenate([*undisturbed, []]))
    assert sorted(np.concatenate([*served, []])) == sorted(2 * data.usable.numbers().tolist())


@pytest.mark.parametrize("window_rows", [0, 200_000])
def test_a_state_among_a_hundred_million_rows_is_restored_without_computing_their_order(window_rows, monkeypatch):
    rows, computed_entries, plain = 100_000_000, [], Permutation.at

    def at(self, positions):
        computed_entries.append(len(positions))
        return plain(self, positions)

    monkeypatch.setattr(Permutation, "at", at)
    data = computed(rows, rejected=range(0, rows, 100_000))
    reader = BatchReader(data, data.usable, batch_size=32, window_rows=window_rows)
    state = reader.state(3, 87_654_321)
    assert len(json.dumps(state)) < 1000
    computed_entries.clear()
    other = BatchReader(data, data.usable, batch_size=500, window_rows=window_rows)
    epoch, position = other.restore(state)
    stream = other.stream(epoch, start=position)
    batch = next(stream)
    assert 0 < sum(computed_entries) < rows / 50
    np.testing.assert_array_equal(batch.row_ids, reader.epoch_rows(3, position, position + 500))
    stream.close()


def test_a_lease_is_in_bytes_so_narrow_features_fit_where_wide_ones_do_not():
    data = computed(500, room=100_000, schema=Schema((Feature("arr_n", (5,)), Feature("arr_w", (500,))), horizons=1))
    narrow = BatchReader(data, data.usable, batch_size=400, features=["arr_n"])
    assert [len(batch.row_ids) for batch in narrow.stream(0)] == [400, 100]
    wide = BatchReader(data, data.usable, batch_size=400, features=["arr_w"])
    with pytest.raises(DoesNotFitError, match=r"a batch of 400 rows needs 785\.9 KiB, 97\.7 KiB may be used"):
        next(wide.stream(0))
    assert sum(len(batch.row_ids) for batch in wide.stream(0, batch_size=40)) == 500
    assert data.budget.leased_bytes == 0


def test_invalid_positions_are_refused():
    data = computed(50)
    reader = BatchReader(data, data.usable, batch_size=8)
    for change in ({"position": -5}, {"position": 51}, {"epoch": -1}, {"epoch": None}):
        with pytest.raises(RunConflictError, match="the state has epoch="):
            reader.restore(reader.state(0, 0) | change)
    for options, named in (
        ({"start": -5}, "start=-5"),
        ({"batch_size": -3}, "batch_size=-3"),
        ({"epoch": -1}, "epoch=-1"),
    ):
        with pytest.raises(SettingsError, match=f"^{named} is not accepted; use at least"):
            next(reader.stream(**{"epoch": 0, **options}))
