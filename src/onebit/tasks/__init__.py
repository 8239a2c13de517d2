"""What networks are trained for; importing this package registers all tasks."""

from onebit.tasks.base import TASKS, Feed, Metric, Mixed, Part, Scores, Task
from onebit.tasks.classification import Classification
from onebit.tasks.images import ImageTask

__all__ = ["TASKS", "Classification", "Feed", "ImageTask", "Metric", "Mixed", "Part", "Scores", "Task"]
