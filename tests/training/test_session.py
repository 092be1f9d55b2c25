import json
import os
import signal
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from deeptrade.data.batches import BatchReader
from deeptrade.errors import DataError, DoesNotFitError, Interrupted
from deeptrade.memory import Leak, LeakWatch, read_notes, read_timeline
from deeptrade.planning.optimize import optimize
from deeptrade.settings import FitSettings
from deeptrade.training import session as module
from deeptrade.training.fit import fit
from tests.support.training_runs import ONE_PASS

pytestmark = pytest.mark.usefixtures("every_encoder")


@pytest.fixture
def settings(market, tmp_path):
    """Settings of a run on the small market: 46 rows train, 10 validate."""

    def make(out="run", **changes):
        return FitSettings(**{**ONE_PASS, "csv": str(market.path), "out": str(tmp_path / out), **changes})

    return make


def train(settings, lines=None):
    return fit(settings, sink=(lines if lines is not None else []).append, progress="silent")


def test_how_rows_are_read_and_watched_does_not_change_what_is_learned(settings):
    plain = train(settings("plain", max_steps=3))
    careful = {"no_mmap": True, "prefetch": 0, "chunk_size": 7, "no_memory_monitor": True, "no_aggressive_gc": True}
    greedy = {"no_lazy_loading": True, "cache_batches": 3, "prefetch": 9, "checkpoint_every": 1}
    for name, changes in (("careful", careful), ("greedy", greedy)):
        assert train(settings(name, max_steps=3, **changes))["weights_sha256"] == plain["weights_sha256"], name


def test_without_the_monitor_there_is_no_timeline_and_the_peak_is_the_kernel_s(settings, tmp_path):
    result = train(settings(max_steps=1, no_memory_monitor=True))
    assert not (tmp_path / "run" / "memory.jsonl").exists()
    assert result["memory"]["peak_anon_bytes"] == result["memory"]["peak_rss_bytes"] > 0


def test_the_timeline_names_what_the_run_did(settings, tmp_path):
    result = train(settings(epochs=1))
    samples = read_timeline(tmp_path / "run" / "memory.jsonl")
    phases = list(dict.fromkeys(sample.phase for sample in samples if sample.phase))
    assert phases == ["check", "build", "train", "train/save", "train/validate", "validate", "save"]
    # The last samples, outside of all phases, are newer than the result.
    assert max(sample.anon_bytes for sample in samples if sample.phase) <= result["memory"]["peak_anon_bytes"]


def test_a_plan_provides_the_settings_that_are_not_given(settings, tmp_path):
    optimize(settings().csv, out=tmp_path, model_size="tiny", effective_batch=8, quick=True)
    lines = []
    result = fit(
        settings(plan=str(tmp_path / "plan.json"), max_steps=1, prefetch=0, features="arr_ctx"),
        given={"prefetch"},
        sink=lines.append,
        progress="silent",
    )
    assert (result["batch_size"], result["effective_batch"], result["settings"]["prefetch"]) == (8, 8, 0)
    assert lines[0].startswith(
        "from the plan model_size=tiny, encoder=recurrent, batch_size=8, grad_accum=False, chunk_size="
    )


def test_a_file_that_is_not_a_plan_is_refused(settings, tmp_path):
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(DataError, match="the plan lacks"):
        train(settings(plan=str(tmp_path / "plan.json")))
    with pytest.raises(DataError, match=r"none\.json"):
        train(settings(plan=str(tmp_path / "none.json")))


def test_the_validations_and_the_seconds_of_every_activity_are_kept_over_calls(settings):
    train(settings(epochs=1))
    result = train(settings(epochs=3))
    steps = result["steps"] // 3
    history = result["inner_history"]
    assert [(one["epoch"], one["step"]) for one in history] == [(1, steps), (2, 2 * steps), (3, 3 * steps)]
    best = min(history, key=lambda one: one["loss"])
    assert result["weights_of"] == {"epoch": best["epoch"], "step": best["step"]}
    (validated,) = result["validation_history"]
    assert validated == result["weights_of"] | {"loss": result["validation"]["loss"]}
    spent = result["time"]["activity_seconds"]
    assert set(spent) == {"build", "save", "validate"}
    assert min(spent.values()) > 0
    assert sum(spent.values()) + result["time"]["steps_seconds"] < result["time"]["wall_seconds"]
    assert [start["before"] for start in result["starts"]] == ["", "completed"]


def test_a_validation_in_the_middle_of_an_epoch_is_kept_too(settings):
    result = train(settings(max_steps=2))
    assert [(one["epoch"], one["step"]) for one in result["validation_history"]] == [(1, 2)]


def test_a_result_names_its_commit_if_there_is_one(settings):
    told = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    if told.returncode:
        pytest.skip("the package is not in a git repository")
    assert train(settings(max_steps=1))["versions"]["commit"] == told.stdout.strip()


def test_the_latest_rows_with_a_target_are_validated_and_those_without_are_unused(market, settings):
    for cells in market.cells[30:]:
        cells[-2:] = ["", ""]
    market.write()
    lines = []
    result = train(settings(epochs=1, val_ratio=0.2), lines)
    assert result["validation"]["loss"] > 0
    assert result["rows"] == {
        "read": 60,
        "trained": 17,
        "inner": 1,
        "validation": 4,
        "purged": 8,
        "rejected": 0,
        "unused": 30,
    }


