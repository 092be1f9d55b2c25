import json
import re
import resource
import subprocess
import sys
from dataclasses import replace

import pytest

from deeptrade import compile_store
from deeptrade.errors import DataError, DoesNotFitError, SettingsError
from deeptrade.planning import trial_choice
from deeptrade.planning.memory_model import predict_peak
from deeptrade.planning.optimize import optimize
from deeptrade.planning.plan import Plan, Trial, plan_from_json, read_plan
from deeptrade.planning.search import FIRST_BATCH, MOST_TRIALS
from deeptrade.planning.trial_choice import FURTHER_AHEAD
from deeptrade.progress import PROGRESS_TYPE
from deeptrade.settings import FitSettings
from deeptrade.sources.schema import Feature, Schema
from tests.support.limits import machine_of
from tests.support.markets import SHAPES

SCHEMA = Schema(tuple(Feature(name, shape) for name, shape in SHAPES.items()), horizons=2)


def quick_plan(market, out, **more) -> Plan:
    return optimize(market.path, out=out, quick=True, **more)


def test_a_quick_plan_has_every_field_and_no_measurement(market, tmp_path):
    plan = quick_plan(market, tmp_path / "deep" / "out")
    written = json.loads((tmp_path / "deep" / "out" / "plan.json").read_text())
    fields = (
        "batch_size accum_steps effective_batch chunk_size cache_batches prefetch precision jit limit_bytes "
        "limit_source predicted_peak_bytes measured_peak_bytes measured_terms decisions trials "
        "schema_version model_size"
    )
    assert set(fields.split()) <= set(written)
    assert (written["measured_peak_bytes"], written["trials"]) == (None, [])
    assert written["predicted_peak_bytes"] == sum(written["predicted_terms"].values())
    assert all(set(decision) == {"found", "changed", "why", "override"} for decision in written["decisions"])
    assert read_plan(tmp_path / "deep" / "out" / "plan.json") == plan
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == ["plan.json"]


@pytest.mark.parametrize(("asked", "effective"), [(0, 32), (1, 1), (7, 7), (48, 48)])
def test_the_effective_batch_is_as_requested(market, tmp_path, asked, effective):
    plan = quick_plan(market, tmp_path, effective_batch=asked)
    assert plan.batch_size * plan.accum_steps == plan.effective_batch == effective
    assert plan.batch_size <= FIRST_BATCH


def test_a_tighter_limit_gives_a_smaller_batch_that_fits(market, tmp_path):
    peaks = []
    for size in (1, 4, 16):
        plan = quick_plan(market, tmp_path, effective_batch=size, memory_limit=machine_of(1 << 40))
        peaks.append(plan.predicted_peak_bytes)
    limit = (peaks[1] + peaks[2]) // 2 / 0.9
    tight = machine_of(1 << 40, text=str(int(limit)))
    plan = quick_plan(market, tmp_path, effective_batch=16, memory_limit=tight)
    assert 4 <= plan.batch_size < 16
    assert plan.effective_batch == 16
    assert plan.predicted_peak_bytes <= 0.9 * limit
    assert plan.limit_source == "user"


def test_what_cannot_fit_names_a_size_that_does(market, tmp_path):
    limit = f"{sum(predict_peak(SCHEMA, FitSettings(model_size='medium')).values()) * 1.2:.0f}"
    with pytest.raises(DoesNotFitError, match=r"'gigantic'.* needs .* available .*--model_size \w+ \("):
        quick_plan(market, tmp_path, model_size="gigantic", memory_limit=limit)
    assert not (tmp_path / "plan.json").exists()


def test_where_no_size_fits_the_line_says_so_and_names_the_least_limit_that_does(market, tmp_path):
    with pytest.raises(DoesNotFitError, match=r"no model size fits; raise --memory_limit to \d+MiB$") as refused:
        quick_plan(market, tmp_path, memory_limit="100MiB")
    floor = int(re.search(r"(\d+)MiB$", str(refused.value))[1])
    quick_plan(market, tmp_path, memory_limit=f"{floor}MiB")
    with pytest.raises(DoesNotFitError):
        quick_plan(market, tmp_path, memory_limit=f"{floor - 1}MiB")


@pytest.mark.parametrize(("name", "value"), [("effective_batch", -1), ("memory_limit", "much"), ("model_size", "big")])
def test_options_that_are_not_accepted_are_named(market, tmp_path, name, value):
    with pytest.raises(SettingsError, match=str(value)):
        quick_plan(market, tmp_path, **{name: value})


def test_missing_data_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        optimize(tmp_path / "nowhere.csv", out=tmp_path, quick=True)


