import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrade.data.opening import open_dataset
from deeptrade.sources import kernels
from deeptrade.sources.records import Pages


def parse(text, shape, behind=b""):
    """(values or None where the slow path is asked for, non-finite numbers); `behind` is text that must not matter."""
    data = np.frombuffer(text.encode() + behind, np.uint8)
    lengths = np.zeros(kernels.MAX_AXES, np.int64)
    lengths[: len(shape)] = shape
    size = int(np.prod(shape))
    room = np.full(size + 400, 7777, np.float32)
    out = room[200 : 200 + size]
    position, non_finite, state = kernels.parse_array(data, 0, len(text), len(shape), lengths, room, 200)
    assert (room[:200] == 7777).all()
    assert (room[200 + size :] == 7777).all()
    return (out.reshape(shape) if state == 0 and position == len(text) else None), non_finite


def exact(value):
    with np.errstate(over="ignore"):
        return np.float32(value)


def adversarial_numbers(count, seed=0):
    """Doubles of all magnitudes as 17-digit text, and texts near the midpoints between two float32."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2**63, count // 4, dtype=np.uint64) | (
        generator.integers(0, 2, count // 4, dtype=np.uint64) << np.uint64(63)
    )
    doubles = bits.view(np.float64)
    texts = [repr(value) for value in doubles[np.isfinite(doubles)].tolist()]
    singles = generator.integers(0, 0x7F000000, count // 4, dtype=np.uint32).view(np.float32).astype(np.float64)
    following = np.nextafter(singles.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    middles = (singles + following) / 2
    texts += [repr(value) for value in middles.tolist()]
    texts += [repr(value) for value in np.nextafter(middles, 0).tolist()]
    scales = generator.integers(0, 18, count // 4).tolist()
    texts += [f"{value:.{scale}f}" for value, scale in zip(generator.normal(0, 1000, count // 4), scales, strict=True)]
    return texts


FIXED = ["0.0", "-0.0", "0", "-0", "1E5", "1e+2", "1e-400", "1e400", "-1e400", "1e-45", "1.4e-45"]
FIXED += [
    "1.1754943508222875e-38",
    "3.4028235677973366e38",
    "1" * 25,
    "0." + "0" * 30 + "12345678901234567",
    "9007199254740993",
    "16777217.0",
    "1.00000017881393432617187499",
]


@pytest.mark.parametrize("behind", [b"", b', "[[1.5, 2' * 8], ids=["at the end", "inside"])
@pytest.mark.parametrize("count", [60_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_numbers_equal_json_bit_for_bit(behind, count):
    texts = FIXED + adversarial_numbers(count)
    unsure = 0
    for text in texts:
        values, _ = parse(f"[{text}]", (1,), behind)
        if values is None:
            unsure += 1
        else:
            assert values[0].tobytes() == exact(float(json.loads(text))).tobytes(), text
    assert unsure < 0.8 * len(texts)


def test_nearly_all_ordinary_numbers_take_the_fast_path():
    texts = [repr(value) for value in np.random.default_rng(1).normal(100, 10, 20_000).tolist()]
    assert sum(parse(f"[{text}]", (1,))[0] is None for text in texts) <= 1


@pytest.mark.parametrize(
    "text", ["01.5", "-01.5", "1.5e", "1.e5", ".5", "1.", "1..5", "1.5.5", "--1.5", "+1.5", "1 .5"]
)
def test_what_json_refuses_is_left_to_the_slow_path_wherever_it_stands(text):
    assert parse(f"[{text}]", (1,), b" " * 64)[0] is None
    assert parse(f"[1.25, {text}, 1.25]", (3,), b" " * 64)[0] is None


@pytest.mark.parametrize("whole", [1, 7, 8, 9, 18])
@pytest.mark.parametrize("fraction", [1, 8, 11, 12, 15, 16, 17, 18, 30])
@pytest.mark.parametrize("ending", ["", "e0", "E-3"])
def test_every_length_of_a_number_is_read_right(whole, fraction, ending):
    for sign in ("", "-"):
        text = sign + "9" * whole + "." + "1234567890" * 3
        text = text[: len(sign) + whole + 1 + fraction] + ending
        values, _ = parse(f"[{text}, 0.5]", (2,), b" " * 64)
        if whole + fraction <= 19:
            assert values is not None
        if values is not None:  # more digits may be left to the slow path
            np.testing.assert_array_equal(values, np.float32([exact(float(text)), 0.5]))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "null"])
def test_words_that_json_writes_for_numbers_are_read_and_counted(word):
    values, non_finite = parse(f"[1.5, {word}]", (2,))
    expected = float("nan") if word == "null" else json.loads(word)
    np.testing.assert_array_equal(values, np.float32([1.5, expected]))
    assert non_finite == 1


@given(st.lists(st.lists(st.floats(allow_nan=False), min_size=3, max_size=3), min_size=1, max_size=4))
@settings(deadline=None, max_examples=200)
def test_nested_lists_come_out_in_order_or_are_left_to_the_slow_path(rows):
    values, _ = parse(json.dumps(rows), (len(rows), 3))
    if values is not None:
        np.testing.assert_array_equal(values, exact(np.array(rows)))


@pytest.mark.parametrize(
    "text",
    [
        "[[1, 2], [3]]",
        "[[1, 2], [3, 4, 5]]",
        "[[1, 2, 3], [4]]",
        "[1, 2, 3, 4]",
        "[[1, 2]]",
        "[[1, 2], [3, 4], [5, 6]]",
        "[[[1, 2], [3, 4]]]",
        "[[1, 2], [3, 4]",
        "[[1, 2], [3, 4]]]",
        "[[1, 2], [3, 4],]",
        "[[1,, 2], [3, 4]]",
        "[[1 2], [3, 4]]",
        "[[01, 2], [3, 4]]",
        "[[1., 2], [3, 4]]",
        "[[.5, 2], [3, 4]]",
        "[[+1, 2], [3, 4]]",
        "[[1e, 2], [3, 4]]",
        "[[-, 2], [3, 4]]",
        "[[nan, 2], [3, 4]]",
        '[["1", 2], [3, 4]]',
        "[[], []]",
        "[[[], 2], [3, 4]]",
        "",
        "[",
        "1",
    ],
)
def test_anything_but_the_expected_shape_is_left_to_the_slow_path(text):
    assert parse(text, (2, 2))[0] is None


def test_blanks_between_tokens_do_not_matter():
    values, _ = parse("[ [1 ,\t2 ] ,\r\n [3, 4]\n]", (2, 2))
    np.testing.assert_array_equal(values, [[1, 2], [3, 4]])


@pytest.mark.parametrize("mapped", [True, False])
def test_records_are_found_whatever_the_line_breaks(tmp_path, mapped):
    text = (
        '\ufefftimestamp,arr_a,y_1\r\n1700000001,"[1.0, 2.0]",0.5\r\n\r\n'
        '1700000002,"[1.0,\r\n 2.0]",0.5\n1700000003,"[3.0, 4.0]",0.25'
    )
    path = tmp_path / "odd.csv"
    path.write_bytes(text.encode())
    with open_dataset(path, use_mmap=mapped) as data:
        np.testing.assert_array_equal(data.read(np.arange(3))["arr_a"], [[1, 2], [1, 2], [3, 4]])
        assert (data.timestamps // 10**9).tolist() == [1_700_000_001, 1_700_000_002, 1_700_000_003]
        assert [data.entry(row, "", "", "").line for row in range(3)] == [2, 4, 6]


def test_a_lost_closing_quote_costs_one_row_not_the_rest_of_the_file(tmp_path):
    path = tmp_path / "cut.csv"
    path.write_text(
        'timestamp,arr_a,y_1\n1700000001,"[1.0, 2.0]",0.5\n1700000002,"[1.0, 2.\n1700000003,"[3.0, 4.0]",0.25\n'
    )
    with open_dataset(path, max_bad_rows=0.5) as data:
        assert [(entry.row, entry.line, entry.reason) for entry in data.ledger] == [(1, 3, "cut_off")]
        np.testing.assert_array_equal(data.read(np.array([0, 2]))["arr_a"], [[1, 2], [3, 4]])


def test_the_memory_of_a_block_is_used_again_once_no_view_of_it_is_left():
    pages = Pages()
    first = pages.take(700_000)
    address, view = first.ctypes.data, first[10:20].reshape(2, 5)
    del first
    second = pages.take(700_000)
    assert second.ctypes.data != address
    view[:] = 1
    del view
    assert pages.take(700_000).ctypes.data == address
    assert pages.take(10).shape == (10,)
