"""What a column of a Parquet or HDF5 file holds: text, numbers, or something that is neither; its name for users."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError

Cells = list[bytes | None]
"""The cells of a column of text; None where there is none."""


def decoded(column: Any) -> Any:
    """Return an Arrow array without its dictionary or extension type; tensors and numpy arrays as they are."""
    if isinstance(column, np.ndarray):
        return column
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType) and not isinstance(column.type, pa.FixedShapeTensorType):
        column = column.storage
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def text_cells(column: Any) -> Cells | None:
    """Return the cells of a column of text, or of bytes, as bytes; None for a column of any other type."""
    if isinstance(column, np.ndarray):
        if column.ndim != 1 or column.dtype.kind not in "SO":
            return None
        cells = [cell.encode() if isinstance(cell, str) else cell for cell in column.tolist()]
        return cells if all(isinstance(cell, bytes) for cell in cells) else None
    import pyarrow as pa

    column = decoded(column)
    if is_text(column.type):
        cells = column.cast(pa.large_binary()).to_pylist()
        return cells
    return None


def refuse_unreadable_times(column: Any) -> None:
    """Raise DataError unless a timestamp column is of a type that can hold times: times, dates, numbers, text.

    Floats below 64 bits cannot: at the seconds of today those of 32 bits are 128 apart.
    """
    column = decoded(column)
    if bits := _short_float_bits(column):
        raise DataError(
            f"column 'timestamp' holds float{bits}, which rounds times by up to a minute or more; expected exact ones: "
            f"write the times from their origin as int64 or float64, for these are rounded already"
        )
    if isinstance(column, np.ndarray):
        accepted = column.ndim == 1 and (column.dtype.kind in "fiu" or text_cells(column) is not None)
    else:
        import pyarrow.types as kinds

        tests = (
            kinds.is_timestamp,
            kinds.is_date,
            kinds.is_integer,
            kinds.is_floating,
            kinds.is_decimal,
            kinds.is_null,
            is_text,
        )
        accepted = any(test(column.type) for test in tests)
    if not accepted:
        raise DataError(
            f"column 'timestamp' holds {type_name(column)}; expected one time per row: write it as a timestamp type, "
            f"as ISO 8601 text, or as int64 since 1970"
        )


def _short_float_bits(column: Any) -> int:
    """Return the bits of a column of floats of fewer than 64; 0 for any other column."""
    if isinstance(column, np.ndarray):
        short = column.dtype.kind == "f" and column.dtype.itemsize < 8
        return 8 * column.dtype.itemsize if short else 0
    import pyarrow.types as kinds

    return 16 if kinds.is_float16(column.type) else 32 if kinds.is_float32(column.type) else 0


def is_text(kind: Any) -> bool:
    """Return whether an Arrow type is text or bytes."""
    import pyarrow.types as kinds

    tests = (
        kinds.is_string,
        kinds.is_large_string,
        kinds.is_string_view,
        kinds.is_binary,
        kinds.is_large_binary,
        kinds.is_binary_view,
    )
    return any(test(kind) for test in tests)


def is_number(kind: Any) -> bool:
    """Return whether an Arrow type is an integer or a float."""
    import pyarrow.types as kinds

    return bool(kinds.is_integer(kind) or kinds.is_floating(kind))


def leaf_type(kind: Any) -> Any:
    """Return the Arrow type inside all lists."""
    import pyarrow.types as kinds

    while kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def with_leaf(kind: Any, test: Any, leaf: Any) -> Any:
    """Return an Arrow type in which the type inside all lists, if it passes the test, is `leaf`."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return pa.list_(with_leaf(kind.value_type, test, leaf), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(with_leaf(kind.value_type, test, leaf))
    if pa.types.is_large_list(kind):
        return pa.large_list(with_leaf(kind.value_type, test, leaf))
    return leaf if test(kind) else kind


def type_name(column: Any) -> str:
    """Return what a column holds in a word, and its exact type: "struct (struct<open: double>)"."""
    if isinstance(column, np.ndarray):
        words = {"V": "struct", "c": "complex numbers", "S": "text", "b": "numbers", "O": "objects"}
        word = words.get(column.dtype.kind, "numbers")
        return f"{word} ({column.dtype!s:.60} of shape {'x'.join(map(str, column.shape[1:])) or 'one per row'})"
    import pyarrow.types as kinds

    leaf = leaf_type(column.type)
    names = (
        (is_text, "text"),
        (kinds.is_decimal, "decimal"),
        (kinds.is_struct, "struct"),
        (kinds.is_map, "map"),
        (kinds.is_temporal, "times"),
        (kinds.is_boolean, "booleans"),
        (is_number, "numbers"),
    )
    word = next((word for test, word in names if test(leaf)), "values")
    return f"{'lists of ' if leaf != column.type else ''}{word} ({column.type!s:.60})"
