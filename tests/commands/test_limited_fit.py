import errno

import pytest
import tensorflow as tf

from deeptrade.commands.limited_fit import lacks_memory
from deeptrade.errors import DataError, DiskFullError, DoesNotFitError


def caused_by(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        DoesNotFitError("batch_size=4096 needs 3 GiB"),
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "allocating a tensor"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        caused_by(RuntimeError("the graph failed"), tf.errors.ResourceExhaustedError(None, None, "allocating")),
    ],
    ids=repr,
)
def test_a_lack_of_memory_is_known_by_the_type_of_the_error_or_of_its_cause(error):
    assert lacks_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        DataError("100 MiB may be used, MemoryError, OOM, bad_alloc: only words"),
        DiskFullError("writing result.json: No space left on device"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("failed to allocate"),
    ],
    ids=repr,
)
def test_words_about_memory_and_a_full_disk_are_no_lack_of_memory(error):
    assert not lacks_memory(error)
