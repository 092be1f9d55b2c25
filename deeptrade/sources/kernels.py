"""JSON text to float32: compiled parsers that read CSV records straight from bytes.

The result equals `np.float32(json.loads(text))` bit for bit. A number is read as a 64-bit integer of up to 19
digits, all digits of a part at once, times one power of ten in double precision. That product is used if its error
cannot change the float32 it rounds to; otherwise an exact product or quotient is used if there is one (Clinger 1990:
integer at most 2**53, power at most 22). All other cells, and all cells that do not have the expected shape, are
left to the slow exact path in `faults`: about one number in 2**25 for 17-digit text.

The kernels release the interpreter lock, so threads parse in parallel. They stay in one file: numba caches compiled
code per file, and would not notice a change to a kernel called from another file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

SKIP, FEATURE, NUMBER, TEXT = 0, 1, 2, 3
"""What to do with a column: skip it, parse an array, parse one number, or note where its text is."""

MAX_AXES = 8
"""Most axes a feature may have."""

_U = np.uint64
_QUOTE, _COMMA, _NEWLINE, _RETURN, _SPACE, _TAB = 34, 44, 10, 13, 32, 9
_OPEN, _CLOSE, _MINUS, _PLUS, _POINT, _ZERO, _NINE = 91, 93, 45, 43, 46, 48, 57
_POWERS = np.array([float(f"1e{power}") for power in range(-308, 309)])
_TENS = np.array([10**count for count in range(17)], np.uint64)
_LEAST_FULL = np.array([10 ** (19 - count) for count in range(9)], np.uint64)
"""A mantissa below entry n has room for n more digits: 19 digits always fit into 64 bits."""
_PLAIN_BYTES = 40
"""Upper limit on the bytes that a sign and `_read_plain` look at."""
_NAN = np.float32(np.nan)
_INFINITY = np.float32(np.inf)

# Doubles carry 29 bits more than float32. The error of mantissa * power is below 3 units in the last place;
# results within 8 of the midpoint between two float32 are not trusted.
_LOW_BITS = np.int64((1 << 29) - 1)
_MIDPOINT = np.int64(1 << 28)
_DOUBT = np.int64(8)
_SMALLEST_NORMAL = 1.1754943508222875e-38

_FINE, _UNSURE = 0, -1


@intrinsic
def _load_eight(typingctx: Any, data: Any, position: Any) -> Any:
    """Return eight bytes of a uint8 array from any position as one little-endian uint64; no bounds check."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = cgutils.gep(builder, array.data, arguments[1])
        return builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.int64), generate


@intrinsic
def _byte(typingctx: Any, data: Any, position: Any) -> Any:
    """Return one byte of a uint8 array; no bounds check: numba's indexing tests for negative positions each time."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load(cgutils.gep(builder, array.data, arguments[1]))

    return types.uint8(data, types.int64), generate


@intrinsic
def _digit_bits(typingctx: Any, data: Any, position: Any) -> Any:
    """Return which of 32 bytes from any position are ASCII digits: bit i of a uint64 for byte i; no bounds check."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        lanes = ir.VectorType(ir.IntType(8), 32)
        pointer = builder.bitcast(cgutils.gep(builder, array.data, arguments[1]), lanes.as_pointer())
        above_zero = builder.sub(builder.load(pointer, align=1), ir.Constant(lanes, [_ZERO] * 32))
        digits = builder.icmp_unsigned("<", above_zero, ir.Constant(lanes, [10] * 32))
        return builder.zext(builder.bitcast(digits, ir.IntType(32)), ir.IntType(64))

    return types.uint64(data, types.int64), generate


@intrinsic
def _load_last_of_sixteen(typingctx: Any, data: Any, position: Any, count: Any) -> Any:
    """Return `count` bytes (1 to 16) from any position after leading zero bytes: (first eight, last eight) as uint64.

    Reads 16 bytes; no bounds check.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        wide, narrow = ir.IntType(128), ir.IntType(64)
        pointer = builder.bitcast(cgutils.gep(builder, array.data, arguments[1]), wide.as_pointer())
        bits = builder.shl(builder.sub(ir.Constant(narrow, 16), arguments[2]), ir.Constant(narrow, 3))
        word = builder.shl(builder.load(pointer, align=1), builder.zext(bits, wide))
        parts = [builder.trunc(word, narrow), builder.trunc(builder.lshr(word, ir.Constant(wide, 64)), narrow)]
        return context.make_tuple(builder, signature.return_type, parts)

    return types.UniTuple(types.uint64, 2)(data, types.int64, types.uint64), generate


@intrinsic
def _trailing_zeros(typingctx: Any, value: Any) -> Any:
    """Return the number of zero bits below the lowest one bit of a uint64; 64 if there is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@njit(nogil=True, cache=True, inline="always")