def test_the_time_of_a_run_is_that_of_the_whole_call_and_adds_up(settings, monkeypatch):
    opened = module.Session.__init__

    def slow(self, *arguments, started, **options):
        opened(self, *arguments, started=started - 100, **options)

    monkeypatch.setattr(module.Session, "__init__", slow)
    assert 100 < train(settings(max_steps=1))["time"]["wall_seconds"] < 160
    assert 200 < train(settings(max_steps=2))["time"]["wall_seconds"] < 260


def test_validation_does_not_fill_a_cache(settings, monkeypatch):
    caches = []
    close = BatchReader.close
    monkeypatch.setattr(BatchReader, "close", lambda self: (caches.append(len(self._cache)), close(self)))
    train(settings(epochs=1, cache_batches=5))
    assert sorted(caches) == [0, 0, 5]


def test_a_full_disk_at_a_checkpoint_fails_in_one_line_and_the_run_can_go_on(settings, tmp_path, monkeypatch):
    save, saves = module.Checkpoints.save, []

    def fill_up(self, *arguments, **options):
        saves.append(1)
        if len(saves) == 3:
            timing = tmp_path / "run" / "timing.csv"
            timing.write_text(timing.read_text()[:-4])  # the disk had no room for the last line either
            raise DoesNotFitError("writing step-4.npz: No space left on device; free some space")
        save(self, *arguments, **options)

    monkeypatch.setattr(module.Checkpoints, "save", fill_up)
    with pytest.raises(DoesNotFitError, match="No space left"):
        train(settings(max_steps=6, checkpoint_every=2))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "failed"
    assert "No space left" in result["warnings"][-1]
    monkeypatch.setattr(module.Checkpoints, "save", save)
    resumed = train(settings(max_steps=6, checkpoint_every=2))
    assert resumed["weights_sha256"] == train(settings("straight", max_steps=6))["weights_sha256"]


def test_a_run_interrupted_within_a_step_says_up_to_where_it_is_saved_and_continues_from_there(
    settings, tmp_path, monkeypatch
):
    note, lines = module.Session._note, []

    def stop_twice(self, record, tables):
        note(self, record, tables)
        if record.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module.Session, "_note", stop_twice)
    with pytest.raises(Interrupted):
        train(settings(max_steps=8, checkpoint_every=3), lines)
    assert lines[-1] == "stopped after step 5; progress is saved up to step 3, run again to continue"
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["ended"], result["steps"]) == ("interrupted", "interrupted", 5)
    monkeypatch.setattr(module.Session, "_note", note)
    resumed = train(settings(max_steps=8, checkpoint_every=3))
    assert [(start["step"], start["repeated_steps"]) for start in resumed["starts"]] == [(0, 0), (3, 2)]
    assert resumed["weights_sha256"] == train(settings("straight", max_steps=8))["weights_sha256"]


def test_settings_that_cannot_fit_are_refused_before_a_folder_is_made(settings, tmp_path):
    with pytest.raises(DoesNotFitError, match=r"needs .*--memory_limit"):
        train(settings(model_size="gigantic", features="", memory_limit="1GiB"))
    assert not (tmp_path / "run").exists()


def test_a_leak_is_reported_in_the_timeline_and_the_result_even_of_a_continued_run(settings, tmp_path, monkeypatch):
    leak = Leak(3, "native", 500_000.0, 400_000.0, 600_000.0, "it is held outside of Python")
    monkeypatch.setattr(LeakWatch, "observe", lambda self, step: leak if step == 3 else None)
    lines = []
    first = train(settings(max_steps=4), lines)
    assert first["memory"]["leaks"] == [asdict(leak)]
    assert "step 3: memory grows by 0.50 MB a step; it is held outside of Python" in lines
    assert read_notes(tmp_path / "run" / "memory.jsonl", "leak")[0]["holder"] == "native"
    assert train(settings(max_steps=6))["memory"]["leaks"] == [asdict(leak)]


def test_the_result_says_what_each_phase_of_a_step_did_to_memory(settings, every_encoder):
    memory = train(settings(max_steps=12, epochs=2))["memory"]
    visits = {row["phase"]: row["visits"] for row in memory["step_phases"]}
    inside = ("compute",) if every_encoder == "multiscale" else ("forward", "backward")
    assert visits == {"read": 12, "apply": 10, "pass": 2} | dict.fromkeys(inside, 10)
    assert memory["tracing_count"] == 1
    assert train(settings("quiet", max_steps=2, no_memory_monitor=True))["memory"]["step_phases"] == []


def test_a_number_beyond_float32_is_logged_as_the_largest_and_ends_no_training(tmp_path):
    with module.tf.summary.create_file_writer(str(tmp_path)).as_default():
        for step, value in enumerate((1.5, 1e300, -1e300, float("nan"))):
            module.log_number("loss", value, step=step)
    events = module.tf.compat.v1.train.summary_iterator(str(next(tmp_path.iterdir())))
    logged = [module.tf.make_ndarray(value.tensor) for event in events for value in event.summary.value]
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal(logged, np.float32([1.5, largest, -largest, np.nan]))
