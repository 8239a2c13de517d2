"""Ctrl-C during training or a study: finish the step, leave a checkpoint, say how to go on."""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and has left a checkpoint.

    Attributes:
        step, steps: optimizer steps done, and those of the whole run.
    """

    def __init__(self, step: int, steps: int) -> None:
        super().__init__(f"interrupted after step {step} of {steps}; resume the run to go on")
        self.step, self.steps = step, steps


class StopRequest:
    """Context in which SIGINT and SIGTERM set ``asked`` instead of ending the process; a second one ends it at once.

    They do so, too, where SIGINT is ignored, as in a script's background commands.

    Args:
        what: is being done until then, for the message.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.asked = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print(f"{self.what}; once more stops at once", file=sys.stderr)