def _count_digits(word: Any) -> Any:
    """Return how many of the eight bytes of `word` are ASCII digits before the first that is not, 0 to 8.

    A carry out of a byte reaches only bytes after the first non-digit.
    """
    high = _U(0xF0F0F0F0F0F0F0F0)
    other = ((word & high) | (((word + _U(0x0606060606060606)) & high) >> _U(4))) ^ _U(0x3333333333333333)
    return _trailing_zeros(other) >> _U(3)


@njit(nogil=True, cache=True, inline="always")
def _eight_digits(word: Any) -> Any:
    """Return the number that eight bytes spell: pairs, then fours, then all; a zero byte counts as the digit 0."""
    word = (word & _U(0x0F0F0F0F0F0F0F0F)) * _U(2561) >> _U(8)
    word = (word & _U(0x00FF00FF00FF00FF)) * _U(6553601) >> _U(16)
    return (word & _U(0x0000FFFF0000FFFF)) * _U(42949672960001) >> _U(32)


@njit(nogil=True, cache=True, inline="always")
def _append_digits(data: Any, position: int, end: int, mantissa: Any) -> tuple[int, Any, int]:
    """Read all digits from `position`: return (position after them, mantissa, how many did not fit into it).

    Digits beyond the nineteenth are left out; such a number takes the slow path unless its rounding is certain.
    """
    left_out = 0
    while position + 8 <= len(data):
        word = _load_eight(data, position)
        count = _count_digits(word)
        if count == _U(0):
            return position, mantissa, left_out
        if mantissa >= _LEAST_FULL[count]:
            break
        mantissa = mantissa * _TENS[count] + _eight_digits(word << ((_U(8) - count) << _U(3)))
        position += int(count)
        if count < _U(8):
            return position, mantissa, left_out
    while position < end and _ZERO <= _byte(data, position) <= _NINE:
        if mantissa < _LEAST_FULL[1]:
            mantissa = mantissa * _U(10) + _U(_byte(data, position) - _ZERO)
        else:
            left_out += 1
        position += 1
    return position, mantissa, left_out


@njit(nogil=True, cache=True, inline="always")
def _has_byte(word: Any, pattern: Any) -> Any:
    """Return non-zero if one of the eight bytes of `word` equals the byte repeated in `pattern`."""
    difference = word ^ pattern
    return (difference - _U(0x0101010101010101)) & ~difference & _U(0x8080808080808080)


@njit(nogil=True, cache=True)
def _find_quote(data: Any, position: int, end: int) -> int:
    """Return the position of the next double quote, or `end`."""
    while position + 8 <= end and not _has_byte(_load_eight(data, position), _U(0x2222222222222222)):
        position += 8
    while position < end and _byte(data, position) != _QUOTE:
        position += 1
    return position


@njit(nogil=True, cache=True)
def _matches(data: Any, position: int, end: int, word: bytes) -> bool:
    if position + len(word) > end:
        return False
    for offset in range(len(word)):  # noqa: SIM110 (compiled code has no generators)
        if _byte(data, position + offset) != word[offset]:
            return False
    return True


@njit(nogil=True, cache=True)
def _parse_word(data: Any, position: int, end: int) -> tuple[int, Any, int]:
    """Read NaN, null, Infinity or -Infinity at `position`: return (position after it, value, state)."""
    if _matches(data, position, end, b"NaN"):
        return position + 3, _NAN, _FINE
    if _matches(data, position, end, b"null"):
        return position + 4, _NAN, _FINE
    if _matches(data, position, end, b"Infinity"):
        return position + 8, _INFINITY, _FINE
    if _matches(data, position, end, b"-Infinity"):
        return position + 9, -_INFINITY, _FINE
    return position, _NAN, _UNSURE


