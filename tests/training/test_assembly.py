import json

import numpy as np
import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError
from deeptrade.settings import FitSettings
from deeptrade.store.row_range import RowRange
from deeptrade.training.assembly import build_trainer, lasting_statistics, target_scale, unusual_targets
from tests.support.markets import make_market


def test_targets_are_scaled_by_the_deviation_of_the_known_ones():
    targets = np.array([[1, 5, np.nan], [3, 5, np.nan], [np.nan, 5, np.nan]], np.float32)
    scale = target_scale(targets)
    assert scale.dtype == np.float32
    assert scale.tolist() == [1, 1, 1]
    assert target_scale(targets * 4)[0] == 4


def test_small_returns_keep_their_precision_over_many_rows():
    targets = np.random.default_rng(0).normal(5, 1e-3, (100_000, 1)).astype(np.float32)
    assert target_scale(targets)[0] == pytest.approx(targets.astype(np.float64).std(), rel=1e-6)


def test_a_file_without_any_target_is_refused():
    with pytest.raises(DataError, match="no training row has a target"):
        target_scale(np.full((3, 2), np.nan, np.float32))


def test_the_model_knows_the_training_rows_and_no_others(market):
    settings = FitSettings(model_size="tiny", features="arr_ctx", batch_size=3, grad_accum=True, accum_steps=5)
    rows, scale = RowRange(10, 30), np.ones(2, np.float32)
    with open_dataset(market.path) as data:
        trainer = build_trainer(settings, data, rows, scale=scale, precision="float32")
    means = [v.numpy() for v in trainer.model.non_trainable_variables if v.name == "mean"]
    np.testing.assert_allclose(means[0].ravel(), market.features["arr_ctx"][10:30, 0].mean(axis=0), rtol=1e-6)
    assert trainer.model.feature_names == ("arr_ctx",)
    assert trainer.effective_batch == 15


def test_a_channel_that_drifts_has_no_standard_view_and_one_that_returns_keeps_it(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=400, shapes={"arr_s": (1, 5, 2), "arr_v": (1, 3)})
    walk = np.cumsum(np.random.default_rng(1).normal(0, 1, 400))
    for row, cells in enumerate(market.cells):
        sequence, vector = json.loads(cells[1]), json.loads(cells[2])
        for step in sequence[0]:
            step[1] = 50 + walk[row]
        vector[0][2] = 50 + walk[row]
        cells[1:3] = json.dumps(sequence), json.dumps(vector)
    market.write()
    with open_dataset(market.path) as data:
        rows = data.split(0.2).train
        plain, lasting = data.statistics(rows), lasting_statistics(data, rows, data.schema.names)
    np.testing.assert_array_equal(np.isinf(lasting["arr_s"].std), [False, True])
    np.testing.assert_array_equal(np.isinf(lasting["arr_v"].std), [False, False, True])
    np.testing.assert_array_equal(lasting["arr_v"].std[:2], plain["arr_v"].std[:2])
    np.testing.assert_array_equal(lasting["arr_s"].relative_std, plain["arr_s"].relative_std)


def test_a_few_rows_are_not_mistaken_for_a_drift(tmp_path):
    for seed in range(20):
        with open_dataset(make_market(tmp_path / f"{seed}.csv", rows=60, seed=seed).path) as data:
            found = lasting_statistics(data, data.split(0.2).train, data.schema.names)
        assert all(np.isfinite(statistics.std).all() for statistics in found.values())


def test_the_quarters_of_rows_are_all_of_them_in_order():
    rows = RowRange(3, 40, np.array([5, 6, 30]))
    parts = rows.parts(4)
    np.testing.assert_array_equal(np.concatenate([part.numbers() for part in parts]), rows.numbers())
    assert [len(part) for part in parts] == [7, 9, 9, 9]


def test_implausible_targets_are_reported():
    targets = np.random.default_rng(0).normal(0, 0.01, (50, 2))
    assert unusual_targets(targets, np.arange(50)) == []
    targets[7, 1], targets[9, 0] = -1e38, np.nan
    assert [line.split(",")[0] for line in unusual_targets(targets, np.arange(100, 150))] == [
        "y_2 is -1e+38 in row 107"
    ]
    assert unusual_targets(np.full((5, 1), np.nan), np.arange(5)) == []
    assert unusual_targets(np.zeros((5, 1)), np.arange(5)) == []
