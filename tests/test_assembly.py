import numpy as np
import pytest

from deeptrade.errors import DataError
from deeptrade.opening import open_dataset
from deeptrade.order import Rows
from deeptrade.settings import FitSettings
from deeptrade.training.assembly import build_trainer, target_scale


def test_targets_are_scaled_by_the_deviation_of_those_there_are():
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
    rows, scale = Rows(10, 30), np.ones(2, np.float32)
    with open_dataset(market.path) as data:
        trainer = build_trainer(settings, data, rows, scale=scale, precision="float32")
    means = [v.numpy() for v in trainer.model.non_trainable_variables if v.name == "mean"]
    np.testing.assert_allclose(means[0], market.features["arr_ctx"][10:30, 0].mean(axis=0), rtol=1e-6)
    assert trainer.model.feature_names == ("arr_ctx",)
    assert trainer.effective_batch == 15
