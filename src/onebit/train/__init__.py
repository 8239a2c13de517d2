"""Training: settings, the loop, checkpoints, run records, and the trained model on disk."""

from onebit.train.artifact import ModelError, build_model, load_trained
from onebit.train.checkpoint import CheckpointError
from onebit.train.evaluate import Score, evaluate
from onebit.train.interrupt import Interrupted
from onebit.train.loop import Diverged, Result, stored_settings, train
from onebit.train.settings import TrainSettings

__all__ = [
    "CheckpointError",
    "Diverged",
    "Interrupted",
    "ModelError",
    "Result",
    "Score",
    "TrainSettings",
    "build_model",
    "evaluate",
    "load_trained",
    "stored_settings",
    "train",
]
