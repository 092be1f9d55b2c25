"""What tests of forecasters share."""

import numpy as np

from deeptrade.sources.schema import Feature, Schema
from deeptrade.sources.statistics import Moments

SEQUENCES = Schema(
    (Feature("arr_a", (1, 23, 3)), Feature("arr_b", (1, 23, 3)), Feature("arr_c", (1, 5, 2)), Feature("arr_d", (4,))), 3
)
"""Two sequences of one shape, one of another, and a vector; three horizons."""


def scrambled(model, seed=0):
    """Give every weight a random value, the head too, so that forecasts differ."""
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(0, 0.1, variable.shape))
    return model


def masked_batch(schema, seed=0, rows=12):
    """Inputs and targets; each horizon is masked differently, and rows 4 and 5 have no target at all."""
    generator = np.random.default_rng(seed)
    x = {f.name: generator.normal(3, 2, (rows, *f.shape)).astype(np.float32) for f in schema.features}
    y = generator.normal(0, 2, (rows, schema.horizons)).astype(np.float32)
    y[generator.random(y.shape) < 0.3] = np.nan
    y[4:6] = np.nan
    return x, y


def forecaster(schema, encoder, *, target_scale=None, **options):
    """An untrained tiny forecaster that knows the statistics of a batch."""
    from deeptrade.model import build_forecaster

    statistics = {}
    for feature in schema.features:
        moments = Moments(feature)
        moments.add(masked_batch(schema, 9)[0][feature.name])
        statistics[feature.name] = moments.result()
    scale = np.ones(schema.horizons, np.float32) if target_scale is None else target_scale
    return build_forecaster(
        schema, model_size="tiny", encoder=encoder, statistics=statistics, target_scale=scale, **options
    )
