import json
import shutil

import pytest

from deeptrade.report.memory_report import memory_report


@pytest.fixture
def trained(finished_run, tmp_path):
    """A copy of the folder of a finished training run."""
    return shutil.copytree(finished_run / "train", tmp_path / "train")


def set_kernel_peak(trained, share):
    """Set the kernel's peak to `share` times the largest resident sample."""
    samples = [json.loads(line) for line in (trained / "memory.jsonl").read_text().splitlines()]
    result = json.loads((trained / "result.json").read_text())
    peak = max(sample["rss_bytes"] for sample in samples if "kind" not in sample)
    result["memory"]["peak_rss_bytes"] = int(share * peak)
    (trained / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(("share", "warns"), [(1.0, False), (1.04, False), (1.06, True)])
def test_samples_are_compared_with_the_kernels_own_peak(trained, share, warns):
    set_kernel_peak(trained, share)
    honesty = memory_report(trained).honesty
    assert f"({share - 1:.1%} " in honesty
    assert ("Samples have missed a peak" in honesty) == warns


def test_a_run_that_has_not_ended_has_no_peak_from_the_kernel(trained):
    (trained / "result.json").unlink()
    report = memory_report(trained)
    assert "kernel" not in report.honesty
    assert report.next_steps == ["run it again; it continues from its last checkpoint"]


def test_the_report_of_a_stopped_run_says_how_to_continue_and_what_would_save_memory(trained):
    result = json.loads((trained / "result.json").read_text())
    (trained / "result.json").write_text(json.dumps(result | {"status": "interrupted"}))
    steps = memory_report(trained).next_steps
    assert steps[0] == "run it again; it continues from its last checkpoint"
    assert "would save" in steps[1]


def test_what_to_try_next_comes_with_its_predicted_saving(trained):
    steps = memory_report(trained).next_steps
    assert steps[0].startswith("`--batch_size 2` `--grad_accum` `--accum_steps 2` would save ")
    assert all("MiB: " in step or "KiB: " in step for step in steps)
