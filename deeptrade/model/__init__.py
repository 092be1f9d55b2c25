"""The forecaster and its layers; importing this lets `keras.models.load_model` read a saved model.

How many parameters a size has is arithmetic that needs no TensorFlow: see `planning.sizes`. How the model is trained is
in `training`.
"""

from .forecaster import Forecaster, build_forecaster, half_width_of, with_calibration
from .layers import Calibrated, SequenceNormalization, VectorNormalization
from .recurrence import Recurrence

__all__ = [
    "Calibrated",
    "Forecaster",
    "Recurrence",
    "SequenceNormalization",
    "VectorNormalization",
    "build_forecaster",
    "half_width_of",
    "with_calibration",
]
