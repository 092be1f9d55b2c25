"""The forecaster, its layers and its sizes; importing this lets `keras.models.load_model` read a saved model.

`sizes` counts parameters by arithmetic alone, so that planning needs no TensorFlow. How the model is trained is in
`training`.
"""

from .forecaster import Forecaster, build_forecaster
from .layers import SequenceNormalization, VectorNormalization
from .recurrence import Recurrence

__all__ = ["Forecaster", "Recurrence", "SequenceNormalization", "VectorNormalization", "build_forecaster"]
