"""What tests of forecasters share."""

import numpy as np


def scrambled(model, seed=0):
    """Give every weight a random value, the head too, so that forecasts differ."""
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(0, 0.1, variable.shape))
    return model
