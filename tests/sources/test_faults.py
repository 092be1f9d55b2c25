import pytest

from deeptrade.sources.faults import RowFault, check_cells, read_cell, read_number, read_timestamp, split_record
from deeptrade.sources.schema import Feature

FEATURE = Feature("arr_a", (1, 2, 2))


@pytest.mark.parametrize(
    ("cell", "reason", "detail"),
    [
        (b"", "missing", "the cell is empty"),
        (b"NaN", "missing", "the cell is 'NaN'"),
        (b"null", "missing", "the cell is 'null'"),
        (b"[]", "missing", "the cell is '[]'"),
        (b"[[[1, 2], [3]]]", "ragged", "rows of the array differ in length"),
        (b"[[[1, 2], 3]]", "ragged", "rows of the array differ in length"),
        (b'[[[1, 2], [3, "x"]]]', "ragged", "holds 'x', which is not a number"),
        (b"[[[1, true], [3, 4]]]", "ragged", "holds True, which is not a number"),
        (b"[[[1, 2]]]", "shape", "shape 1x1x2, expected 1x2x2"),
        (b"[[1, 2], [3, 4]]", "shape", "shape 2x2, expected 1x2x2"),
        (b"7", "shape", "shape one number, expected 1x2x2"),
        (b"[[[1, 2], [3, 4]", "cut_off", "the array ends after 16 characters"),
        (b"[[[1, 2], [3, 4.", "cut_off", "the array ends after 16 characters"),
        (b"[[[1, 2], [3, 4]]] x", "encoding", "not JSON at character 19: Extra data"),
        (b"[[[1, \xff], [3, 4]]]", "encoding", "byte 6 of the cell is not UTF-8"),
    ],
)
def test_each_fault_has_its_reason(cell, reason, detail):
    with pytest.raises(RowFault) as caught:
        read_cell(cell, FEATURE)
    assert (caught.value.reason, caught.value.column, caught.value.detail) == (reason, "arr_a", detail)


def test_null_and_nan_inside_an_array_stay_nan():
    values = read_cell(b"[[[1, null], [NaN, -Infinity]]]", FEATURE)
    assert str(values.tolist()) == "[[[1.0, nan], [nan, -inf]]]"


@pytest.mark.parametrize(
    "cell",
    [
        b"2023-01-01T00:00:00Z",
        b"2023-01-01 00:00:00",
        b"2023-01-01T01:00:00+01:00",
        b"1672531200",
        b"1672531200.0",
        b"1672531200000",
        b"1672531200000000",
        b"1672531200000000000",
    ],
)
def test_timestamps_are_read_in_any_unit(cell):
    assert read_timestamp(cell) == 1_672_531_200_000_000_000


def test_fractions_of_a_second_are_kept_exactly():
    assert read_timestamp(b"1672531200.123456789") == 1_672_531_200_123_456_789


@pytest.mark.parametrize(("cell", "reason"), [(b"", "missing"), (b"yesterday", "encoding"), (b"1e400", "encoding")])
def test_other_timestamps_are_faults(cell, reason):
    with pytest.raises(RowFault) as caught:
        read_timestamp(cell)
    assert caught.value.reason == reason


def test_an_empty_target_is_nan_and_words_are_faults():
    assert str([read_number(cell, "y_1") for cell in (b"", b"nan", b"NaN", b"0.5")]) == "[nan, nan, nan, 0.5]"
    with pytest.raises(RowFault):
        read_number(b"0.5x", "y_1")


def test_quoted_cells_keep_commas_and_doubled_quotes():
    assert split_record(b'a,"b,""c""",,d').cells == [b"a", b'b,"c"', b"", b"d"]


@pytest.mark.parametrize(
    ("text", "reason", "column"),
    [
        (b'1,"[1, 2', "cut_off", "arr_a"),
        (b'1,"[1, 2]"', "cut_off", "y_1"),
        (b"1", "cut_off", "arr_a"),
        (b'1,"[1, 2]",3,4', "ragged", "y_1"),
    ],
)
def test_lines_with_too_few_or_too_many_cells_are_faults(text, reason, column):
    with pytest.raises(RowFault) as caught:
        check_cells(split_record(text), ["timestamp", "arr_a", "y_1"])
    assert (caught.value.reason, caught.value.column) == (reason, column)


@pytest.mark.parametrize("cell", [b"1_000.5", b"1_0", b"1e1_0", b"_1"])
def test_underscores_are_no_part_of_a_number(cell):
    with pytest.raises(RowFault, match="is not a number"):
        read_number(cell, "price")


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("2024-03-04 09:30:00 PM", "it is a time of 12 hours, with PM"),
        ("3/4/2024 9:30am", "it is a time of 12 hours, with am"),
        ("04/03/2024 00:00", "its date is written with slashes, day or month first"),
        ("04.03.2024", "its date is written with dots, day first"),
        ("04-03-24 00:00", "its date begins with the day or the month"),
        ("Mar 04, 2024", "its month is a word, 'Mar'"),
        ("2024/03/04 10:00", "its date is written with slashes or dots"),
        ("2024-03-04 10:00:00 UTC", "its time zone is a word"),
        ("2024-03-04T10:00:00+01:00[Europe/Berlin]", "its time zone is a name, [Europe/Berlin]"),
        ("1709510400_000", "its digits are separated"),
    ],
)
def test_a_time_in_another_form_names_that_form_and_those_accepted(cell, form):
    with pytest.raises(RowFault) as caught:
        read_timestamp(cell.encode())
    assert form in caught.value.detail
    assert caught.value.detail.endswith("write ISO 8601 times, such as 2024-03-04T21:30:00Z, or epoch numbers")


@pytest.mark.parametrize("cell", [b"28491840", b"19786", b"1600-03-04 00:00", b"up"])
def test_times_of_no_known_form_keep_their_own_message(cell):
    with pytest.raises(RowFault) as caught:
        read_timestamp(cell)
    assert "such as 2024-03-04T21:30:00Z" not in caught.value.detail
