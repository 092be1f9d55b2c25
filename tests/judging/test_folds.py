"""Folds are instants: what is judged comes after what is learned, and no label crosses."""

from itertools import combinations

import numpy as np
import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.errors import SettingsError
from deeptrade.judging.folds import Walk, make_folds, paths
from deeptrade.judging.walk_settings import WalkSettings
from deeptrade.run_folder import WalkFolder
from deeptrade.settings import FitSettings
from deeptrade.times import parse_periods
from tests.support.markets import make_market

ROWS, HORIZONS = 240, 2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    market = make_market(tmp_path_factory.mktemp("folds") / "m.csv", rows=ROWS, horizons=HORIZONS)
    with open_dataset(market.path) as dataset:
        yield dataset


def splits_of(data, walk, **settings):
    settings = FitSettings(inner_ratio=0.0, **settings)
    folds = make_folds(data, settings, walk)
    found = []
    for fold in folds:
        periods = {"validation_period": fold.validation_period, "training_period": fold.training_period}
        found.append(data.split(**settings.split_options | periods))
    return folds, found


def numbers(rows):
    return rows.numbers().tolist()


def test_expanding_folds_judge_the_latest_half_and_learn_from_all_before(data):
    folds, splits = splits_of(data, WalkSettings(folds=4))
    assert [numbers(split.validation) for split in splits] == [
        list(range(120 + 30 * k, 150 + 30 * k)) for k in range(4)
    ]
    assert [numbers(split.train) for split in splits] == [list(range(118 + 30 * k)) for k in range(4)]
    assert [fold.rows["purged"] for fold in folds] == [HORIZONS] * 4
    assert [fold.rows["train"] for fold in folds] == [118, 148, 178, 208]


def test_sliding_folds_learn_from_equally_many_rows(data):
    _, splits = splits_of(data, WalkSettings(folds=4, train="sliding"))
    assert [numbers(split.train) for split in splits] == [list(range(30 * k, 118 + 30 * k)) for k in range(4)]


def test_an_embargo_leaves_more_time_before_each_fold(data):
    folds, splits = splits_of(data, WalkSettings(folds=4), embargo="2h")
    assert [numbers(split.train)[-1] for split in splits] == [111 + 30 * k for k in range(4)]
    assert [(fold.rows["purged"], fold.rows["embargoed"]) for fold in folds] == [(2, 6)] * 4


@pytest.mark.parametrize("embargo", [0, 6])
def test_combinatorial_folds_are_those_of_a_naive_loop(data, embargo):
    walk = WalkSettings(folds=5, train="combinatorial", test_folds=2)
    _, splits = splits_of(data, walk, embargo=f"{20 * embargo}min" if embargo else "")
    edges = np.linspace(0, ROWS, 6).astype(int)
    for split, chosen in zip(splits, combinations(range(5), 2), strict=True):
        tested = [row for group in chosen for row in range(edges[group], edges[group + 1])]
        reach = HORIZONS + embargo
        near = {row + step for row in tested for step in range(-reach, reach + 1)}
        assert numbers(split.validation) == tested
        assert numbers(split.train) == [row for row in range(ROWS) if row not in near]


def test_every_path_has_each_group_once_and_every_forecast_is_in_one_path(data):
    folds = make_folds(data, FitSettings(), WalkSettings(folds=5, train="combinatorial", test_folds=2))
    found = paths(folds)
    assert len(found) == 4  # C(4, 1): how often each group is judged
    assert all([group for group, _ in path] == [1, 2, 3, 4, 5] for path in found)
    used = [step for path in found for step in path]
    assert sorted(used) == sorted((group, fold.number) for fold in folds for group in fold.groups)


@pytest.mark.parametrize("kind", ["expanding", "sliding", "combinatorial"])
def test_folds_agree_with_those_of_skfolio(data, kind):
    selection = pytest.importorskip("skfolio.model_selection", reason="skfolio is not installed")
    rows = np.zeros((ROWS, 1))
    if kind == "combinatorial":
        theirs = selection.CombinatorialPurgedCV(n_folds=6, n_test_folds=2, purged_size=HORIZONS, embargo_size=0)
        pairs = [(train, np.concatenate(test)) for train, test in theirs.split(rows)]
        walk = WalkSettings(folds=6, train=kind, test_folds=2)
    else:
        theirs = selection.WalkForward(
            test_size=30, train_size=118, purged_size=HORIZONS, expand_train=kind == "expanding"
        )
        pairs = list(theirs.split(rows))
        walk = WalkSettings(folds=4, train=kind)
    _, splits = splits_of(data, walk)
    assert len(pairs) == len(splits)
    for (train, test), split in zip(pairs, splits, strict=True):
        assert numbers(split.train) == train.tolist()
        assert numbers(split.validation) == test.tolist()


def test_markets_share_their_instants(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=200)
    market.header.insert(1, "market")
    for row, cells in enumerate(market.cells):
        cells[0] = str(1_700_000_000 + 1200 * (row // 2))
        cells.insert(1, "AB"[row % 2])
    market.write()
    with open_dataset(market.path) as data:
        folds, splits = splits_of(data, WalkSettings(folds=2))
        for fold, split in zip(folds, splits, strict=True):
            (begin, _), *_ = parse_periods(fold.validation_period)
            assert data.read_times(split.validation.numbers()).min() == begin
            assert data.read_times(split.train.numbers()).max() + 2 * 1200 * 10**9 < begin
            assert set(data.read_markets(split.validation.numbers())) == {"A", "B"}
            assert len(split.validation) == 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 200}, "folds=200 are too many for 240 rows with targets; use fewer folds"),
        ({"seeds": "1,1"}, "seeds='1,1' is not accepted; give different whole numbers"),
        ({"seeds": "a"}, "seeds='a' is not accepted"),
        ({"seeds": "1,01"}, "seeds='1,01' is not accepted; give different whole numbers"),
        ({"folds": 20_000}, "folds=20000 is not accepted; use at most 1000"),
        ({"test_ratio": 0.999}, "fold 1 of folds=5 with test_ratio=0.999 leaves no training row of 240 rows"),
        ({"train": "rolling"}, "train='rolling' is not accepted; choose from expanding, sliding, combinatorial"),
        ({"train": "combinatorial", "folds": 2}, "test_folds=2 leaves none of folds=2 to learn from"),
        ({"train": "combinatorial", "warm_start": True}, "warm_start needs folds in order of time"),
        ({"train": "combinatorial", "folds": 20, "test_folds": 10}, "make more than 1,000 trainings; use fewer"),
    ],
)
def test_folds_that_cannot_be_made_are_refused_in_one_line(data, options, message):
    with pytest.raises(SettingsError) as error:
        make_folds(data, FitSettings(), WalkSettings(**options))
    assert message in str(error.value)


def test_a_walk_is_read_back_as_it_was_written(data, tmp_path):
    walk = WalkSettings(folds=2, seeds="3,5", warm_start=True)
    settings = FitSettings(csv="m.csv", model_size="tiny")
    whole = Walk(settings, walk, make_folds(data, settings, walk))
    assert Walk.from_json(whole.to_json()) == whole
    trainings = list(whole.trainings(WalkFolder(tmp_path / "w")))
    assert [one.name for one in trainings] == ["01-seed_3", "01-seed_5", "02-seed_3", "02-seed_5"]
    assert [one.settings.warm_start for one in trainings] == [
        "",
        "",
        trainings[0].settings.out,
        trainings[1].settings.out,
    ]
