"""Addresses on the command line: understood, or refused in one line before anything is made."""

import sys

import pytest

from deeptrade import MemoryMonitor
from deeptrade.cli import main
from deeptrade.errors import SettingsError
from deeptrade.files import atomic_write

SECRET = "hunter2-hunter2"
ADDRESSES = ["s3://bucket/x", "s3:/bucket/x", f"s3://key:{SECRET}@bucket/x", f"https://host/x?token={SECRET}"]

FOLDERS = [
    "fit --csv market.csv --out ADDRESS",
    "fit --csv market.csv --plan ADDRESS",
    "fit --csv market.csv --warm_start ADDRESS",
    "walk market.csv --out ADDRESS",
    "run market.csv --out ADDRESS",
    "run market.csv --out ADDRESS --grid seed=0,1",
    "profile market.csv --out ADDRESS",
    "optimize market.csv --out ADDRESS",
    "report ADDRESS",
    "compare ADDRESS",
    "compare . --out ADDRESS",
    "evaluate ADDRESS",
    "predict ADDRESS market.csv --out out.csv",
    "synth ADDRESS --rows 2",
    "build market.csv --out ADDRESS",
]
"""What is a folder, or a file that is no data: local in every case."""

DATA = [
    "fit --skip_rl --csv ADDRESS",
    "walk ADDRESS",
    "run ADDRESS",
    "profile ADDRESS --out out",
    "optimize ADDRESS --out out",
    "compile ADDRESS",
    "build ADDRESS --out out.csv",
]

STORES = [
    "fit --skip_rl --csv market.csv --store ADDRESS",
    "compile market.csv --store ADDRESS",
    "verify ADDRESS",
    "export ADDRESS out.parquet",
    "export market.csv ADDRESS.parquet",
    "predict model.keras market.csv --out ADDRESS.csv",
]


@pytest.fixture
def nothing_made(market, monkeypatch):
    """The market's folder is the working one, and holds the market alone at the end; no client is installed."""
    monkeypatch.chdir(market.path.parent)
    monkeypatch.setitem(sys.modules, "obstore", None)
    yield
    assert [path.name for path in market.path.parent.rglob("*") if path.name != "runs"] == ["market.csv"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("command", FOLDERS)
def test_an_address_is_refused_in_one_line_that_shows_no_secret(nothing_made, capsys, command, address):
    assert main(command.replace("ADDRESS", address).split()) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "address" in told.err
    assert SECRET not in told.err + told.out


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("command", [*DATA, *STORES])
def test_data_at_an_address_names_the_extra_that_reads_it(nothing_made, capsys, command, address):
    assert main(command.replace("ADDRESS", address).split()) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert SECRET not in told.err + told.out
    assert ("deeptrade[cloud]" if "s3:" in address and SECRET not in address else "the address") in told.err


def test_no_file_is_written_to_an_address(nothing_made):
    with pytest.raises(SettingsError, match="is an address"), atomic_write("s3://bucket/x"):
        pass
    with pytest.raises(SettingsError, match="is an address"):
        MemoryMonitor("s3://bucket/memory.jsonl")