def test_large_files_get_the_small_batch_in_the_plan_too(market, tmp_path, monkeypatch):
    monkeypatch.setattr("deeptrade.planning.rules.LARGE_FILE_BYTES", 1000)
    monkeypatch.setattr("deeptrade.planning.rules.PASS_SHARE", 10**9)  # so that a pass may hold one row
    plan = quick_plan(market, tmp_path)
    assert (plan.batch_size, plan.accum_steps, plan.chunk_size) == (1, 32, 5000)
    assert any("counts as large" in decision.found for decision in plan.decisions)


def test_every_decision_is_one_line_in_the_log(market, tmp_path):
    lines = []
    plan = quick_plan(market, tmp_path, sink=lines.append)
    assert lines[:-1] == [decision.line() for decision in plan.decisions]
    assert lines[-1].startswith("plan: batch_size")


def test_a_quick_plan_takes_under_two_seconds_and_no_tensorflow(market, tmp_path):
    code = (
        "import sys; from deeptrade.planning.optimize import optimize\n"
        "optimize(sys.argv[1], out=sys.argv[2], quick=True); sys.exit('tensorflow' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, str(market.path), str(tmp_path)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2  # of a core: others may be at work


def test_a_plan_gives_the_settings_of_its_run(market, tmp_path):
    plan = quick_plan(market, tmp_path, effective_batch=6)
    settings = replace(plan, batch_size=2, accum_steps=3).settings(FitSettings(seed=9))
    assert (settings.seed, settings.batch_size, settings.grad_accum, settings.accum_steps) == (9, 2, True, 3)
    whole = replace(plan, batch_size=6, accum_steps=1).settings(FitSettings())
    assert (whole.effective_batch, whole.grad_accum) == (6, False)


def test_a_plan_that_lacks_a_field_names_it(market, tmp_path):
    content = quick_plan(market, tmp_path).to_json()
    del content["prefetch"]
    with pytest.raises(DataError, match="prefetch"):
        plan_from_json(content)


@pytest.fixture
def fake_trials(monkeypatch):
    """Trials that return at once: killed above `fits` rows per pass, slower below `fast`; records the sizes.

    They wait for data for the share `waits` of their time; reading further ahead changes the rate by the factor `gain`.
    """
    tried = []

    def install(*, fits: int, fast: int = 1, waits: float = 0.0, gain: float = 1.0) -> list[int]:
        def fake(settings, *, open_rows, predicted_peak_bytes, folder, room_bytes):
            assert room_bytes > 0
            tried.append(settings.batch_size)
            further = settings.prefetch > FitSettings().prefetch
            good = settings.batch_size <= fits
            measured = 5000 + 1000 * settings.batch_size if good else None
            rate = (100.0 if settings.batch_size >= fast else 10.0 * settings.batch_size) * (gain if further else 1)
            return Trial(
                settings.batch_size,
                settings.steps_per_update,
                predicted_peak_bytes,
                measured,
                1.0,
                rate if good else None,
                0 if good else -9,
                "" if good else "ended by signal 9",
                3000 if good else None,
                settings.prefetch,
                waits if good else None,
            )

        monkeypatch.setattr(trial_choice, "run_trial", fake)
        return tried

    return install


def test_the_smallest_batch_within_five_percent_of_the_fastest_is_chosen(market, tmp_path, fake_trials):
    tried = fake_trials(fits=99, fast=4)
    lines = []
    plan = optimize(market.path, out=tmp_path, effective_batch=16, sink=lines.append)
    assert tried == [16, 8, 4, 2]
    assert (plan.batch_size, plan.accum_steps, plan.measured_peak_bytes) == (4, 4, 9000)
    assert plan.measured_terms == {"process": 3000, "model": 2000, "rows of a pass": 4000}
    assert read_plan(tmp_path / "plan.json") == plan
    assert "2 (20 rows/s), 4 (100 rows/s), 8 (100 rows/s), 16 (100 rows/s)" in plan.decisions[0].found
    assert len([line for line in lines if line.startswith("trial of")]) == 4


def test_a_notebook_shows_how_many_trials_are_done(market, tmp_path, monkeypatch, fake_trials):
    fake_trials(fits=99, fast=4)
    shown = []

    class Output:
        update = staticmethod(lambda content, raw: shown.append(content[PROGRESS_TYPE]))

    monkeypatch.setattr("IPython.display.display", lambda content, raw, display_id: Output())
    monkeypatch.setattr("deeptrade.progress._NOTEBOOK_SECONDS", 0.0)
    optimize(market.path, out=tmp_path, effective_batch=16, progress="notebook")
    assert [(one["done"], one["total"]) for one in shown] == [(done, MOST_TRIALS) for done in (1, 2, 3, 4)]
    assert shown[0]["what"] == "trials of settings"
    assert shown[0]["text"].startswith("batch_size 16 with ")


def test_a_trial_that_is_killed_leads_to_smaller_batches(market, tmp_path, fake_trials):
    tried = fake_trials(fits=4, fast=4)
    plan = optimize(market.path, out=tmp_path, effective_batch=16)
    assert tried == [16, 8, 4, 2]
    assert (plan.batch_size, plan.accum_steps, plan.measured_peak_bytes) == (4, 4, 9000)
    assert [trial.exit_code for trial in plan.trials] == [-9, -9, 0, 0]
    assert "16 (not enough memory)" in plan.decisions[0].found


def test_if_no_trial_fits_there_is_no_plan(market, tmp_path, fake_trials):
    tried = fake_trials(fits=0)
    with pytest.raises(DoesNotFitError, match=r"batch_size 32, 16, 8, 4, 2, 1 did not fit .* smaller --model_size"):
        optimize(market.path, out=tmp_path, effective_batch=32)
    assert tried == [32, 16, 8, 4, 2, 1]
    assert not (tmp_path / "plan.json").exists()


def test_a_trial_that_leaves_no_headroom_is_not_chosen(market, tmp_path, fake_trials, monkeypatch):
    room = sum(predict_peak(SCHEMA, FitSettings(batch_size=16)).values()) * 2
    fake_trials(fits=99)
    real = trial_choice.run_trial

    def greedy(settings, **options):
        trial = real(settings, **options)
        return replace(trial, measured_peak_bytes=int(0.95 * room)) if settings.batch_size > 4 else trial

    monkeypatch.setattr(trial_choice, "run_trial", greedy)
    plan = optimize(market.path, out=tmp_path, effective_batch=16, memory_limit=machine_of(room))
    assert plan.batch_size <= 4


def test_trials_take_the_place_of_the_rule_for_the_batch_of_large_files(market, tmp_path, monkeypatch, fake_trials):
    monkeypatch.setattr("deeptrade.planning.rules.LARGE_FILE_BYTES", 1000)
    fake_trials(fits=99, fast=8)
    plan = optimize(market.path, out=tmp_path)
    assert (plan.batch_size, plan.accum_steps, plan.chunk_size) == (8, 4, 5000)
    assert not any("batch_size 32 -> 2" in decision.changed for decision in plan.decisions)


def test_terms_are_not_measured_by_trials_of_one_size():
    one = Trial(4, 1, 10, 9, 1.0, 5.0, 0, "", 3)
    assert trial_choice.measured_terms([one, one], one) == {}
    assert trial_choice.measured_terms([], one) == {}


@pytest.mark.parametrize(("gain", "prefetch"), [(1.2, FURTHER_AHEAD), (1.02, FitSettings().prefetch)])
def test_reading_further_ahead_is_tried_if_a_trial_waited_and_kept_if_it_gains(
    market, tmp_path, fake_trials, gain, prefetch
):
    compile_store(market.path)
    tried = fake_trials(fits=99, fast=16, waits=0.1, gain=gain)
    plan = optimize(market.path, out=tmp_path, effective_batch=16)
    assert tried == [16, 8, 16]
    assert plan.prefetch == prefetch
    assert plan.settings(FitSettings()).prefetch == prefetch
    assert "waited 10.0%" in plan.decisions[1].found
    assert f"prefetch 2 (100 rows/s) with prefetch 8 ({100 * gain:.0f} rows/s)" in plan.decisions[1].why


def test_reading_further_ahead_is_not_tried_if_no_trial_waited(market, tmp_path, fake_trials):
    compile_store(market.path)
    tried = fake_trials(fits=99, fast=16, waits=0.01)
    plan = optimize(market.path, out=tmp_path, effective_batch=16)
    assert tried == [16, 8]
    assert "reading further ahead gains nothing" in plan.decisions[1].why


def test_trials_that_read_text_say_nothing_about_reading_a_store(market, tmp_path, fake_trials):
    tried = fake_trials(fits=99, fast=16, waits=0.5)
    plan = optimize(market.path, out=tmp_path, effective_batch=16)
    assert tried == [16, 8]
    assert plan.decisions[1].found == "trials read text, training reads a store"


def test_no_limit_can_give_what_the_machine_lacks(market, tmp_path):
    with pytest.raises(DoesNotFitError, match="no model size fits; free some memory of the machine"):
        quick_plan(market, tmp_path, memory_limit=machine_of(100, text="1TiB"))


def test_a_plan_made_without_trials_gives_every_reason(market, tmp_path):
    reasons = " ".join(decision.line() for decision in quick_plan(market, tmp_path).decisions)
    for word in ("batch_size", "prefetch", "cache_batches", "chunk_size", "precision", "XLA"):
        assert word in reasons
