"""torch on the CPU in fp32, channels_last, in inference mode; compiled if asked."""

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines import Prepared, Refused


def prepare(network: nn.Module, image_BCHW: NDArray, *, threads: int, numbers: str, compile: bool = False) -> Prepared:
    """See the package; batch norms are not folded.  ``threads`` holds for torch as a whole."""
    torch.set_num_threads(threads)
    model = deepcopy(network).to(memory_format=torch.channels_last)
    image = torch.from_numpy(image_BCHW).to(memory_format=torch.channels_last)
    if compile:
        torch._dynamo.reset()
        model = torch.compile(model)

    def run() -> NDArray[np.float32]:
        with torch.inference_mode():
            return model(image).numpy()

    try:
        run()
    except RuntimeError as error:  # no C++ compiler, for one
        raise Refused(f"torch failed: {str(error).splitlines()[0]}") from error
    return Prepared(run, "channels_last, compiled" if compile else "channels_last", {})
