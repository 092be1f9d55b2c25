"""Workers that add vectors by the collective of TensorFlow's MultiWorkerMirroredStrategy, as TF_CONFIG names them.

Only its all-reduce is used: no variable is made under the strategy, and Keras's `fit` has no part in it. SLURM,
Kubeflow and Ray set TF_CONFIG for each process, and so does `local_workers` on one machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import LostWorkerError, SettingsError
from ..units import count_of

VARIABLE = "TF_CONFIG"
_JOBS = ("chief", "worker")

CONNECT_SECONDS, SILENT_SECONDS = 300, 10
"""Seconds in which all workers must have come; seconds of silence after which one counts as lost. A killed worker is
noticed in one or two seconds by its closed connection, a stopped one by its silence in nine (two processes)."""


class MultiWorker:
    """The workers of a TF_CONFIG: the chief, where one is named, then the workers in order; number 0 writes the run.

    Raises SettingsError where the text is not such a configuration.
    """

    def __init__(self, text: str):
        self._addresses, self._job, self._index = _read(text)
        before = len(self._addresses.get("chief", ())) if self._job == "worker" else 0
        self.number = before + self._index
        self.count = sum(len(addresses) for addresses in self._addresses.values())
        self._strategy: Any = None

    def connect(self) -> None:
        """Wait until all workers have come; TensorFlow must not have computed anything before.

        Raises LostWorkerError where they have not after CONNECT_SECONDS.
        """
        import tensorflow as tf
        from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
        from tensorflow.python.eager import context

        jobs = [
            coordination_config_pb2.CoordinatedJob(name=job, num_tasks=len(addresses))
            for job, addresses in self._addresses.items()
        ]
        context.context().configure_coordination_service(
            service_type="standalone",
            service_leader=f"/job:{next(iter(self._addresses))}/replica:0/task:0",
            cluster_register_timeout_in_ms=1000 * CONNECT_SECONDS,
            heartbeat_timeout_in_ms=1000 * SILENT_SECONDS,
            shutdown_barrier_timeout_in_ms=1000 * CONNECT_SECONDS,
            coordinated_jobs=jobs,
        )
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(self._addresses), task_type=self._job, task_id=self._index, rpc_layer="grpc"
        )
        try:
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        except tf.errors.OpError as error:
            raise LostWorkerError(
                f"not all of {count_of(self.count, 'worker')} have come to worker {self.number} within "
                f"{CONNECT_SECONDS} s ({_told(error)}); look at what the others say, then start all again"
            ) from None

    def sum(self, vector: Any) -> Any:
        """Return the sum over all workers of a float64 vector, equal to the bit for all; to be traced."""
        import tensorflow as tf

        def add(own: tf.Tensor) -> tf.Tensor:
            # A tensor from outside the replica has no device: "destinations can not be empty".
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(own))

        return self._strategy.run(add, (vector,))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Raise LostWorkerError where a sum in the block fails for want of a worker."""
        import tensorflow as tf

        lost = (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError)
        try:
            yield
        except (*lost, tf.errors.CancelledError) as error:
            raise LostWorkerError(
                f"worker {self.number} has lost one of the {self.count} workers ({_told(error)}); progress is saved by "
                "worker 0, start all again to continue"
            ) from None


def in_team() -> MultiWorker | None:
    """Return the workers that TF_CONFIG names; None where it is not set, or names one alone."""
    text = os.environ.get(VARIABLE, "")
    workers = MultiWorker(text) if text.strip() else None
    return workers if workers is not None and workers.count > 1 else None


def _read(text: str) -> tuple[dict[str, list[str]], str, int]:
    """The addresses by job, the chief's first, and the job and index of this process."""
    try:
        content = json.loads(text)
        cluster, job, index = content["cluster"], content["task"]["type"], int(content["task"]["index"])
        addresses = {name: list(cluster[name]) for name in _JOBS if cluster.get(name)}
        if isinstance(cluster.get(job), str) or index not in range(len(addresses[job])):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(
            f"{VARIABLE}={text[:200]!r} is not accepted; it is JSON such as "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    further = sorted(set(cluster) - set(_JOBS))
    if further:
        raise SettingsError(f"{VARIABLE} names the job {further[0]!r}; jobs of a training are {' and '.join(_JOBS)}")
    return addresses, job, index


def _told(error: Exception) -> str:
    """The first line of an error of TensorFlow that tells something."""
    lines: Mapping[str, None] = dict.fromkeys(line.strip() for line in str(error).splitlines())
    telling = [line for line in lines if line and not line.startswith(("Graph execution", "Detected at", "File "))]
    return telling[0][:160] if telling else type(error).__name__
