"""ONNX Runtime: fp32, and int8 as QDQ with scales per channel and unsigned activations."""

from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from torch import nn

from onebit.engines.base import Calibration, Fresh, Prepared, Refused, calibration_of, quiet
from onebit.engines.onnx_graph import to_onnx
from onebit.runtime.cold import Steps

QUANTIZED = ("QLinearConv", "ConvInteger")


@cache
def converted(
    network: nn.Module, shape_BCHW: tuple[int, int, int, int], int8: bool, calibration: Calibration | None
) -> bytes:
    """The network as an ONNX file, quantized with ONNX Runtime's own tool if asked."""
    if not int8:
        return _bytes(to_onnx(network, shape_BCHW))
    one = (1, *shape_BCHW[1:])
    if shape_BCHW != one:
        return _bytes(_with_batch(onnx.load_from_string(converted(network, one, True, calibration)), shape_BCHW[0]))
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = calibration_of(calibration, one[1:]).one_by_one()

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return {"image": self.left.pop()} if self.left else None

    with TemporaryDirectory() as folder, quiet():
        whole, ready, done = (str(Path(folder) / name) for name in ("whole.onnx", "ready.onnx", "done.onnx"))
        onnx.save(to_onnx(network, one), whole)
        quant_pre_process(whole, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            done,
            Images(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return Path(done).read_bytes()


def _bytes(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString()
    return content


def _with_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The same for batches of that size; the shapes in between are left to be inferred."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del model.graph.value_info[:]
    return model


def prepare(
    network: nn.Module,
    image_BCHW: NDArray[np.float32],
    *,
    threads: int,
    numbers: str,
    calibration: Calibration | None = None,
) -> Prepared:
    """See the package; images as floats (B, C, H, W), input and output bound once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")  # or its threads spin into another's time
    options.log_severity_level = 3
    batch, channels, height, width = image_BCHW.shape
    with TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.onnx"
        options.optimized_model_filepath = str(plan)
        model = converted(network, (batch, channels, height, width), numbers == "int8", calibration)
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        kinds = Counter(node.op_type for node in onnx.load(plan).graph.node if "Conv" in node.op_type)
    runs_as = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    if any((kind in QUANTIZED) != (numbers == "int8") for kind in kinds):
        raise Refused(f"ONNX Runtime runs something else than asked: {runs_as}")
    binding = session.io_binding()
    binding.bind_cpu_input("image", image_BCHW)
    binding.bind_output(session.get_outputs()[0].name)

    def run() -> NDArray[np.float32]:
        session.run_with_iobinding(binding)
        logits: NDArray[np.float32] = binding.copy_outputs_to_cpu()[0]
        return logits

    def save(folder: Path) -> Path:
        (folder / "network.onnx").write_bytes(model)
        return folder / "network.onnx"

    steps = Steps(
        imports="import numpy, onnxruntime",
        load="options = onnxruntime.SessionOptions()\n"
        "options.intra_op_num_threads = threads\n"
        "session = onnxruntime.InferenceSession(path, options, ['CPUExecutionProvider'])",
        answer="session.run(None, {'image': numpy.zeros(session.get_inputs()[0].shape, numpy.float32)})",
    )
    return Prepared(
        run=run,
        compute=lambda other_BCHW: session.run(None, {"image": other_BCHW})[0],
        runs_as=runs_as,
        fresh=Fresh(save, steps),
    )