@njit(nogil=True, cache=True)
def _rounds_safely(value: float) -> bool:
    """Return whether a double with an error of a few units in the last place rounds to the right float32."""
    low = np.float64(value).view(np.int64) & _LOW_BITS
    return value >= _SMALLEST_NORMAL and not (_MIDPOINT - _DOUBT <= low <= _MIDPOINT + _DOUBT)


@njit(nogil=True, cache=True, inline="always")
def _read_plain(data: Any, position: int) -> tuple[int, Any, int]:
    """Read a number of 1 to 8 digits, a point and 1 to 16 more, at most 19 in all, without sign or exponent.

    Nearly all numbers look like this. No step branches on the number of digits, so no branch is mispredicted.
    Returns (position after it, digits as an integer, power of ten); (position, 0, 0) for any other number.
    The caller makes sure that there are _PLAIN_BYTES from `position`.
    """
    digits = _digit_bits(data, position)
    whole = _trailing_zeros(~digits)
    first = position + np.int64(whole) + 1
    count = _trailing_zeros(~(digits >> (whole + _U(1))))
    after = first + np.int64(count)
    if whole - _U(1) > _U(7) or count - _U(1) > _U(15) or whole + count > _U(19):
        return position, _U(0), 0
    ending = _byte(data, after) | 32
    leading_zero = _byte(data, position) == _ZERO and whole > _U(1)
    if _byte(data, first - 1) != _POINT or ending == 101 or leading_zero:
        return position, _U(0), 0
    high, low = _load_last_of_sixteen(data, first, count)
    mantissa = _eight_digits(_load_eight(data, position) << ((_U(8) - whole) << _U(3))) * _TENS[count]
    return after, mantissa + _eight_digits(high) * _TENS[8] + _eight_digits(low), -np.int64(count)


@njit(nogil=True, cache=True)
def parse_number(data: Any, position: int, end: int) -> tuple[int, Any, int]:
    """Read one JSON number: return (position after it, float32, 0), or state -1 if the slow path must decide."""
    negative = _byte(data, position) == _MINUS
    start = position
    if negative:
        position += 1
    if position >= end or _byte(data, position) < _ZERO or _byte(data, position) > _NINE:
        return _parse_word(data, start, end)
    if _byte(data, position) == _ZERO and position + 1 < end and _ZERO <= _byte(data, position + 1) <= _NINE:
        return start, _NAN, _UNSURE

    whole = True
    position, mantissa, power = _append_digits(data, position, end, _U(0))
    if position < end and _byte(data, position) == _POINT:
        whole = False
        first = position + 1
        position, mantissa, left_out = _append_digits(data, first, end, mantissa)
        power += left_out - (position - first)
        if position == first:
            return start, _NAN, _UNSURE
    if position < end and (_byte(data, position) == 101 or _byte(data, position) == 69):  # e, E
        whole = False
        position += 1
        sign = 1
        if position < end and (_byte(data, position) == _MINUS or _byte(data, position) == _PLUS):
            sign = -1 if _byte(data, position) == _MINUS else 1
            position += 1
        first = position
        exponent = 0
        while position < end and _ZERO <= _byte(data, position) <= _NINE:
            exponent = min(exponent * 10 + (_byte(data, position) - _ZERO), 100_000)
            position += 1
        if position == first:
            return start, _NAN, _UNSURE
        power += sign * exponent

    value = np.float64(mantissa)
    if mantissa != _U(0):
        if power < -300 or power > 300:
            return start, _NAN, _UNSURE
        value *= _POWERS[power + 308]
        if not _rounds_safely(value):
            if mantissa > _U(2**53) or power < -22 or power > 22:
                return start, _NAN, _UNSURE
            value = np.float64(mantissa)
            value = value / _POWERS[308 - power] if power < 0 else value * _POWERS[308 + power]
    if negative and not (whole and value == 0):  # json reads -0 as the integer 0
        value = -value
    return position, np.float32(value), _FINE


@njit(nogil=True, cache=True, inline="always")
def _skip_blanks(data: Any, position: int, end: int) -> int:
    while position < end and (
        _byte(data, position) == _SPACE
        or _byte(data, position) == _TAB
        or _byte(data, position) == _NEWLINE
        or _byte(data, position) == _RETURN
    ):
        position += 1
    return position


