"""Training: settings, the loop, checkpoints, run records, and the trained model on disk.

A run is its ``State`` (what a checkpoint holds), a ``Step`` that updates it and a ``Recorder`` that logs it;
``loop.py`` puts them together.
"""

from onebit.train.artifact import ModelError, build_model, load_trained, task_of
from onebit.train.checkpoint import CheckpointError
from onebit.train.interrupt import Interrupted
from onebit.train.lock import Busy
from onebit.train.loop import Diverged, train
from onebit.train.recorder import Result
from onebit.train.resume import stored_settings
from onebit.train.settings import TrainSettings

__all__ = [
    "Busy",
    "CheckpointError",
    "Diverged",
    "Interrupted",
    "ModelError",
    "Result",
    "TrainSettings",
    "build_model",
    "load_trained",
    "stored_settings",
    "task_of",
    "train",
]
