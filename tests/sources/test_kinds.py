from pathlib import Path

import pytest

from deeptrade.errors import DataError
from deeptrade.sources.kinds import neighbour, open_source


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working folder with data beside it, in it and below it."""
    for name in ("elsewhere.csv", "work/plan.json", "work/training_data/market.csv", "work/months/2024-01.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("training_data/markt.csv", "training_data/market.csv"),
        ("training_data/market.parquet", "training_data/market.csv"),
        ("training_data/market.dtstore", "training_data/market.csv"),
        ("trainingdata/market.csv", "training_data/market.csv"),
        ("training_data/training_data.csv", "training_data/market.csv"),
        ("month", "months"),
        ("elsewhere.csv", "../elsewhere.csv"),
        ("work/training_data/market.csv", "../work/training_data/market.csv"),
    ],
)
def test_a_path_that_leads_nowhere_has_a_neighbour_that_exists(project, given, meant):
    assert neighbour(Path(given)) == Path(meant)
    assert Path(meant).exists()


def test_a_path_far_from_any_data_has_no_neighbour(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert neighbour(Path("training_data/training_data.csv")) is None


def test_the_neighbour_is_offered_before_a_market_is_invented(project):
    with pytest.raises(DataError) as caught:
        open_source("training_data/markt.csv")
    line = str(caught.value)
    assert line.startswith("training_data/markt.csv does not exist; did you mean 'training_data/market.csv'? If not, ")
    assert line.endswith("or make one: deeptrade synth training_data/markt.csv --rows 2000")
