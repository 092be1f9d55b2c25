"""Keras on TensorFlow, with the settings our results rest on, whatever other projects' keras.json and variables say.

Everything of ours takes both from here: `from ..data.backend import keras, tf`. Where we are the first to import one of
them in a process (TensorFlow imports Keras), neither keras.json nor any variable KERAS_* is read. Where a notebook had
imported them before, `refuse_other_settings` says what differs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import SettingsError

_BACKEND = "tensorflow"
_asked = os.environ.get("KERAS_BACKEND", _BACKEND) if "keras" not in sys.modules else _BACKEND


@contextmanager
def _own_settings() -> Iterator[None]:
    """Let Keras be imported without the user's configuration; it reads keras.json and variables once, at import.

    A home that is no folder has no keras.json, and Keras writes none there. Afterwards its home, where it keeps files
    that it downloads, is the usual one again.
    """
    if "keras" in sys.modules:
        yield
        return
    before = {name: value for name, value in os.environ.items() if name.startswith("KERAS_")}
    for name in before:
        del os.environ[name]
    os.environ.update(KERAS_HOME=os.devnull, KERAS_BACKEND=_BACKEND)
    try:
        yield
        sys.modules["keras.src.backend.config"].__dict__["_KERAS_DIR"] = before.get(
            "KERAS_HOME", str(Path("~/.keras").expanduser())
        )
    finally:
        del os.environ["KERAS_HOME"], os.environ["KERAS_BACKEND"]
        os.environ.update(before)


with _own_settings():
    import keras
    import tensorflow as tf

if keras.config.backend() != _BACKEND:
    raise SettingsError(
        f"Keras runs on {keras.config.backend()!r} in this process, DeepTrade needs 'tensorflow'; restart it, and "
        f"import deeptrade before keras or set KERAS_BACKEND=tensorflow"
    )


def left_aside() -> list[str]:
    """Return what of the user's configuration is not used, a line each."""
    if _asked in ("", _BACKEND):
        return []
    return [f"KERAS_BACKEND={_asked} has no effect: DeepTrade trains with TensorFlow"]


def refuse_other_settings() -> None:
    """Raise SettingsError where a setting of Keras in this process would change results."""
    usual = {"floatx": "float32", "image_data_format": "channels_last", "dtype_policy": "float32"}
    for name, expected in usual.items():
        value = getattr(keras.config, name)()
        value = getattr(value, "name", value)
        if value != expected:
            raise SettingsError(
                f"keras.config.{name}() is {value!r} in this process, DeepTrade needs {expected!r}; "
                f"call keras.config.set_{name}({expected!r}) first, or correct keras.json"
            )


__all__ = ["keras", "left_aside", "refuse_other_settings", "tf"]
