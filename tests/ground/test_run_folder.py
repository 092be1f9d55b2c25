from pathlib import Path

import pytest

from deeptrade.errors import DataError
from deeptrade.report.memory_report import memory_report
from deeptrade.run_folder import meant_run


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Runs beside the folder of the notebooks, which is the working folder."""
    for name in ("runs/market", "runs/other", "single/alone"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("{}")
    (tmp_path / "lab").mkdir()
    monkeypatch.chdir(tmp_path / "lab")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("runs/market", "../runs/market"),
        ("runs", "../runs"),
        ("runs/markt", "../runs/market"),
        ("../runs/othr", "../runs/other"),
        ("../single/market", "../single/alone"),
    ],
)
def test_a_folder_without_a_run_asks_whether_a_near_one_was_meant(project, given, meant):
    assert meant_run(Path(given)) == f"did you mean {meant!r}? If not, "


def test_where_no_run_is_near_none_is_offered(project):
    assert meant_run(Path("/none/such")) == ""


def test_the_memory_report_of_a_wrong_folder_offers_the_one_that_exists(project):
    with pytest.raises(DataError, match=r"holds no memory.jsonl and no result.json; did you mean '../runs/market'\?"):
        memory_report("runs/market")