@njit(nogil=True, cache=True)
def parse_array(
    data: Any, position: int, end: int, axes: int, lengths: Any, out: Any, base: int
) -> tuple[int, int, int]:
    """Read nested lists of exactly the shape lengths[:axes] into out[base:].

    Returns (position after the last bracket, count of non-finite numbers, state); state -1 means that the text
    differs from the expected shape or needs the slow path.
    """
    counts = np.zeros(MAX_AXES + 1, np.int64)
    depth = 0
    written = base
    non_finite = 0
    plain_end = len(data) - _PLAIN_BYTES
    position = _skip_blanks(data, position, end)
    while position < end:
        # Expect a value: a list opens, or at the innermost level a run of numbers follows.
        if _byte(data, position) == _OPEN and depth < axes:
            if depth and counts[depth] == lengths[depth - 1]:  # else a number lands in another row's place
                return position, non_finite, _UNSURE
            depth += 1
            counts[depth] = 0
            position = _skip_blanks(data, position + 1, end)
            continue
        if depth != axes:
            return position, non_finite, _UNSURE
        filled, room = counts[axes], lengths[axes - 1]
        while True:
            if filled == room:
                return position, non_finite, _UNSURE
            negative = _byte(data, position) == _MINUS
            after, exact = position, np.float64(0)
            if position < plain_end:
                after, mantissa, power = _read_plain(data, position + negative)
                exact = np.float64(mantissa) * _POWERS[power + 308]
            if _rounds_safely(exact):
                position = after
                out[written] = np.float32(-exact if negative else exact)
            else:
                position, value, state = parse_number(data, position, end)
                if state != _FINE:
                    return position, non_finite, _UNSURE
                out[written] = value
                non_finite += not np.isfinite(value)
            written += 1
            filled += 1
            if position + 2 < end and _byte(data, position) == _COMMA and _byte(data, position + 1) == _SPACE:
                position += 2  # as json.dumps writes it
                if _byte(data, position) > _SPACE:
                    continue
            else:
                position = _skip_blanks(data, position, end)
                if position >= end or _byte(data, position) != _COMMA:
                    break
                position += 1
            position = _skip_blanks(data, position, end)
            if position >= end:
                return position, non_finite, _UNSURE
        counts[axes] = filled
        # The run has ended: lists close until a comma introduces the next one.
        while True:
            if position >= end or _byte(data, position) != _CLOSE or counts[depth] != lengths[depth - 1]:
                return position, non_finite, _UNSURE
            position += 1
            depth -= 1
            if depth == 0:
                return position, non_finite, _FINE
            counts[depth] += 1
            position = _skip_blanks(data, position, end)
            if position < end and _byte(data, position) == _COMMA:
                position = _skip_blanks(data, position + 1, end)
                break
    return position, non_finite, _UNSURE


@njit(nogil=True, cache=True)
def _after_field(data: Any, position: int, end: int) -> int:
    """Return the position after a skipped field; -1 if its closing quote is missing."""
    if position < end and _byte(data, position) == _QUOTE:
        position += 1
        while True:
            position = _find_quote(data, position, end)
            if position >= end:
                return -1
            if position + 1 < end and _byte(data, position + 1) == _QUOTE:
                position += 2
                continue
            return position + 1
    while position < end and _byte(data, position) != _COMMA:
        position += 1
    return position


@njit(nogil=True, cache=True)
def _parse_record(
    data: Any,
    start: int,
    end: int,
    row: int,
    plan: Any,
    lengths: Any,
    out: Any,
    numbers: Any,
    spans: Any,
    faults: Any,
) -> int:
    """Read one record; return -1 if all of it was read, else the column that needs the slow path."""
    position = start
    columns = plan.shape[0]
    for column in range(columns):
        if column:
            if position >= end or _byte(data, position) != _COMMA:
                return column
            position += 1
        kind, slot = plan[column, 0], plan[column, 1]
        quoted = position < end and _byte(data, position) == _QUOTE
        if kind == FEATURE:
            axes, size, base = plan[column, 2], plan[column, 3], plan[column, 4]
            position, non_finite, state = parse_array(
                data, position + quoted, end, axes, lengths[slot], out, base + row * size
            )
            faults[row, slot] = non_finite
            if state != _FINE:
                return column
            position = _skip_blanks(data, position, end)
            if quoted:
                if position >= end or _byte(data, position) != _QUOTE:
                    return column
                position += 1
        elif kind == NUMBER:
            numbers[row, slot] = _NAN
            if position < end and _byte(data, position) != _COMMA:
                position, value, state = parse_number(data, position, end)
                if state != _FINE:
                    return column
                numbers[row, slot] = value
        else:
            after = _after_field(data, position, end)
            if after < 0:
                return column
            if kind == TEXT:
                spans[row, 2 * slot] = position - start + quoted
                spans[row, 2 * slot + 1] = after - start - quoted
            position = after
    return -1 if position == end else columns


