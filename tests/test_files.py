import errno
import json

import pytest

from deeptrade.errors import DataError, DoesNotFitError
from deeptrade.files import atomic_write, friendly_os_errors, read_json, write_json
from deeptrade.ledger import LedgerEntry, read_ledger, write_ledger


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "result.bin"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"half")
        1 / 0  # noqa: B018
    assert list(path.parent.iterdir()) == []
    with atomic_write(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_rewrite_leaves_the_old_content(tmp_path):
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")
    with pytest.raises(DoesNotFitError), atomic_write(path):
        raise OSError(errno.ENOSPC, "x")
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.ENOSPC, DoesNotFitError, "No space left on device; free some"),
        (errno.EACCES, DataError, "Permission denied"),
    ],
)
def test_errors_of_the_system_become_one_line_with_the_action(number, kind, text):
    with pytest.raises(kind, match=f"^writing plan: {text}"), friendly_os_errors("writing plan"):
        raise OSError(number, "x")


def test_json_holds_null_where_a_number_is_not_finite(tmp_path):
    write_json(tmp_path / "a.json", {"loss": float("nan"), "list": (1, float("inf"))})
    assert json.loads((tmp_path / "a.json").read_text()) == {"loss": None, "list": [1, None]}


def test_a_broken_json_file_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json is not JSON"):
        read_json(tmp_path / "a.json")


def test_the_ledger_comes_back_as_it_was_written(tmp_path):
    entries = [
        LedgerEntry(3, 5, 1000, 'arr_"x",\n', "shape", "shape 2, expected 3"),
        LedgerEntry(4, 6, 2, "", "purged", ""),
    ]
    write_ledger(tmp_path / "ledger.csv", entries)
    assert read_ledger(tmp_path / "ledger.csv") == entries
    assert (tmp_path / "ledger.csv").read_text().startswith("row,line,byte_offset,column,reason,detail\n3,5,1000,")
