"""Studies: many runs from one file, trained in order of dependency and reported in one table."""

from onebit.study.plan import PlannedRun, Study, StudyError, read_study
from onebit.study.runner import run_study
from onebit.study.table import study_rows, study_table

__all__ = ["PlannedRun", "Study", "StudyError", "read_study", "run_study", "study_rows", "study_table"]
