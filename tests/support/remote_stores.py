"""A store of seven features for the tests of stores in an object store."""

import subprocess
import sys

import numpy as np

from deeptrade.store import compile_store

ROWS = 400
SEVEN = {f"arr_{number}": (12, 9) for number in range(7)}


def forget(tmp_path):
    """Remove the user's cache."""
    subprocess.run(["rm", "-rf", tmp_path / "cache"], check=True)


def file_of(object_store, name):
    """The key of a file of the one store in the bucket."""
    (key,) = (key for key in object_store.names() if key.endswith(f"/{name}"))
    return key


def local_of(seven, tmp_path):
    return compile_store(seven.path, store=tmp_path / "local.dtstore")


def rows_of(data, features=None):
    return data.read(np.arange(data.rows), features)


def assert_same_rows(one, other):
    for name, values in rows_of(one).items():
        np.testing.assert_array_equal(values, rows_of(other)[name])
    np.testing.assert_array_equal(one.targets, other.targets)
    np.testing.assert_array_equal(one.timestamps, other.timestamps)


def held(tmp_path):
    """Bytes of disk that the cache takes."""
    return sum(path.stat().st_blocks * 512 for path in (tmp_path / "cache").rglob("*.f32"))


def child(code, *arguments):
    """A fresh process that runs some code."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
