"""The forecaster; importing this module lets `keras.models.load_model` read a saved model."""

from .forecaster import Forecaster, build_forecaster
from .layers import SequenceNormalization, VectorNormalization
from .recurrence import Recurrence

__all__ = ["Forecaster", "Recurrence", "SequenceNormalization", "VectorNormalization", "build_forecaster"]
