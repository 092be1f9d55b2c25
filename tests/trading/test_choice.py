import numpy as np

from deeptrade.trading.choice import Candidates
from tests.support.agents import POSITIONS, blocks_of, market_of

ROWS = 2000


def candidates_of(*values, seed=0):
    """Return candidates of one cost, an epoch each, on an inner market whose state is its return and some noise.

    values: of each epoch, how much a position in the direction of the state is worth, (epochs,) numbers; 0 stays flat.
    """
    draws = np.random.default_rng(seed)
    returns = draws.normal(0, 0.01, ROWS)
    market = market_of(returns + draws.normal(0, 0.03, ROWS), returns)
    found = Candidates(
        market, [(0.0, 0.9)], epochs=len(values), positions=POSITIONS, blocks=blocks_of(market), weights={"w": (1, 1)}
    )
    for epoch, value in enumerate(values, start=1):
        states = market.turn_states[:, 0] * value
        worth = np.stack([-states, 0 * states, states], axis=1)[None, None]
        found.consider(worth, {"w": np.float32([[[epoch]]])}, unit=1.0, epoch=epoch)
    return found


def test_of_candidates_that_cannot_be_told_apart_the_one_that_learned_longest_is_kept():
    found = candidates_of(1, 1, 1)
    (chosen,) = found.chosen()
    assert (chosen.epoch, chosen.evidence, chosen.trials) == (3, True, 3)
    assert found.weights_of(0.0)["w"].ravel().tolist() == [3]


def test_a_candidate_without_evidence_is_not_kept_where_another_has_some():
    (chosen,) = candidates_of(1, 0, -1).chosen()
    assert (chosen.epoch, chosen.evidence) == (1, True)


def test_where_none_earns_more_than_luck_explains_there_is_no_evidence():
    (chosen,) = candidates_of(-1, 0).chosen()
    assert not chosen.evidence


def test_without_enough_blocks_there_is_no_evidence_and_no_p():
    market = market_of(np.ones(30), np.full(30, 0.01))
    found = Candidates(
        market, [(0.0, 0.9)], epochs=1, positions=POSITIONS, blocks=blocks_of(market), weights={"w": (1, 1)}
    )
    found.consider(np.tile([[-1.0, 0.0, 1.0]], (1, 1, 30, 1)), {"w": np.zeros((1, 1, 1))}, unit=1.0, epoch=1)
    (chosen,) = found.chosen()
    assert (chosen.evidence, chosen.p) == (False, None)
    assert chosen.income > 0
