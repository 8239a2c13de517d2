"""torch on the CPU in fp32, channels_last, in inference mode; compiled if asked."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines import Fresh, Prepared, Refused
from onebit.runtime.cold import Steps


def prepare(network: nn.Module, image_BCHW: NDArray, *, threads: int, numbers: str, compile: bool = False) -> Prepared:
    """See the package; batch norms are not folded.  ``threads`` holds for torch as a whole."""
    torch.set_num_threads(threads)
    plain = model = deepcopy(network).to(memory_format=torch.channels_last)
    image = torch.from_numpy(image_BCHW).to(memory_format=torch.channels_last)
    if compile:
        torch._dynamo.reset()
        model = torch.compile(plain)

    def run() -> NDArray[np.float32]:
        with torch.inference_mode():
            return model(image).numpy()

    try:
        run()
    except RuntimeError as error:  # no C++ compiler, for one
        raise Refused(f"torch failed: {str(error).splitlines()[0]}") from error
    if compile:
        return Prepared(run, "channels_last, compiled", {})

    def save(folder: Path) -> Path:
        with torch.inference_mode():
            torch.jit.save(torch.jit.trace(plain, image), folder / "network.pt")
        return folder / "network.pt"

    steps = Steps(
        imports="import torch",
        load="torch.set_num_threads(threads)\nmodel = torch.jit.load(path)",
        answer=f"image = torch.zeros({tuple(image_BCHW.shape)}).to(memory_format=torch.channels_last)\n"
        "with torch.inference_mode(): model(image).numpy()",
    )
    return Prepared(run, "channels_last", {}, Fresh(save, steps))
