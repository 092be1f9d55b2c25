import json

import numpy as np
import pytest

from deeptrade.errors import DataError
from deeptrade.sources.faults import RowFault, read_cell
from deeptrade.sources.kinds import open_source
from deeptrade.sources.schema import Feature
from deeptrade.store import compile_store

NEXT_STEP = "write cells with json.dumps(array.tolist())"
SQUARE = np.array([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("cell", "cause"),
    [
        (str(SQUARE), "separated by blanks, not commas"),
        (str(np.array([[1.5, -np.inf], [np.nan, 2.0]])), "separated by blanks, not commas"),
        ("[[1 2][3 4]]", "separated by blanks, not commas"),
        ("[[1.0, nan], [3.0, 4.0]]", "'nan' is no JSON (NaN is)"),
        ("[[1.0, NaN], [-inf, 4.0]]", "'-inf' is no JSON (Infinity is)"),
        ("[[1.0, np.nan], [3.0, 4.0]]", "'np.nan' is no JSON"),
        ("[[1.0, None], [3.0, 4.0]]", "'None' is no JSON (null is)"),
        ("((1.0, 2.0), (3.0, 4.0))", "str() of a tuple"),
        ("[(1.0, 2.0), (3.0, 4.0)]", "str() of a tuple"),
        ("[[np.float64(1.0), np.float64(2.0)]]", "a list of numpy numbers"),
        ("array([[1., 2.],\n       [3., 4.]])", "prints an object, array("),
        ("tensor([[1., 2.], [3., 4.]])", "prints an object, tensor("),
        ("[Decimal('1.5'), Decimal('2.5')]", "prints an object, Decimal("),
        ("<tf.Tensor: shape=(2,), dtype=float32>", "prints an object"),
        (str(np.zeros((200, 20))), "left out where it says '...'"),
        ("[[1.0, 2.0], [3.0...", "left out where it says '...'"),
        ("b'[[1.0, 2.0], [3.0, 4.0]]'", "str() of bytes"),
        ("[1 2; 3 4]", "blanks, not commas"),
        ("[1,2;3,4]", "semicolons"),
        ("{{1,2},{3,4}}", "braces"),
        ("['1', '2']", "single quotes"),
        ("1.0,2.0", "no square brackets"),
        ("[1., 2.]", "written as 1. or .5"),
        (json.dumps(json.dumps(SQUARE.tolist())), "JSON text within JSON text"),
    ],
)
def test_a_cell_that_another_program_printed_says_what_it_is_and_how_to_write_it(cell, cause):
    with pytest.raises(RowFault) as caught:
        read_cell(cell.encode(), Feature("arr_a", (2, 2)))
    assert cause in caught.value.detail
    assert NEXT_STEP in caught.value.detail
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("cell", ["[[1.0, 2.0], [3.0, ", "[[1.0, 2.", "[[1.0, N", "[[1.0, nul", "[[1.0, -"])
def test_json_that_is_cut_off_is_no_foreign_spelling(cell):
    with pytest.raises(RowFault) as caught:
        read_cell(cell.encode(), Feature("arr_a", (2, 2)))
    assert caught.value.reason == "cut_off"
    assert NEXT_STEP not in caught.value.detail


@pytest.mark.parametrize("cell", ["[[1, 2], [3, 4]] x", "[[1, 2], [3, 4],]", "[[1, 2], [3, 4]]]", "up"])
def test_text_that_is_broken_otherwise_keeps_its_own_message(cell):
    with pytest.raises(RowFault) as caught:
        read_cell(cell.encode(), Feature("arr_a", (2, 2)))
    assert caught.value.reason == "encoding"
    assert NEXT_STEP not in caught.value.detail


@pytest.mark.parametrize("spell", [str, lambda cell: str(tuple(map(tuple, cell))), lambda cell: f"tensor({cell})"])
def test_a_file_written_by_str_is_one_line_with_the_next_step(market, spell):
    for row, cells in enumerate(market.cells):
        cells[1] = spell(market.features["arr_5m"][row][0].round(2).tolist() if spell is not str else SQUARE)
    market.write()
    with pytest.raises(DataError) as caught:
        open_source(market.path)
    assert "column 'arr_5m'" in str(caught.value)
    assert NEXT_STEP in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cells_that_begin_well_and_go_on_as_str_name_the_row_and_the_next_step(market):
    for row in range(20, 40):
        market.cells[row][3] = "[[nan, 1.0, 2.0, 3.0]]"
    market.write()
    with pytest.raises(DataError, match=r"line 22, column 'arr_ctx', encoding: .*'nan' is no JSON") as caught:
        compile_store(market.path)
    assert NEXT_STEP in str(caught.value)
