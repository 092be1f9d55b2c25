import json
from datetime import UTC, datetime

import numpy as np
import pytest

from deeptrade import profile
from deeptrade.errors import DoesNotFitError
from tests.support.markets import make_market


def test_counts_times_and_moments_equal_plain_numpy(market):
    result = profile(market.path)
    assert result["rows"] == {"read": 60, "usable": 60, "rejected": 0}
    assert result["step_seconds"] == 1200
    assert result["span"]["start"] == datetime.fromtimestamp(1_700_000_000, UTC).isoformat()
    for feature in result["features"]:
        values = market.features[feature["name"]][:, 0].astype(np.float32).astype(float)
        channels = values.reshape(-1, values.shape[-1])
        np.testing.assert_allclose(feature["mean"], channels.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(feature["std"], channels.std(axis=0), rtol=1e-5)
        assert feature["bytes_per_row"] == values[0].size * 4
    known = market.targets[:, 1].astype(np.float32)
    assert result["targets"][1]["quantiles"]["0.25"] == pytest.approx(np.quantile(known, 0.25), rel=1e-6)


def test_gaps_repeats_and_steps_back_are_counted(market):
    del market.cells[30:33]
    market.cells[5][0] = market.cells[4][0]
    market.cells[12][0] = market.cells[10][0]
    market.write()
    result = profile(market.path)
    after = datetime.fromtimestamp(1_700_000_000 + 29 * 1200, UTC).isoformat()
    until = datetime.fromtimestamp(1_700_000_000 + 33 * 1200, UTC).isoformat()
    gap = {"market": None, "after": after, "until": until, "seconds": 4800.0, "missing_rows": 3, "lost_targets": None}
    assert gap in result["gaps"]
    assert result["duplicates"] == 1
    assert result["backward"] == 1


def test_rejected_rows_are_counted_by_reason_and_listed(market, tmp_path):
    market.cells[4][1] = "[[[1]]]"
    market.cells[5][1] = ""
    market.cells[6][1] = ""
    market.write()
    result = profile(market.path, out=tmp_path / "p")
    assert result["rejected"] == {"shape": 1, "missing": 2}
    assert json.loads((tmp_path / "p" / "profile.json").read_text())["rows"]["rejected"] == 3
    assert len((tmp_path / "p" / "ledger.csv").read_text().splitlines()) == 4


def test_one_row_and_no_known_target_have_a_profile(market):
    del market.cells[1:]
    market.cells[0][-1] = market.cells[0][-2] = ""
    market.write()
    result = profile(market.path)
    assert result["rows"]["usable"] == 1
    assert result["step_seconds"] is None
    assert result["targets"][0]["missing"] == 1


def test_a_memory_limit_bounds_what_a_profile_reads(market):
    with pytest.raises(DoesNotFitError, match=r"reading a block of market needs .* may be used"):
        profile(market.path, memory_limit="1KiB")


def test_what_a_gap_cost_is_told_where_targets_come_from_prices(tmp_path):
    market = make_market(tmp_path / "m.csv", horizons=1, rows=40)
    market.header[-1] = "price"
    for row, cells in enumerate(market.cells):
        cells[-1] = str(100 + row)
    del market.cells[20:25]
    market.write()
    (gap,) = profile(market.path)["gaps"]
    assert (gap["missing_rows"], gap["lost_targets"]) == (5, 10 * 11 // 2)


def test_the_longest_gaps_are_kept_whatever_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr("deeptrade.profiles.profile._MOST_GAPS", 2)
    market = make_market(tmp_path / "market.csv", rows=300)
    for row in (250, 200, 150, 100, 50):
        del market.cells[row : row + (5 if row in (150, 250) else 1)]
    market.write()
    result = profile(market.path)
    assert result["gap_count"] == 5
    assert [gap["missing_rows"] for gap in result["gaps"]] == [5, 5]


def test_of_very_many_channels_none_has_a_histogram_of_its_own(market, monkeypatch):
    assert len(profile(market.path)["features"][0]["histograms"]) == 3
    monkeypatch.setattr("deeptrade.profiles.profile._MOST_CHANNELS", 2)
    feature = profile(market.path)["features"][0]
    assert (feature["histograms"], feature["path"], sum(feature["histogram"])) == ([], [], 60 * 3)
