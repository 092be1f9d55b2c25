import pandas as pd
import pytest

from deeptrade.errors import SettingsError
from deeptrade.judging.forecast_file import write_forecasts


@pytest.fixture
def forecasts():
    times = pd.DatetimeIndex(["2024-03-04 09:30", "2024-03-04 09:50"], name="timestamp")
    return pd.DataFrame({"row": [0, 1], "y_1": [0.1, 0.2]}, index=times)[["y_1", "row"]].set_index("row", append=True)


@pytest.mark.parametrize("name", ["out.csv", "out.CSV", "out.parquet", "out.Parquet"])
def test_the_ending_may_be_in_any_case(tmp_path, forecasts, name):
    write_forecasts(forecasts, tmp_path / name)
    found = (pd.read_csv if name.lower().endswith("csv") else pd.read_parquet)(tmp_path / name)
    assert list(found) == ["timestamp", "row", "y_1"]
    assert found["y_1"].tolist() == [0.1, 0.2]


def test_another_ending_is_refused_before_the_forecasts_are_looked_at(tmp_path):
    with pytest.raises(SettingsError, match=r"out='out\.txt' has no ending that is known; give a \.csv or"):
        write_forecasts(None, tmp_path / "out.txt")
