"""torch on the CPU in fp32, channels_last, in inference mode; compiled if asked."""

import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onebit.engines.base import Fresh, Prepared, Refused
from onebit.runtime.cold import Steps


def prepare(
    network: nn.Module, image_BCHW: NDArray[np.float32], *, threads: int, numbers: str, compile: bool = False
) -> Prepared:
    """See the package; batch norms are not folded.  ``threads`` holds for torch as a whole."""
    torch.set_num_threads(threads)
    plain = deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.from_numpy(image_BCHW).to(memory_format=torch.channels_last)
    model: Any = plain
    if compile:
        torch._dynamo.reset()
        model = torch.compile(plain)

    def answer(images_BCHW: torch.Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = model(images_BCHW).numpy()
        return logits

    try:
        answer(image)
    except RuntimeError as error:  # no C++ compiler, for one
        raise Refused(f"torch failed: {str(error).splitlines()[0]}") from error

    def save(folder: Path) -> Path:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, the one form that needs no code
            torch.jit.save(torch.jit.trace(plain, image), folder / "network.pt")
        return folder / "network.pt"

    steps = Steps(
        imports="import torch",
        load="torch.set_num_threads(threads)\nmodel = torch.jit.load(path)",
        answer=f"image = torch.zeros({tuple(image_BCHW.shape)}).to(memory_format=torch.channels_last)\n"
        "with torch.inference_mode(): model(image).numpy()",
    )
    return Prepared(
        run=lambda: answer(image),
        compute=lambda other_BCHW: answer(torch.from_numpy(other_BCHW).to(memory_format=torch.channels_last)),
        runs_as="channels_last, compiled" if compile else "channels_last",
        fresh=None if compile else Fresh(save, steps),
    )
