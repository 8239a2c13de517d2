"""Inference engines beside this package's own, prepared for comparison: OpenVINO, ONNX Runtime, torch."""

from onebit.engines.base import Calibration, Fresh, Prepared, Refused, noise, prepare

__all__ = ["Calibration", "Fresh", "Prepared", "Refused", "noise", "prepare"]
