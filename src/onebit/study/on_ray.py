"""Runs of a study on a Ray cluster, whose nodes see the folders of runs and data under the same paths."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from onebit.study.runner import Process, Say
from onebit.study.worker import Work

if TYPE_CHECKING:
    import ray

_POLL = 0.2  # seconds between two looks at a process


class RayTask:
    """A worker somewhere in the cluster: a task with as many CPUs as the work has threads.

    The task starts the very process that a study on one machine starts; Ray shows what that prints.
    """

    def __init__(self, key: str, work: Work, say: Say, *, gpus: float = 0) -> None:
        import ray

        remote = ray.remote(max_retries=0)(_process)  # a run that died is resumed by the next `onebit study`
        self._say, self._key = say, key
        self._task: ray.ObjectRef[bool] = remote.options(name=key, num_cpus=max(1, work.threads), num_gpus=gpus).remote(
            key, work, os.getcwd()
        )

    def ended(self) -> bool | None:
        import ray

        ready, _ = ray.wait([self._task], timeout=0)
        if not ready:
            return None
        try:
            return bool(ray.get(self._task))
        except ray.exceptions.RayError as error:  # its node died, say
            self._say(f"{self._key}: {' '.join(str(error).split())[:500]}")
            return False

    def interrupt(self) -> None:
        import ray

        ray.cancel(self._task)


def _process(key: str, work: Work, folder: str) -> bool:
    """Whether the process of a run succeeded; where the task is canceled, it first leaves a checkpoint."""
    os.chdir(folder)  # of the study, as its paths may be relative
    process = Process(key, work, partial(print, flush=True))
    try:
        return _wait(process)
    except KeyboardInterrupt:
        process.interrupt()
        _wait(process)
        raise


def _wait(process: Process) -> bool:
    while (good := process.ended()) is None:
        time.sleep(_POLL)
    return good


def connect(address: str) -> tuple[int, int]:
    """Connect to the cluster at ``address``: "local" (a new one on this machine), "auto", HOST:PORT or ray://HOST:PORT.

    Returns its CPUs and GPUs.

    Raises:
        ValueError: Ray is not installed, or no cluster answers.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError("a study on a cluster needs Ray: pip install 'onebit[ray]'") from None
    try:
        ray.init(address=address, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ValueError(f"no Ray cluster answers at {address!r}: {' '.join(str(error).split())[:300]}") from error
    resources = ray.cluster_resources()
    return int(resources.get("CPU", 1)), int(resources.get("GPU", 0))


def disconnect() -> None:
    """End the connection, and a cluster that ``connect`` started."""
    import ray

    ray.shutdown()
