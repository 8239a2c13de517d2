"""What networks are trained for; importing this package registers all tasks."""

from onebit.tasks import classification as classification
from onebit.tasks.base import TASKS, Feed, Metric, Part, Scores, Task
from onebit.tasks.images import ImageTask

__all__ = ["TASKS", "Feed", "ImageTask", "Metric", "Part", "Scores", "Task"]
