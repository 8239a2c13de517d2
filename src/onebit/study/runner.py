"""Running a study: what is missing is trained, what was cut is resumed, what is finished stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Protocol

from onebit.study.plan import PlannedRun, Study, StudyError
from onebit.study.worker import MEASURED, MODEL, Work
from onebit.train import TrainSettings, stored_settings
from onebit.train.interrupt import StopRequest
from onebit.train.lock import FolderLock
from onebit.train.record import RECORD
from onebit.train.resume import check_settings

_POLL = 0.2  # seconds between two looks at the workers

Say = Callable[[str], None]


class Worker(Protocol):
    """One run that goes on somewhere."""

    def ended(self) -> bool | None:
        """Whether it succeeded; None while it goes on."""

    def interrupt(self) -> None:
        """Ask it to leave a checkpoint and end."""


class Process:
    """A worker on this machine; what it tells is passed on line by line."""

    def __init__(self, key: str, work: Work, say: Say) -> None:
        self._task = tempfile.NamedTemporaryFile("w", suffix=".json")  # noqa: SIM115 - as long as the process
        json.dump(asdict(work), self._task)
        self._task.flush()
        # In a session of its own: Ctrl-C on the terminal reaches the study alone, which passes it on once.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "onebit.study", self._task.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")},
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._tell, args=(key, self._process.stdout, say), daemon=True)
        self._reader.start()

    @staticmethod
    def _tell(key: str, stream: IO[str], say: Say) -> None:
        for line in stream:
            say(f"{key}: {line.rstrip()}")

    def ended(self) -> bool | None:
        if self._process.poll() is None:
            return None
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._task.close()
        return self._process.returncode == 0

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)


def is_done(run: PlannedRun, folder: Path) -> bool:
    """Whether a run is trained and measured."""
    return all((folder / run.key / name).exists() for name in (MODEL, MEASURED))


def check_folder(study: Study, folder: Path) -> None:
    """StudyError where a run that lies in ``folder`` was made with other settings than the study's."""
    for run in study:
        out = folder / run.key
        if (out / RECORD).exists():
            try:
                wanted = TrainSettings.from_json(run.settings_in(folder))
                check_settings(wanted, stored_settings(out)[0], f"the run in {str(out)!r}")
            except ValueError as error:
                raise StudyError(str(error)) from error


def run_study(
    study: Study,
    folder: Path | str,
    *,
    data_dir: Path | None = None,
    jobs: int = 1,
    cores: int | None = None,
    say: Say = print,
    start: Callable[[str, Work, Say], Worker] = Process,
) -> None:
    """Train and measure every run of ``study`` that is not finished, each in the folder ``folder``/KEY.

    Args:
        jobs: how many runs at once; each gets its share of the cores.
        cores: those that the runs share, by default this machine's.
        say: takes every line that is to be shown.
        start: makes the worker of a run; the default is a process on this machine.

    Raises:
        StudyError: a run in ``folder`` has other settings; or runs failed, after all that do not need them have ended.
        Busy: another study works in ``folder``.
        KeyboardInterrupt: SIGINT or SIGTERM came, and every worker has left a checkpoint.
    """
    folder = Path(folder)
    with FolderLock(folder), StopRequest("stopping all runs") as stop:
        check_folder(study, folder)
        done = {run.key for run in study if is_done(run, folder)}
        waiting = [run for run in study.in_order() if run.key not in done]
        say(f"{study.name}: {len(done)} of {len(study.runs)} runs are finished")
        threads = max(1, (cores or os.cpu_count() or 1) // jobs) if jobs > 1 or cores else 0
        working: dict[str, Worker] = {}
        failed: set[str] = set()
        try:
            while waiting or working:
                if stop.asked:
                    raise KeyboardInterrupt
                for run in [run for run in waiting if set(run.needs) & failed]:
                    waiting.remove(run)
                    failed.add(run.key)
                    say(f"{run.key}: left out, as {', '.join(sorted(set(run.needs) & failed))} failed")
                for run in [run for run in waiting if set(run.needs) <= done][: jobs - len(working)]:
                    waiting.remove(run)
                    work = Work(
                        run.recipe,
                        run.settings_in(folder),
                        str(folder / run.key),
                        None if data_dir is None else str(data_dir),
                        threads,
                    )
                    working[run.key] = start(run.key, work, say)
                time.sleep(_POLL if working else 0)
                for key, worker in list(working.items()):
                    if (good := worker.ended()) is not None:
                        del working[key]
                        (done if good else failed).add(key)
        except BaseException:
            _interrupt(working, say)
            raise
    if failed:
        raise StudyError(f"{len(failed)} of {len(study.runs)} runs failed: {', '.join(sorted(failed))}")


def _interrupt(working: dict[str, Worker], say: Say) -> None:
    """End the workers; they leave checkpoints.  A second Ctrl-C stops waiting for them."""
    if working:
        say(f"waiting for {', '.join(working)} to leave a checkpoint")
    for worker in working.values():
        worker.interrupt()
    while any(worker.ended() is None for worker in working.values()):
        time.sleep(_POLL)
