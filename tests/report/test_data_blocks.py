import re

import pytest

from deeptrade import profile
from deeptrade.report import data_blocks
from tests.support.markets import make_market


@pytest.fixture
def found(tmp_path):
    market = make_market(tmp_path / "market.csv", rows=40, shapes={"arr_<b>": (24, 3), "arr_v": (4,)})
    market.write()
    return profile(market.path)


def test_every_channel_has_a_path_a_histogram_and_its_numbers(found):
    html = data_blocks.channel_list(found).data
    assert html.count("<details") == len(found["features"]) == 2
    assert html.count("<details open") == 1
    assert html.count('class="spark"') == 2 * (3 + 4)
    assert re.findall(r"<th scope='row'>([^<]*)</th>", html) == ["0", "1", "2", "0", "1", "2", "3"]
    assert "<strong>arr_&lt;b&gt;</strong> 24×3" in html
    assert html.count("<title>from ") == 7


def test_named_channels_show_position_and_name(found):
    found["features"][0]["names"] = ["open", "high", "low"]
    assert "<th scope='row'>1 high</th>" in data_blocks.channel_list(found).data


def test_what_makes_one_open_a_feature_is_said_beside_its_name(found):
    feature = found["features"][0]
    feature |= {
        "nonfinite_by_channel": [1, 0, 0],
        "std": [1.0, 0.0, 1.0],
        "drift": [0.0, 0.0, 2.0],
        "outlier_share": 0.01,
    }
    html = data_blocks.channel_list(found).data
    remarks = "1 channel with missing numbers; 1 channel without change; 1 channel drifted by more than 1 sd"
    assert f"24×3; {remarks}; 1.00% outliers" in html
    assert "<strong>+2.0</strong>" in html


def test_a_path_has_a_gap_where_nothing_is_known(found):
    found["features"][0]["path"][0] = [1.0, None, 3.0, 2.0]
    assert 'd="M0 26.0M80 2.0L120 14.0"' in data_blocks.channel_list(found).data
    found["features"][0]["path"][0] = [None, None]
    assert data_blocks.channel_list(found).data.count('class="spark"') == 13


def test_a_profile_without_histograms_of_channels_says_so(found):
    for feature in found["features"]:
        feature["histograms"] = []
    assert "too many channels" in data_blocks.channel_list(found).data


def test_alerts_have_badges_and_those_with_one_next_step_stand_together(found):
    found["rows"]["rejected"], found["warnings"] = 3, ["a <line>", "another"]
    html = data_blocks.alert_list(found).data
    assert re.findall(r'class="badge (\w+)">(\w+)<', html) == [("warning", "warning"), ("note", "note")]
    assert "a &lt;line&gt;<br>another<span" in html
    assert "threshold: any; next: see line, column and reason in ledger.csv" in html


def test_without_an_alert_it_says_so(found):
    found["features"], found["warnings"] = [], []
    assert "Nothing: no row is rejected" in data_blocks.alert_list(found).data
