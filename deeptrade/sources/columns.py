"""Columns of Parquet and HDF5 files as numbers: lists, tensors and arrays, or the text that a CSV has in its cells.

A column is a numpy array (HDF5) or an Arrow array (Parquet). Text is read by the readers of CSV cells, so that a row is
taken, or rejected for the same reason, whichever kind of file it comes in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from .column_types import Cells, decoded, is_number, leaf_type, text_cells, type_name, with_leaf
from .faults import RowFault, infer_cell_shape, read_cell, read_number
from .kernels import MAX_AXES
from .records import RecordParser, Text
from .schema import Feature, array_shape
from .spellings import HOW_TO_WRITE


def read_feature(column: Any, feature: Feature, rows: int, faults: dict[int, RowFault]) -> np.ndarray:
    """Return float32 (rows, *shape); missing or ragged rows, or rows of another shape, are noted and left NaN.

    Raises DataError for a column of anything but numbers or their text, or of arrays of another shape.
    """
    text = text_cells(column)
    if text is not None:
        return _read_text(text, feature, faults)
    column = _numeric(column, feature.name, faults)
    _refuse_other_lists(column, feature.name)
    if isinstance(column, np.ndarray) and column.dtype != object:
        if column.shape[1:] != feature.cell_shape:
            given, expected = ("x".join(map(str, shape)) for shape in (column.shape[1:], feature.cell_shape))
            raise DataError(
                f"column {feature.name!r} has shape {given} here and {expected} before; use one shape for all rows"
            )
        return _single(column).reshape(rows, *feature.shape)
    flat = None if isinstance(column, np.ndarray) else _flatten(column, feature.cell_shape)
    if flat is not None:
        return _single(flat).reshape(rows, *feature.shape)
    values = np.full((rows, *feature.shape), np.nan, np.float32)
    for row, cell in enumerate(_lists(column)):
        try:
            values[row] = _single(np.array(_checked_cell(cell, feature), np.float64)).reshape(feature.shape)
        except RowFault as fault:
            faults.setdefault(row, fault)
    return values


def read_numbers(column: Any, name: str, faults: dict[int, RowFault]) -> np.ndarray:
    """Return float32 (rows,) of a column of targets or prices; nulls are NaN, text that is no number is noted."""
    text = text_cells(column)
    if text is None:
        column = _numeric(column, name, faults)
        values = column if isinstance(column, np.ndarray) else _leaves(column)
        if values.dtype.kind not in "fiub" or values.ndim != 1:
            raise DataError(
                f"column {name!r} holds {type_name(column)}; expected one number per row; write it as float64, "
                f"such as frame[{name!r}].astype('float64')"
            )
        return _single(values)
    numbers = np.full(len(text), np.nan)
    for row, cell in enumerate(text):
        try:
            numbers[row] = read_number(cell or b"", name)
        except RowFault as fault:
            faults.setdefault(row, fault)
    return _single(numbers)


def infer_feature(name: str, column: Any) -> Feature:
    """Return the feature with the most common shape in the first rows, so that one bad row does not decide.

    Raises DataError, naming the column and its type, if they hold no arrays of numbers.
    """
    text, shapes, fault = text_cells(column), Counter[tuple[int, ...]](), "no row"
    if text is None:
        column = _numeric(column, name, {})
        if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
            shapes[column.shape[1:]] += 1
        _refuse_other_lists(column, name)
    for cell in _lists(column) if text is None and not shapes else text or ():
        try:
            if text is not None:
                shapes[infer_cell_shape(cell or b"", name)] += 1
            elif cell is not None:
                shapes[array_shape(cell)] += 1
        except (RowFault, ValueError) as error:
            fault = getattr(error, "detail", str(error))
    shape = shapes.most_common(1)[0][0] if shapes else ()
    if not shapes and text is not None:
        advice = "" if HOW_TO_WRITE in fault else f"; {HOW_TO_WRITE}"
        raise DataError(f"column {name!r} holds text, but no JSON array in the first rows ({fault}){advice}")
    if not shape or 0 in shape:
        raise _no_arrays(column, name)
    if len(shape) > MAX_AXES:
        raise DataError(f"column {name!r} has {len(shape)} axes; at most {MAX_AXES} are accepted")
    return Feature(name, tuple(shape))


def _read_text(cells: Cells, feature: Feature, faults: dict[int, RowFault]) -> np.ndarray:
    """Return float32 (rows, *shape) of cells of JSON text: each is given to the parser of CSV as a line of its own."""
    lines = [b',"%b"' % (cell or b"") for cell in cells]
    ends = np.cumsum([len(line) + 1 for line in lines]) - 1
    starts = ends - [len(line) for line in lines]
    text = Text(np.frombuffer(b"\n".join([*lines, b""]), np.uint8), starts, ends)
    parsed = RecordParser(("timestamp", feature.name), ()).parse([(text, np.arange(len(cells)))], [feature])
    values = parsed.features[feature.name]
    for row in parsed.faults:
        values[row] = np.nan
        try:
            values[row] = read_cell(cells[row] or b"", feature).reshape(feature.shape)
        except RowFault as fault:
            faults.setdefault(row, fault)
    return values


def _single(values: np.ndarray) -> np.ndarray:
    """Return float32 of the float64 values, as those of text are: integers of 64 bits are rounded twice too."""
    with np.errstate(over="ignore"):
        if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
            values = values.astype(np.float64)
        return values.astype(np.float32)


def _checked_cell(cell: Any, feature: Feature) -> Any:
    if cell is None or cell == []:
        raise RowFault("missing", feature.name, "the cell is empty")
    try:
        shape = array_shape(cell)
    except ValueError as error:
        raise RowFault("ragged", feature.name, str(error)) from None
    if shape != feature.cell_shape:
        given, expected = ("x".join(map(str, s)) or "one number" for s in (shape, feature.cell_shape))
        raise RowFault("shape", feature.name, f"shape {given}, expected {expected}")
    return cell


def _numeric(column: Any, name: str, faults: dict[int, RowFault]) -> Any:
    """Return a column whose numbers are integers or floats; tensors as a numpy array whose missing rows are noted."""
    if isinstance(column, np.ndarray):
        return column
    import pyarrow as pa

    column = decoded(column)
    if isinstance(column.type, pa.FixedShapeTensorType):
        return _tensors(column, name, faults)
    as_text = with_leaf(column.type, pa.types.is_decimal, pa.string())
    if as_text != column.type:  # Arrow's own way from decimals to doubles is not rounded correctly
        column = column.cast(as_text).cast(with_leaf(as_text, pa.types.is_string, pa.float64()))
    for test, leaf in ((pa.types.is_boolean, pa.uint8()), (pa.types.is_null, pa.float64())):
        wanted = with_leaf(column.type, test, leaf)
        column = column if wanted == column.type else column.cast(wanted)
    wanted = with_leaf(column.type, pa.types.is_float16, pa.float32())
    return column if wanted == column.type else column.cast(wanted)


def _tensors(column: Any, name: str, faults: dict[int, RowFault]) -> np.ndarray:
    """Return (rows, *shape) in the order of axes that the type's permutation asks for; missing rows are NaN."""
    shape, order = column.type.shape, column.type.permutation or range(len(column.type.shape))
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    held = _leaves(_numeric(column.storage.filter(column.is_valid()), name, faults).flatten())
    if not valid.all():
        for row in np.flatnonzero(~valid).tolist():
            faults.setdefault(row, RowFault("missing", name, "the cell is empty"))
        filled = np.full((len(valid), held.size // max(1, int(valid.sum()))), np.nan)
        filled[valid] = held.reshape(int(valid.sum()), -1)
        held = filled
    return np.transpose(held.reshape(len(valid), *shape), [0, *(axis + 1 for axis in order)])


def _leaves(column: Any) -> np.ndarray:
    """Return the values of a flat Arrow array; a null number becomes NaN."""
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def _lists(column: Any) -> list[Any]:
    """Return the cells as nested lists; those of variable-length arrays of HDF5 too."""
    if not isinstance(column, np.ndarray):
        cells: list[Any] = column.to_pylist()
        return cells
    return [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in column.tolist()]


def _refuse_other_lists(column: Any, name: str) -> None:
    """Raise DataError for a column of anything but numbers or lists of them, by its type alone."""
    if not isinstance(column, np.ndarray):
        numeric = is_number(leaf_type(column.type))
    elif column.dtype == object:  # arrays of variable length
        numeric = all(cell.dtype.kind in "fiub" for cell in column.tolist() if isinstance(cell, np.ndarray))
    else:
        numeric = column.dtype.kind in "fiub"
    if not numeric:
        raise _no_arrays(column, name)


def _no_arrays(column: Any, name: str) -> DataError:
    return DataError(
        f"column {name!r} holds {type_name(column)}, no arrays of numbers in the first rows; "
        f"write lists of numbers, or JSON text by json.dumps(array.tolist())"
    )


def _flatten(column: Any, shape: Sequence[int]) -> np.ndarray | None:
    """Return the numbers of an Arrow list array; None unless every row has exactly this shape."""
    import pyarrow as pa

    for length in shape:
        if column.null_count:
            return None
        if pa.types.is_fixed_size_list(column.type):
            if column.type.list_size != length:
                return None
            column = column.flatten()
            continue
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            return None
        if not (np.diff(column.offsets.to_numpy()) == length).all():
            return None
        column = column.flatten()
    return _leaves(column) if is_number(column.type) else None