@njit(nogil=True, cache=True)
def parse_records(
    data: Any,
    starts: Any,
    ends: Any,
    rows: Any,
    plan: Any,
    lengths: Any,
    out: Any,
    numbers: Any,
    spans: Any,
    faults: Any,
    trouble: Any,
) -> None:
    """Read the records data[starts[i]:ends[i]] into output row rows[i].

    Arguments: data uint8 (bytes,); starts, ends, rows int64 (records,); plan int64 (columns, 5) of kind, slot,
    axes, size, base; lengths int64 (features, MAX_AXES); out float32 (all features' values, one block per
    feature from its base); numbers float32 (rows, numbers); spans int64 (rows, 2 per TEXT column) relative to the
    record; faults int64 (rows, features) of non-finite numbers; trouble int64 (rows,): -1, or the column
    that needs the slow path.
    """
    for index in range(len(starts)):
        row = rows[index]
        trouble[row] = _parse_record(data, starts[index], ends[index], row, plan, lengths, out, numbers, spans, faults)


@njit(nogil=True, cache=True)
def _starts_record(data: Any, position: int) -> bool:
    """Return whether a record begins here: a time, perhaps a market's name, then a quote that opens an array.

    `"[` cannot occur inside a quoted cell, so this never splits a valid record; it ends one without its closing quote.
    """
    limit = min(len(data) - 1, position + 256)
    seen = position
    while seen < limit:
        byte = _byte(data, seen)
        if byte == _QUOTE:
            return seen > position and _byte(data, seen - 1) == _COMMA and _byte(data, seen + 1) == _OPEN
        if byte in (_NEWLINE, _OPEN, 93):  # 93 is the bracket that closes
            return False
        seen += 1
    return False


@njit(nogil=True, cache=True)
def find_line(data: Any, position: int, stop: int) -> int:
    """Return where the first record after a line break in [position, stop) seems to begin; `stop` if there is none.

    A break with a clear start of a record after it is preferred to one that may lie inside a quoted cell.
    """
    first = -1
    while position < stop:
        while position + 8 <= stop and not _has_byte(_load_eight(data, position), _U(0x0A0A0A0A0A0A0A0A)):
            position += 8
        while position < stop and _byte(data, position) != _NEWLINE:
            position += 1
        if position < stop:
            position += 1
            if _starts_record(data, position):
                return position
            if first < 0:
                first = position
    return first if first >= 0 else stop


@njit(nogil=True, cache=True)
def find_records(data: Any, position: int, stop: int, line: int, starts: Any, ends: Any, lines: Any) -> Any:
    """Split text into records at line breaks outside quotes, from `position`, until one begins at or after `stop`.

    Fills starts, ends (without the line break) and lines (line number of the first line) and returns
    (records, next position, next line number); ends early when the outputs are full. Blank lines are skipped.
    """
    count = 0
    size = len(data)
    while position < min(stop, size) and count < len(starts):
        start, first_line = position, line
        quoted = False
        while position < size:
            while position + 8 <= size:
                word = _load_eight(data, position)
                if _has_byte(word, _U(0x2222222222222222)) or _has_byte(word, _U(0x0A0A0A0A0A0A0A0A)):
                    break
                position += 8
            while position < size and _byte(data, position) != _QUOTE and _byte(data, position) != _NEWLINE:
                position += 1
            if position >= size:
                break
            if _byte(data, position) == _QUOTE:
                quoted = not quoted
            else:
                line += 1
                if not quoted or _starts_record(data, position + 1):
                    break
            position += 1
        end = position
        position += 1
        if end > start and _byte(data, end - 1) == _RETURN:
            end -= 1
        if end > start:
            starts[count], ends[count], lines[count] = start, end, first_line
            count += 1
    return count, min(position, size), line
