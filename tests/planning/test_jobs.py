"""Jobs continue their folders, one after the other here, several at once elsewhere."""

import threading
import time
from pathlib import Path

import pytest

from deeptrade.planning import jobs
from deeptrade.planning.jobs import Job, in_child, run_all
from deeptrade.settings import FitSettings
from tests.support.holding import another_process


def job_in(folder, *arguments):
    return Job(arguments or ("fitt",), data=("market.csv",), out=folder / "out", log=folder / "job.log")


def test_the_job_of_a_training_is_the_command_that_means_its_settings(tmp_path):
    settings = FitSettings(csv="~/market.csv", out="out", store="s3://bucket/x.dtstore", seed=3, fresh=True)
    job = Job.of_fit(settings, ["csv", "out", "store", "seed", "warm_start"], log=Path("x.log"))
    assert job.command_line == ["fit", "--seed=3", "--csv", "~/market.csv", "--out", "out", "--store", settings.store]
    assert (job.data, job.out) == (("~/market.csv",), Path("out"))


def test_absolute_paths_mean_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.chdir(tmp_path)
    settings = FitSettings(csv="~/market.csv", out="out", store="s3://bucket/x.dtstore")
    job = Job.of_fit(settings, ["csv", "out", "store"], log=Path("x.log")).absolute()
    place = ["--csv", "/home/user/market.csv", "--out", str(tmp_path / "out"), "--store", settings.store]
    assert job.command_line == ["fit", *place]
    assert (job.data, job.out, job.log) == (("/home/user/market.csv",), tmp_path / "out", tmp_path / "x.log")


def test_a_path_is_never_taken_for_an_option(tmp_path):
    assert job_in(tmp_path, "run", Path("-x.csv")).command_line == ["run", "./-x.csv"]


def test_a_job_runs_in_a_child_and_tells_code_and_last_line(tmp_path):
    code, last = in_child(job_in(tmp_path))
    assert code == 2
    assert "'fitt'" in last
    assert (tmp_path / "job.log").read_text().strip().endswith(last)


def test_a_job_waits_until_whoever_works_in_its_folder_leaves(tmp_path):
    job = job_in(tmp_path)
    with another_process(job.out, seconds=2) as holder:
        assert job.is_running
        assert not job.is_running_still()
        assert holder.wait(10) == 0


def test_a_job_does_not_wait_for_ever_nor_when_it_is_not_wanted(tmp_path, monkeypatch):
    job = job_in(tmp_path)
    with another_process(job.out):
        began = time.monotonic()
        assert job.is_running_still(lambda: False)
        assert time.monotonic() - began < 1
        monkeypatch.setattr(jobs, "_HELD_SECONDS", 1)
        assert job.is_running_still()


def test_one_at_a_time_runs_in_this_thread_in_order():
    begun, here = [], threading.current_thread()

    def run(item):
        assert threading.current_thread() is here
        return 10 * item

    assert list(run_all([1, 2, 3], run, begin=begun.append)) == [(1, 10), (2, 20), (3, 30)]
    assert begun == [1, 2, 3]


def test_several_are_under_way_at_once_and_never_more():
    together, under_way, most = threading.Barrier(2, timeout=20), set(), []

    def run(item):
        under_way.add(item)
        most.append(len(under_way))
        together.wait()
        under_way.discard(item)
        return item

    done = dict(run_all([1, 2, 3, 4], run, begin=lambda item: None, at_once=2))
    assert done == {1: 1, 2: 2, 3: 3, 4: 4}
    assert max(most) == 2


def test_an_item_waits_for_the_one_it_follows():
    ended = []

    def is_ready(item, unfinished):
        return item - 1 not in unfinished

    def run(item):
        assert item - 1 in (*ended, 0)
        time.sleep(0.05)
        ended.append(item)

    assert [item for item, _ in run_all([2, 1, 3], run, begin=lambda item: None, at_once=3, is_ready=is_ready)] == [
        1,
        2,
        3,
    ]


def test_after_an_error_none_is_begun():
    begun = []

    def run(item):
        if item == 1:
            raise ZeroDivisionError
        time.sleep(0.2)

    with pytest.raises(ZeroDivisionError):
        list(run_all([1, 2, 3, 4], run, begin=begun.append, at_once=2))
    assert begun == [1, 2]
