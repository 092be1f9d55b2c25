"""The page of a walk says how far it is, and then what it is worth."""

import json
from html import unescape

import numpy as np
import pytest

from deeptrade.cli import main
from deeptrade.errors import DataError
from deeptrade.files import write_json
from deeptrade.judging.evaluation import Evaluation
from deeptrade.report import figures, tables
from deeptrade.report.walk_page import write_walk_pages
from tests.support.walks import judge_walk, make_walk, write_walk


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return make_walk(tmp_path_factory.mktemp("page") / "<b>market.csv")


def test_an_unfinished_walk_has_a_page_that_says_how_far_it_is(walk, tmp_path, capsys):
    write_json(tmp_path / "walk.json", {"data_id": "sha256-2:0"} | walk.to_json())
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'index.html'}\n"
    page = (tmp_path / "index.html").read_text()
    assert "0 of 8 trainings done" in page
    assert "Not judged yet: run the same command again" in page
    assert "What is judged?" in page
    assert "How large is the skill?" not in page
    assert "<b>market" not in page


def test_the_page_of_a_finished_walk_begins_with_the_verdict_and_what_trading_earned(walk, finished_run, tmp_path):
    judged, trainings = write_walk(tmp_path, walk, finished_run)
    page = unescape(write_walk_pages(tmp_path).read_text())
    assert "8 of 8 trainings done" in page
    first = page.index(tables.verdict(judged))
    assert tables.verdict(judged).startswith("Evidence of skill at 20min, 40min (joint p <= 0.001")
    assert first < page.index(tables.costs_line(judged.costs)) < page.index("How large is the skill?")
    for question in ("from fold to fold", "chance of the seed", "simple forecasts", "right?", "With which settings?"):
        assert question in page
    assert "paths" not in page
    assert page.count("<figure") == 6
    result = trainings[0].folder.read_result()
    write_json(trainings[0].folder.result, result | {"weights_sha256": "other"})
    page = write_walk_pages(tmp_path).read_text()
    assert "Not judged yet" in page, "an evaluation of other weights is not that of this walk"


@pytest.mark.parametrize("content", ["{}", "[]", '{"data_id": "a", "settings": {}, "walk": [], "folds": []}'])
@pytest.mark.parametrize("command", ["report", "evaluate"])
def test_a_walk_json_of_something_else_is_refused_in_one_line(tmp_path, content, command, capsys):
    (tmp_path / "walk.json").write_text(content)
    assert main([command, str(tmp_path)]) == 2
    assert "walk.json does not belong to a run" in capsys.readouterr().err


def test_the_tables_of_folds_and_seeds_have_the_scores_at_the_first_and_the_last_horizon(walk):
    judged = judge_walk()
    by_fold, by_seed = tables.by_fold(judged), tables.by_seed(judged)
    assert by_fold["fold"].tolist() == ["1", "2", "3", "4"]
    assert by_fold["rows"].tolist() == ["50"] * 4
    first = next(one for one in judged.folds if (one.period, one.horizon) == ("fold 1", 1))
    assert by_fold["rank IC, 20min"][0] == f"{first.rank_ic:+.3f}"
    assert by_fold["MAE below zero's, 20min"][0] == f"{first.mae_gain:+.2%}"
    assert by_seed["seed"].tolist() == ["0", "1", "mean", "spread (sd)"]
    ranks = [one.rank_ic for one in judged.seeds if one.horizon == 2]
    assert by_seed["rank IC, 40min"].tolist()[2:] == [f"{np.mean(ranks):+.3f}", f"{np.std(ranks, ddof=1):.3f}"]
    assert len(tables.by_path(judged)) == 0


def test_the_figures_of_a_walk_have_their_finding_as_title(walk):
    judged = judge_walk()
    title = figures.skill_by_fold(judged).axes[0].get_title(loc="left")
    above = sum(one.rank_ic > 0 for one in judged.folds if one.horizon == 1)
    assert title == f"The rank IC 20min ahead is above zero in {above} of 4 folds"
    nothing = figures.skill_by_fold(Evaluation()).axes[0].get_title(loc="left")
    assert nothing == "No fold has enough rows for a rank IC"


def test_the_line_and_the_table_say_what_each_fold_learns_from(walk):
    line = tables.walk_line(walk)
    assert line == "4 folds with 2 seeds each; each learns from all that came before what it is judged on."
    table = tables.folds(walk)
    assert table["validation"].tolist() == ["50"] * 4
    assert table["judged"][3].endswith("to the end")


def test_a_folder_without_a_walk_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no walk; give the --out of one"):
        write_walk_pages(tmp_path)


def test_what_a_walk_says_of_itself_is_read_back(walk):
    judged = judge_walk()
    assert Evaluation.from_json(json.loads(json.dumps(judged.to_json()))) == judged
