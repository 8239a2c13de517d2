"""Pure functions: the hard decisions, their surrogate derivatives, and scales."""

from onebit.binarize.estimators import ESTIMATORS, binarize_sign, binarize_step
from onebit.binarize.scales import mean_abs
from onebit.binarize.sign import sign, step

__all__ = ["ESTIMATORS", "binarize_sign", "binarize_step", "mean_abs", "sign", "step"]
