"""What TF_CONFIG says of the workers."""

import json

import pytest

from deeptrade.cluster.multiworker import MultiWorker, in_team
from deeptrade.errors import SettingsError


def config(cluster, job="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})


def test_the_chief_is_the_first_worker_where_none_is_named():
    workers = [MultiWorker(config({"worker": ["a:1", "b:1", "c:1"]}, index=index)) for index in range(3)]
    assert [(one.number, one.count) for one in workers] == [(0, 3), (1, 3), (2, 3)]


def test_a_chief_that_is_named_comes_before_the_workers():
    cluster = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    tasks = [("chief", 0), ("worker", 0), ("worker", 1)]
    assert [MultiWorker(config(cluster, *task)).number for task in tasks] == [0, 1, 2]


@pytest.mark.parametrize("text", ["", "  ", config({"worker": ["a:1"]}), config({"chief": ["a:1"]}, "chief")])
def test_one_process_alone_is_no_team(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    assert in_team() is None


def test_a_process_without_a_configuration_is_no_team(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert in_team() is None


@pytest.mark.parametrize(
    "text",
    [
        "worker",
        "{}",
        "[]",
        "7",
        config({"worker": ["a:1", "b:1"]}, index=2),
        config({"worker": ["a:1", "b:1"]}, index=-1),
        config({"worker": ["a:1", "b:1"]}, job="chief"),
        config({"worker": ["a:1", "b:1"]}, index="x"),
        config({"worker": "a:1"}),
    ],
)
def test_what_is_no_configuration_is_refused_in_one_line(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(SettingsError, match=r'TF_CONFIG=.* is not accepted; it is JSON such as \{"cluster"') as caught:
        in_team()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("job", ["ps", "evaluator"])
def test_a_job_that_does_not_train_is_refused_by_name(job):
    with pytest.raises(SettingsError, match=f"names the job '{job}'; jobs of a training are chief and worker"):
        MultiWorker(config({"worker": ["a:1", "b:1"], job: ["c:1"]}))
