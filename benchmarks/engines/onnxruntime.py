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

from engines import Fresh, Prepared, Refused, calibration
from engines.onnx_graph import to_onnx
from onebit.runtime.cold import Steps

QUANTIZED = ("QLinearConv", "ConvInteger")


@cache
def converted(network: nn.Module, shape_BCHW: tuple[int, int, int, int], int8: bool) -> bytes:
    """The network as an ONNX file, quantized with ONNX Runtime's own tool if asked."""
    model = to_onnx(network, shape_BCHW)
    if not int8:
        return model.SerializeToString()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [np.repeat(image, shape_BCHW[0], 0) for image in calibration(shape_BCHW[1:])]

        def get_next(self) -> dict[str, NDArray] | None:
            return {"image": self.left.pop()} if self.left else None

    with TemporaryDirectory() as folder:
        whole, ready, done = (str(Path(folder) / name) for name in ("whole.onnx", "ready.onnx", "done.onnx"))
        onnx.save(model, whole)
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


def prepare(network: nn.Module, image_BCHW: NDArray, *, threads: int, numbers: str) -> Prepared:
    """See the package; images as floats (B, C, H, W), input and output bound once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")  # or its threads spin into another's time
    options.log_severity_level = 3
    with TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.onnx"
        options.optimized_model_filepath = str(plan)
        model = converted(network, image_BCHW.shape, numbers == "int8")
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
        return binding.copy_outputs_to_cpu()[0]

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
    return Prepared(run, runs_as, {}, Fresh(save, steps))
