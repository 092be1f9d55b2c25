import errno
import json
import mmap
import os
import re
import signal
import time
from collections import Counter

import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, DoesNotFitError, SettingsError
from deeptrade.files import (
    atomic_write,
    friendly_os_errors,
    is_address,
    is_held,
    locked_folder,
    read_json,
    shorten_home,
    user_path,
    write_json,
)
from deeptrade.store import compile_store
from deeptrade.store.ledger import LedgerEntry, read_ledger, write_ledger
from tests.support.holding import COME_AND_GO, LOOK, another_process


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/al/market.csv", "~/market.csv"),
        ("in /home/al: 'x'", "in ~: 'x'"),
        ("/home/alice/market.csv", "/home/alice/market.csv"),
        ("/data/home/al/market.csv", "/data/home/al/market.csv"),
        ("file:///home/al/x", "file:///home/al/x"),
        ("/home/al.old/x", "/home/al.old/x"),
        ("iVBORw0K+/home/al/rw0K", "iVBORw0K+/home/al/rw0K"),
    ],
)
def test_the_home_folder_is_a_tilde_where_it_begins_a_path(monkeypatch, text, expected):
    monkeypatch.setenv("HOME", "/home/al")
    assert shorten_home(text) == expected


def test_a_path_with_a_tilde_is_read_as_shells_read_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/al")
    assert str(user_path("~/market.csv")) == "/home/al/market.csv"
    assert str(user_path("data/~x")) == "data/~x"
    monkeypatch.setenv("HOME", "/")
    assert shorten_home("/market.csv") == "/market.csv"


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
        (errno.ENOMEM, DoesNotFitError, "Cannot allocate memory; free some memory$"),
        (errno.EACCES, DataError, "Permission denied; check the path and its permissions"),
    ],
)
def test_errors_of_the_system_become_one_line_with_the_action(number, kind, text):
    with pytest.raises(kind, match=f"^writing plan: {text}"), friendly_os_errors("writing plan"):
        raise OSError(number, "x")


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.ENOMEM, DoesNotFitError, "Cannot allocate memory; free some memory, or use --no_mmap"),
        (errno.ENODEV, DataError, "No such device; use --no_mmap"),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_file_that_cannot_be_mapped_is_named_with_what_to_do(market, monkeypatch, number, kind, text, compiled):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    data = compile_store(market.path) if compiled else market.path
    monkeypatch.setattr(mmap, "mmap", fail)
    with pytest.raises(kind) as caught:
        open_dataset(data)
    assert re.fullmatch(rf"mapping market\.(csv|dtstore/[\w.]+): {text}", str(caught.value))
    with open_dataset(data, use_mmap=False) as opened:
        assert opened.rows == 60


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


def test_a_device_is_not_replaced_and_a_link_stays_a_link(tmp_path):
    with pytest.raises(DataError, match=r"/dev/null is not a file"), atomic_write("/dev/null"):
        pass
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_write(tmp_path / "link.txt") as file:
        file.write(b"new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    (tmp_path / ".a.txt.999999999.tmp").write_text("torn")
    alive = tmp_path / f".a.txt.{os.getppid()}.tmp"
    alive.write_text("in the making")
    with atomic_write(tmp_path / "a.txt"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", alive.name}


def test_a_child_that_lives_on_does_not_keep_the_folder(tmp_path):
    with locked_folder(tmp_path / "made", taken=print):
        (tmp_path / "made" / "kept").touch()
        ready, told = os.pipe()
        child = os.fork()
        if not child:
            os.write(told, b"!")
            time.sleep(30)
            os._exit(0)
        assert os.read(ready, 1) == b"!"
        assert is_held(tmp_path / "made")
    try:
        assert not is_held(tmp_path / "made")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(told)


def test_a_held_folder_is_seen_and_waited_for(tmp_path):
    assert not is_held(tmp_path)
    folder = tmp_path / "made"
    with another_process(folder, seconds=1):
        assert is_held(folder)
        told = []
        with locked_folder(folder, taken=lambda: told.append(True)):
            (folder / "kept").touch()
        assert told
    assert folder.exists()


@pytest.mark.parametrize("path", ["s3://bucket/name", "s3:/bucket/name", "gs://b", "https://host/x", "file:///x.csv"])
def test_an_address_is_no_path(path):
    assert is_address(path)
    with pytest.raises(SettingsError, match="is an address"):
        user_path(path)


@pytest.mark.parametrize("path", ["market.csv", "/data/market.csv", "./s3:/x", "C:/x.csv", "~/x.csv", "a/b:c/d", ""])
def test_a_path_is_no_address(path):
    assert not is_address(path)


def test_a_folder_that_is_gone_is_held_by_nobody_nor_is_a_file(tmp_path):
    assert not is_held(tmp_path / "gone")
    (tmp_path / "file").touch()
    assert not is_held(tmp_path / "file")


def test_a_folder_may_come_and_go_while_it_is_looked_at(tmp_path):
    folder = tmp_path / "made"
    looks, deadline = Counter(), time.monotonic() + 60
    with another_process(folder, does=COME_AND_GO):
        while not (looks[True] and looks[False] and looks.total() >= 20_000):
            looks[is_held(folder)] += 1
            assert time.monotonic() < deadline, looks


def test_a_look_at_a_folder_does_not_refuse_who_wants_it(tmp_path):
    (tmp_path / "kept").touch()
    with another_process(tmp_path, does=LOOK):
        for _ in range(2000):
            with locked_folder(tmp_path, taken=lambda: pytest.fail("refused, though nobody holds it")):
                pass
