"""OpenVINO: fp32, bf16, int8 by NNCF, and binary convolutions, each held to what the compiled model says it runs."""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray
from torch import nn

from onebit.engines.base import Calibration, Fresh, Prepared, Refused, calibration_of, quiet
from onebit.engines.onnx_graph import to_onnx
from onebit.nn.layers import BinaryConv2d
from onebit.runtime.cold import Steps

CORE = openvino.Core()
PRECISIONS = {"1-bit": "f32", "fp32": "f32", "bf16": "bf16", "int8": "I8"}  # numbers -> of the convolutions on floats


@cache
def converted(
    network: nn.Module, shape_BCHW: tuple[int, int, int, int], int8: bool, calibration: Calibration | None
) -> openvino.Model:
    """The network in OpenVINO's own form, quantized by NNCF if asked."""
    if not int8:
        return CORE.read_model(to_onnx(network, shape_BCHW).SerializeToString())
    import nncf

    one = (1, *shape_BCHW[1:])
    if shape_BCHW == one:
        images = calibration_of(calibration, shape_BCHW[1:]).one_by_one()
        with quiet():
            return nncf.quantize(converted(network, one, False, None), nncf.Dataset(images), subset_size=len(images))
    batch = converted(network, one, True, calibration).clone()
    batch.reshape(list(shape_BCHW))
    return batch


def convolutions(compiled: openvino.CompiledModel) -> Counter[tuple[str, str]]:
    """How often the plan runs each (type of layer, implementation) that is a convolution."""
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    layers = [(node["layerType"].astype(str), node["primitiveType"].astype(str)) for node in nodes]
    return Counter(layer for layer in layers if "Convolution" in layer[0])


def unlike(numbers: str, plan: Mapping[tuple[str, str], int]) -> list[str]:
    """The implementations of convolutions on floats that compute in other numbers than asked.

    Depthwise layers of int8 networks may stay fp32, which OpenVINO chooses on a CPU without int8 instructions.
    """
    found = []
    for layer, code in plan:
        allowed = {PRECISIONS[numbers]} | ({"f32"} if numbers == "int8" and "_dw_" in code else set())
        if layer != "BinaryConvolution" and code.rpartition("_")[2] not in allowed:
            found.append(code)
    return found


def prepare(
    network: nn.Module,
    image_BCHW: NDArray[np.float32],
    *,
    threads: int,
    numbers: str,
    calibration: Calibration | None = None,
) -> Prepared:
    """See the package; one request, the hint for latency, images as the plan takes them: floats (B, C, H, W)."""
    if numbers == "bf16" and "BF16" not in CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Refused("this CPU has no bf16")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # or a process that holds the very core it chose doubles its time
        "INFERENCE_PRECISION_HINT": "bf16" if numbers == "bf16" else "f32",  # its default turns fp32 into bf16
    }
    batch, channels, height, width = image_BCHW.shape
    model = converted(network, (batch, channels, height, width), numbers == "int8", calibration)
    compiled = CORE.compile_model(model, "CPU", settings)
    plan = convolutions(compiled)
    runs_as = ", ".join(f"{count} {layer} {code}" for (layer, code), count in plan.most_common())
    binary = sum(count for (layer, _), count in plan.items() if layer == "BinaryConvolution")
    wanted = sum(isinstance(layer, BinaryConv2d) for layer in network.modules())
    if binary != wanted or (numbers == "1-bit") != bool(binary) or unlike(numbers, plan):
        raise Refused(f"OpenVINO runs something else than asked: {runs_as}")
    request, another = compiled.create_infer_request(), compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(image_BCHW, shared_memory=True))

    def run() -> NDArray[np.float32]:
        request.infer()
        logits: NDArray[np.float32] = request.get_output_tensor().data.reshape(batch, -1)
        return logits

    def compute(other_BCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = another.infer([other_BCHW])[0]
        return logits

    def save(folder: Path) -> Path:
        openvino.save_model(model, folder / "network.xml", compress_to_fp16=False)
        return folder / "network.xml"

    steps = Steps(
        imports="import numpy, openvino",
        load=f"compiled = openvino.Core().compile_model(path, 'CPU', {settings!r})",
        answer="compiled(numpy.zeros(tuple(compiled.input(0).shape), numpy.float32))",
    )
    return Prepared(run, compute, runs_as, fresh=Fresh(save, steps))
