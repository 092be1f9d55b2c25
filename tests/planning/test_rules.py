import pytest

from deeptrade.memory.limits import Limit
from deeptrade.planning.rules import LARGE_FILE_BYTES, PASS_SHARE, Decision, apply_rules, split_batch
from deeptrade.settings import FitSettings

GIB = 1 << 30
ROOMY = Limit("machine", 24 * GIB, 20 * GIB)
LARGE = LARGE_FILE_BYTES + 1
PASS_ROW = ROOMY.available_bytes // PASS_SHARE // 2
"""What a row of a pass holds, so that two of them are all that a large file may have there."""


def rules(settings, *, given=(), file_bytes=LARGE, limit=ROOMY, pass_row_bytes=PASS_ROW, **more):
    return apply_rules(
        settings, given=frozenset(given), file_bytes=file_bytes, limit=limit, pass_row_bytes=pass_row_bytes, **more
    )


def test_a_file_of_ordinary_size_changes_nothing():
    settings = FitSettings()
    assert rules(settings, file_bytes=LARGE_FILE_BYTES) == (settings, [])


@pytest.mark.parametrize(
    ("batch_size", "grad_accum", "accum_steps", "expected"),
    [
        (4, False, 8, (2, 2)),
        (4, True, 8, (2, 16)),
        (32, False, 8, (2, 16)),
        (3, False, 8, (1, 3)),
        (9, True, 3, (1, 27)),
    ],
)
def test_a_large_file_lowers_the_batch_and_keeps_the_effective_batch(batch_size, grad_accum, accum_steps, expected):
    before = FitSettings(batch_size=batch_size, grad_accum=grad_accum, accum_steps=accum_steps)
    after, _ = rules(before)
    assert (after.batch_size, after.steps_per_update) == expected
    assert after.effective_batch == before.effective_batch


def test_the_decision_says_what_was_found_changed_why_and_how_to_override():
    _, decisions = rules(FitSettings())
    assert decisions[0] == Decision(
        found="the data file holds 4.7 GiB, more than the 4.7 GiB above which a file counts as large",
        changed="batch_size 4 -> 2, grad_accum False -> True, accum_steps 8 -> 2",
        why="a pass may take a sixteenth of the available memory, 1.2 GiB, and a row takes 640.0 MiB of it; "
        "an optimizer step still has 4 rows",
        override="give --batch_size and --grad_accum and --accum_steps to choose it yourself",
    )
    assert decisions[1].changed == "chunk_size 10000 -> 5000"
    assert "\n" not in decisions[0].line()
    assert all(part in decisions[0].line() for part in vars(decisions[0]).values())


def test_a_large_file_whose_passes_hold_little_keeps_its_batch():
    after, decisions = rules(FitSettings(batch_size=32), pass_row_bytes=PASS_ROW // 16)
    assert after.batch_size == 32
    assert decisions[0].changed == "nothing: batch_size=32 is small enough"


def test_a_file_larger_than_the_available_memory_counts_as_large():
    tight = Limit("cgroup v2", 2 * GIB, GIB)
    settings, decisions = rules(FitSettings(), file_bytes=GIB + 1, limit=tight, pass_row_bytes=GIB // PASS_SHARE // 2)
    assert settings.batch_size == 2
    assert "more than the 1.0 GiB of memory available" in decisions[0].found
    assert rules(FitSettings(), file_bytes=GIB, limit=tight)[1] == []


@pytest.mark.parametrize("given", [{"batch_size"}, {"accum_steps"}, {"grad_accum"}, {"batch_size", "chunk_size"}])
def test_a_given_option_is_never_changed(given):
    before = FitSettings()
    after, decisions = rules(before, given=given)
    assert (after.batch_size, after.grad_accum, after.accum_steps) == (4, False, 8)
    named = " and ".join(f"--{name}" for name in ("batch_size", "grad_accum", "accum_steps") if name in given)
    assert decisions[0].changed == (
        f"nothing: {named} was given; the rule would have set --batch_size 2 and --grad_accum and --accum_steps 2"
    )


def test_a_given_chunk_size_stays_and_the_batch_is_still_lowered():
    after, decisions = rules(FitSettings(chunk_size=9000), given={"chunk_size"})
    assert (after.chunk_size, after.batch_size) == (9000, 2)
    assert decisions[1].changed == "nothing: --chunk_size was given; the rule would have set --chunk_size 5000"


def test_giving_grad_accum_still_lets_the_rule_raise_accumulation():
    after, _ = rules(FitSettings(grad_accum=True), given={"grad_accum"})
    assert (after.batch_size, after.accum_steps) == (2, 16)


def test_the_originals_command_line_is_already_what_the_rules_ask_for():
    given = {"model_size": "medium", "batch_size": 2, "grad_accum": True, "accum_steps": 4}
    given |= {"skip_rl": True, "chunk_size": 5000, "cache_batches": 8}
    before = FitSettings(**given)
    after, decisions = rules(before, given=given)
    assert after == before
    assert [decision.changed for decision in decisions] == [
        "nothing: batch_size=2 is small enough",
        "nothing: chunk_size=5000 is small enough",
    ]


def test_the_cache_is_bounded_by_an_eighth_of_the_available_memory():
    limit = Limit("machine", GIB, 800_000)
    after, decisions = rules(FitSettings(cache_batches=9), file_bytes=1, limit=limit, row_bytes=10_000)
    assert after.cache_batches == 2
    assert decisions[0].changed == "cache_batches 9 -> 2"
    assert rules(FitSettings(cache_batches=2), file_bytes=1, limit=limit, row_bytes=10_000)[1] == []


@pytest.mark.parametrize("effective", range(1, 40))
def test_a_split_batch_is_the_largest_that_divides(effective):
    for most in range(1, effective + 3):
        size, steps = split_batch(effective, most)
        assert size * steps == effective
        assert size == max(s for s in range(1, most + 1) if effective / s == effective // s)
