"""The float network of the architecture that a packed file names, with random weights."""

import math
from typing import Any

import torch
from torch import nn

from onebit.models import MODELS
from onebit.runtime.model import Model

MAX_PARAMETERS = 1 << 29  # 2 GiB


def float_twin(model: Model) -> tuple[nn.Module | None, str]:
    """The float network of the same architecture, untrained, in evaluation mode; or None and the reason.

    The provenance of a file is untrusted.  The network is first built on the meta device, and used only if its outputs
    have the shape of those of the packed network.
    """
    provenance, spec = model.graph.provenance, model.input
    name, options = provenance.get("model"), provenance.get("model_options", {})
    if not isinstance(name, str):
        return None, "the file does not name its model of the zoo"
    if name not in MODELS:
        return None, f"model {name!r} is not in the zoo"
    sizes = {key: provenance[key] for key in ("num_classes",) if key in provenance}  # older files have it
    arguments: dict[str, Any] = {"in_channels": spec.channels, **sizes}
    shape = model.engine.output_shape
    try:
        with torch.device("meta"):
            ghost = MODELS[name](scheme="float", **{**arguments, **options}).eval()
        image = torch.zeros(1, spec.channels, spec.height, spec.width, device="meta")
        gives = tuple(ghost(image).flatten(1).shape)
    except Exception as error:
        return None, f"the model {name!r} that the file names cannot be built with its options: {error}"
    parameters = sum(parameter.numel() for parameter in ghost.parameters())
    if gives != (1, math.prod(shape)) or parameters > MAX_PARAMETERS:
        return None, f"the model {name!r} that the file names is another network with its options"
    return MODELS[name](scheme="float", **{**arguments, **options}).eval(), ""
