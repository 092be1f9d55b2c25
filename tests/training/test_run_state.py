import math

import pytest

from deeptrade.errors import RunConflictError
from deeptrade.settings import MATHS, FitSettings
from deeptrade.training.run_state import RunState, alone_in, check_same_run, keep_batch_size, maths_of
from tests.support.holding import another_process


def state_of(settings, **changes):
    return RunState("sha256:a", maths_of(settings, "float32"), batch_size=settings.batch_size, **changes)


def test_a_run_is_done_at_its_epochs_or_its_steps():
    settings = FitSettings(epochs=2, max_steps=9)
    assert not state_of(settings, epoch=1, trainer={"step": 8}).is_done(settings)
    assert state_of(settings, epoch=2, trainer={"step": 8}).is_done(settings)
    assert state_of(settings, epoch=1, trainer={"step": 9}).is_done(settings)
    assert not state_of(settings, epoch=1, trainer={"step": 9000}).is_done(FitSettings(epochs=2))


@pytest.mark.parametrize(
    ("losses", "without_gain", "best"),
    [
        ([3, 2, 1], 0, 1),
        ([1, 2, 1], 2, 1),
        ([math.nan, 2], 0, 2),
        ([2, math.nan, math.inf], 2, 2),
        ([math.nan, math.nan], 2, None),
    ],
)
def test_epochs_without_a_better_loss_are_counted_and_nan_is_never_better(losses, without_gain, best):
    state = state_of(FitSettings())
    for loss in losses:
        state.note_inner(loss)
    assert (state.epochs_without_gain, state.best_validation) == (without_gain, best)


def test_every_setting_that_changes_the_weights_is_compared():
    settings = FitSettings()
    for name in MATHS:
        maths = maths_of(settings, "float32") | {name: "other"}
        with pytest.raises(RunConflictError, match=f"runs/a holds a run with {name}=.*given 'other'.*--fresh"):
            check_same_run(state_of(settings), data_id="sha256:a", content_hash="", maths=maths, out="runs/a")
    same = {"data_id": "sha256:a", "maths": maths_of(settings, "float32"), "out": "runs/a"}
    check_same_run(state_of(settings), content_hash="", **same)


def test_the_hash_of_every_byte_is_compared_where_both_are_known():
    settings = FitSettings()
    same = {"data_id": "sha256:a", "maths": {}, "out": "runs/a"}
    check_same_run(state_of(settings, content_hash="xxh3:1"), content_hash="", **same)
    check_same_run(state_of(settings, content_hash=""), content_hash="xxh3:1", **same)
    with pytest.raises(RunConflictError, match=r"other data \(xxh3:1, given xxh3:2\)"):
        check_same_run(state_of(settings, content_hash="xxh3:1"), content_hash="xxh3:2", **same)


def test_a_run_keeps_its_first_batch_size_unless_another_is_given():
    began = state_of(FitSettings(batch_size=2, grad_accum=True, accum_steps=4))
    now = FitSettings(batch_size=4, grad_accum=True, accum_steps=2)
    assert keep_batch_size(now, began, given=()) == FitSettings(batch_size=2, grad_accum=True, accum_steps=4)
    assert keep_batch_size(now, began, given={"batch_size"}) == now
    whole = keep_batch_size(FitSettings(batch_size=2), state_of(FitSettings(batch_size=2)), given=())
    assert whole == FitSettings(batch_size=2)
    indivisible = FitSettings(batch_size=3)
    assert keep_batch_size(indivisible, began, given=()) == indivisible


def test_a_change_of_the_batch_size_is_counted_once():
    state = state_of(FitSettings(batch_size=4))
    for batch_size in (4, 2, 2, 8):
        state.take_batch_size(batch_size)
    assert (state.micro_batch_changes, state.batch_size) == (2, 8)


def test_a_folder_is_locked_by_one_run_at_a_time_and_free_after_a_kill(tmp_path):
    out = tmp_path / "runs" / "a"
    with (
        another_process(out),
        pytest.raises(RunConflictError, match=r"another process is training into .*--out"),
        alone_in(out),
    ):
        pass
    for _ in range(2):
        with alone_in(out):
            assert not list(out.iterdir())
