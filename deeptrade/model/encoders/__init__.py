"""Encoders: each turns features of equal steps and channels into tokens, in one computation with weights of their own.

An encoder is a Keras layer over float32 (features, rows, ...), normalized, that returns (rows, features, 2 * units). No
encoder looks across rows, none draws random numbers, and each is a file here. Two are a choice, `ENCODERS`, for
sequences; vectors have one of their own.
"""

from .multiscale import Multiscale
from .recurrent import Recurrent
from .stacked import Stacked
from .vector import Vector

ENCODERS: dict[str, type[Stacked]] = {"multiscale": Multiscale, "recurrent": Recurrent}
"""Encoders of sequences by the name of the setting; `settings.ENCODERS` names them too."""

__all__ = ["ENCODERS", "Multiscale", "Recurrent", "Stacked", "Vector"]
