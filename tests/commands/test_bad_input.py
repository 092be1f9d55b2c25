"""Two hundred damaged files: each gives an exact ledger and exit code 0, or one line and exit code 2."""

import random
import warnings

import pytest

from deeptrade.cli import main
from deeptrade.store import verify_store
from deeptrade.store.layout import read_manifest
from deeptrade.store.ledger import read_ledger
from tests.support.markets import make_market

ODD_CELLS = ("", "NaN", "null", "[[[1]]]", '"[1, 2"', "1e999", "-1", "abc", "45355.5", "2099-01-01", "\ud800", '"', "0")
SEEDS = range(200)


def damage(lines, chance):
    """The lines of a file with one to three faults of the kinds that files have."""
    for _ in range(chance.randint(1, 3)):
        kind = chance.choice(["bytes", "cell", "drop", "double", "swap", "reverse", "cut", "blank", "column", "header"])
        at = chance.randrange(1, len(lines))
        if kind == "bytes":
            line = bytearray(lines[at])
            line[chance.randrange(len(line))] = chance.randrange(256)
            lines[at] = bytes(line)
        elif kind == "cell":
            cells = lines[at].split(b",")
            cells[chance.randrange(len(cells))] = chance.choice(ODD_CELLS).encode(errors="surrogatepass")
            lines[at] = b",".join(cells)
        elif kind == "drop":
            del lines[at : at + chance.randint(1, 20)]
        elif kind == "double":
            lines[at:at] = lines[at : at + chance.randint(1, 30)]
        elif kind == "swap":
            other = chance.randrange(1, len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == "reverse":
            lines[1:] = lines[:0:-1]
        elif kind == "cut":
            lines[-1] = lines[-1][: chance.randrange(len(lines[-1]))]
        elif kind == "blank":
            lines[at:at] = [b"\n"] * chance.randint(1, 3)
        elif kind == "column":
            lines[:] = [line.rstrip(b"\n").rpartition(b",")[0] + b"\n" for line in lines]
        else:
            lines[0] = lines[0].replace(*chance.choice([(b"timestamp", b"time"), (b"y_1", b"y_3"), (b"arr_", b"a_")]))
        if len(lines) < 2:
            break
    return b"".join(lines)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_file_gives_an_exact_ledger_or_one_line(tmp_path, capsys, seed):
    chance = random.Random(seed)
    market = make_market(tmp_path / "m.csv", rows=40)
    market.path.write_bytes(damage(market.lines(), chance))
    more = chance.choice([[], [], ["--sort"], ["--duplicates", "first"], ["--sort", "--duplicates", "last"]])
    before = market.path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        code = main(["compile", str(market.path), "--max_bad_rows", "0.2", *more])
    printed = capsys.readouterr()
    store = tmp_path / "m.dtstore"
    assert market.path.read_bytes() == before
    if code == 2:
        assert len(printed.err.splitlines()) == 1
        assert printed.err.startswith("deeptrade compile: ")
        assert not store.exists()
        return
    assert code == 0
    manifest, ledger = read_manifest(store), read_ledger(store / "ledger.csv")
    assert manifest.rows == manifest.usable + len(ledger)
    assert len({entry.row for entry in ledger}) == len(ledger)
    assert all(entry.reason and entry.line >= 2 for entry in ledger)
    assert verify_store(store) == []
