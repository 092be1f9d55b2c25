import numpy as np
import pandas as pd
import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError
from deeptrade.trading.acting import load_agent, positions_to_hold
from deeptrade.trading.settings import AgentSettings
from deeptrade.trading.stage import train_agent
from tests.support.agent_runs import pretend_to_fit, pretended_training, settings_of, write_market


@pytest.fixture(scope="module")
def acting(tmp_path_factory):
    """A run on a market with a strong signal, its agent, and its data."""
    folder = tmp_path_factory.mktemp("acting")
    write_market(folder / "market.csv")
    run = pretend_to_fit(settings_of(folder / "market.csv", folder / "run"))
    settings = AgentSettings(rl_epochs=2, rl_batch_size=128, rl_fee=0.0005)
    train_agent(run, settings, progress="silent", start=pretended_training)
    with open_dataset(folder / "market.csv") as data:
        yield run, load_agent(run.agent.model), data


def forecasts_of(data, rows):
    """Return forecasts as `predict` does."""
    signal = data.read(rows)["arr_signal"]
    times = pd.to_datetime(data.read_times(rows), utc=True)
    index = pd.MultiIndex.from_arrays([rows, times], names=["row", "timestamp"])
    return pd.DataFrame(np.float32([1e-3, 2e-3]) * signal, index, ["y_1", "y_2"])


def test_on_the_rows_that_judged_it_it_holds_what_the_account_says(acting):
    run, agent, data = acting
    table = pd.read_csv(run.agent.positions)
    judged = table[table["split"] == "validation"]
    held = positions_to_hold(agent, forecasts_of(data, judged["row"].to_numpy()), data)
    assert held.tolist() == judged["position"].tolist()
    assert set(held) > {0}


def test_a_single_row_has_a_position(acting):
    _, agent, data = acting
    rows = np.flatnonzero(data.read(np.arange(100))["arr_signal"][:, 0] > 1.5)[:1]
    assert positions_to_hold(agent, forecasts_of(data, rows), data).tolist() == [1]


def test_forecasts_of_another_number_of_horizons_are_refused(acting):
    _, agent, data = acting
    with pytest.raises(DataError, match="the agent was made for forecasts of 2 horizons, these have 1"):
        positions_to_hold(agent, forecasts_of(data, np.arange(5))[["y_1"]], data)


def test_a_file_that_holds_no_agent_is_refused(tmp_path):
    (tmp_path / "agent.keras").write_text("no agent")
    with pytest.raises(DataError, match=r"cannot be read as an agent \(.*\); train it again with --fresh"):
        load_agent(tmp_path / "agent.keras")
