from dataclasses import replace

import pytest

from deeptrade.trading.account import Against
from deeptrade.trading.verdict import decide
from tests.support.accounts import ACCOUNT, CHOSEN

FLAT, LONG = "flat", "long"


def account(flat, best=(FLAT, 0.31, None, None)):
    return replace(ACCOUNT, flat_against=Against(FLAT, 0.31, *flat), best_against=Against(*best))


@pytest.mark.parametrize(
    ("found", "kind", "sentence"),
    [
        (
            account((0.12, 0.5), (FLAT, 0.31, 0.12, 0.5)),
            "above_all",
            "Better than staying flat after costs of 12 bp: +31.0% of the stake in 50 days, 95% interval +12.0% to "
            "+50.0%.",
        ),
        (
            account((0.12, 0.5), (LONG, 0.2, 0.05, 0.4)),
            "above_all",
            "Better than staying flat after costs of 12 bp: +31.0% of the stake in 50 days, 95% interval +12.0% to "
            "+50.0%, and better than always long, the best simple rule.",
        ),
        (
            account((0.12, 0.5), (LONG, 0.2, -0.05, 0.4)),
            "above_flat",
            "Better than staying flat after costs of 12 bp: +31.0% of the stake in 50 days, 95% interval +12.0% to "
            "+50.0%; not better than always long.",
        ),
        (
            account((-0.1, 0.5)),
            "none",
            "Not better than staying flat after costs of 12 bp: +31.0% of the stake in 50 days, 95% interval -10.0% to "
            "+50.0%.",
        ),
        (
            account((-0.5, -0.1)),
            "worse",
            "Worse than staying flat after costs of 12 bp: +31.0% of the stake in 50 days, 95% interval -50.0% to "
            "-10.0%.",
        ),
        (
            account((None, None)),
            "unknown",
            "Nothing can be said after costs of 12 bp: too few independent rows.",
        ),
    ],
)
def test_the_sentence_follows_the_intervals(found, kind, sentence):
    verdict = decide(found, CHOSEN)
    assert (verdict.kind, verdict.sentence) == (kind, sentence)


def test_an_interval_that_ends_at_zero_is_no_evidence():
    assert decide(account((0.0, 0.5)), CHOSEN).kind == "none"
    assert decide(account((-0.5, 0.0)), CHOSEN).kind == "none"


def test_without_evidence_on_inner_rows_the_agent_stays_flat_whatever_it_earned():
    verdict = decide(account((0.12, 0.5)), replace(CHOSEN, evidence=False, p=0.375, trials=12))
    assert verdict.kind == "stays_flat"
    assert verdict.sentence == (
        "The agent stays flat: on the inner rows none of 12 candidates earned more after costs of 12 bp than luck "
        "explains (joint p = 0.38)."
    )


def test_too_few_inner_rows_are_said_to_be_too_few():
    verdict = decide(ACCOUNT, replace(CHOSEN, evidence=False, p=None))
    assert verdict.sentence == (
        "The agent stays flat: too few independent inner rows to tell skill from luck after costs of 12 bp."
    )
