"""Modules that own parameters: binary layers, their binarizers, and the conversion of whole models."""

from onebit.nn.activations import ACTIVATIONS, ChannelShuffle, FPReLU, RPReLU
from onebit.nn.binarizers import (
    INPUT_BINARIZERS,
    WEIGHT_BINARIZERS,
    BalancedSignInput,
    InputBinarizer,
    MeanScaleWeight,
    RectifiedClampWeight,
    RectifiedWeight,
    ShiftedSignInput,
    SignInput,
    SignWeight,
    StandardizedWeight,
    StepInput,
    TrainedScaleWeight,
    TrainedStepInput,
    WeightBinarizer,
)
from onebit.nn.convert import BinarizeReport, binarize_
from onebit.nn.cost import Cost, count_cost
from onebit.nn.health import InputHealth, LayerHealth, latent_signs, layer_health, watch_inputs
from onebit.nn.layers import BinaryConv2d, BinaryLinear
from onebit.nn.linearity import Linearity, probe_linearity
from onebit.nn.modes import evaluating
from onebit.nn.roles import (
    ROLES,
    keep_positive_,
    parameter_roles,
    parameters_by_role,
    set_progress,
    set_real_weights,
)
from onebit.nn.rpc import ReshapedPointwiseConv2d
from onebit.nn.schemes import SCHEMES, Scheme, as_scheme

__all__ = [
    "ACTIVATIONS",
    "INPUT_BINARIZERS",
    "ROLES",
    "SCHEMES",
    "WEIGHT_BINARIZERS",
    "BalancedSignInput",
    "BinarizeReport",
    "BinaryConv2d",
    "BinaryLinear",
    "ChannelShuffle",
    "Cost",
    "FPReLU",
    "InputBinarizer",
    "InputHealth",
    "LayerHealth",
    "Linearity",
    "MeanScaleWeight",
    "RPReLU",
    "RectifiedClampWeight",
    "RectifiedWeight",
    "ReshapedPointwiseConv2d",
    "Scheme",
    "ShiftedSignInput",
    "SignInput",
    "SignWeight",
    "StandardizedWeight",
    "StepInput",
    "TrainedScaleWeight",
    "TrainedStepInput",
    "WeightBinarizer",
    "as_scheme",
    "binarize_",
    "count_cost",
    "evaluating",
    "keep_positive_",
    "latent_signs",
    "layer_health",
    "parameter_roles",
    "parameters_by_role",
    "probe_linearity",
    "set_progress",
    "set_real_weights",
    "watch_inputs",
]
