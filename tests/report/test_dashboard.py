import json

from deeptrade.judging.costs import AfterCosts, TradingScore
from deeptrade.judging.evaluation import Evaluation
from deeptrade.judging.scores import Score
from deeptrade.judging.verdict import Verdict
from deeptrade.report.dashboard import judged_line, split_settings, tiles
from deeptrade.report.index import write_index
from deeptrade.report.run_files import RunFiles
from tests.support.pages import Page
from tests.support.results import make_result


def files(tmp_path, judged):
    (tmp_path / "result.json").write_text(
        json.dumps(make_result() | {"effective_batch": 8, "warnings": [], "versions": {}, "weights_sha256": ""})
    )
    found = RunFiles(tmp_path)
    found.judged = judged
    return found


def score(value, low, high):
    return Score(1, None, "rank_ic", value, low, high)


def test_the_tile_of_skill_is_that_of_the_shortest_horizon_not_of_the_best(tmp_path):
    better = Score(2, None, "rank_ic", 0.5, 0.4, 0.6)
    tile = tiles(files(tmp_path, Evaluation([score(0.05, -0.01, 0.11), better], step="20min")))[0]
    assert (tile.name, tile.value) == ("Rank IC, 20min ahead", "0.050")
    assert tile.note == "95% interval -0.010 to 0.110; 0 is no skill"
    few = tiles(files(tmp_path, Evaluation([score(0.05, None, None)])))[0]
    assert few.note == "too few independent rows for an interval; 0 is no skill"


def test_the_tile_of_income_is_after_costs_beside_always_long(tmp_path):
    rules = [
        TradingScore(rule, 0.001, income, 1, 0, 2, 0, 1, 1, 0, 1) for rule, income in (("sign", -0.141), ("long", 0.02))
    ]
    tile = next(
        one for one in tiles(files(tmp_path, Evaluation(costs=AfterCosts(rules, days=10)))) if "Income" in one.name
    )
    assert (tile.name, tile.value) == ("Income after 10 bp a change", "-14.1%")
    assert tile.note.endswith("in 10 days, by the sign of the forecast; always long +2.0%")


def test_an_income_of_too_few_steps_says_that_it_tells_nothing(tmp_path):
    rules = [TradingScore(rule, 0.001, 0.1, None, None, None, 0, 1, 1, 0, 1) for rule in ("sign", "long")]
    found = files(tmp_path, Evaluation(costs=AfterCosts(rules, days=1)))
    assert any(one.note.endswith("always long +10.0%; too few independent steps to tell") for one in tiles(found))


def test_what_is_not_known_has_no_tile(tmp_path):
    assert [one.name for one in tiles(files(tmp_path, Evaluation()))] == ["Rows per second"]


def test_the_dates_of_validation_are_told(tmp_path):
    verdict = Verdict("none", [], 0.4, 900, "2026-01-01T10:00:00", "2026-02-01T00:00:00")
    line = judged_line(files(tmp_path, Evaluation(verdict=verdict)))
    assert line.startswith("Judged on 900 rows from 2026-01-01 to 2026-02-01")
    assert judged_line(files(tmp_path, Evaluation())) == ""


def test_settings_that_differ_from_the_defaults_are_apart_from_all_others():
    changed, others = split_settings({"csv": "m.csv", "out": "o", "seed": 7, "epochs": 1, "encoder": "recurrent"})
    assert changed == {"csv": "m.csv", "seed": 7}
    assert others == {"out": "o", "epochs": 1, "encoder": "recurrent"}


def test_the_first_page_shows_tiles_a_chart_dates_and_a_card_for_every_page(finished_run):
    page = Page(finished_run / "index.html")
    assert "Peak memory" in page.words
    assert "completed last training start" in page.words
    assert page.words.index("Settings Those that differ") < page.words.index("all other settings")
    assert len([one for one in page.all("ul") if one.get("class") == "cards"]) == 1


def test_a_run_that_is_not_finished_says_so(finished_run, tmp_path):
    state = json.loads((finished_run / "run.json").read_text())
    state["notebooks"]["04_memory_report"] = {"status": "pending"}
    (tmp_path / "run.json").write_text(json.dumps(state))
    assert "unfinished" in Page(write_index(tmp_path)).words
