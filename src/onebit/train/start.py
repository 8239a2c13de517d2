"""Starting from another run's weights: fine-tuning, or a binary network from its real counterpart."""

from pathlib import Path

import torch
from torch import nn

from onebit.nn.roles import NORMS
from onebit.train.artifact import load_trained


@torch.no_grad()
def start_from(network: nn.Module, folder: Path | str) -> None:
    """Give ``network`` the weights of the trained model in ``folder``, in place.

    Whatever has the same name and shape is taken.  Convolutions, linear layers and norms must all find theirs; what
    else the network has (scales, thresholds, slopes) may start as usual, since a real network knows nothing of it.
    Learned weight scales that do not come along start from the weights that do.

    Raises:
        ValueError: no trained model there, or a layer that finds no tensor of its name and shape.
    """
    source, meta = load_trained(folder)
    theirs, mine = source.state_dict(), network.state_dict()
    taken = {name: tensor for name, tensor in theirs.items() if name in mine and tensor.shape == mine[name].shape}
    for prefix, module in network.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.Linear, *NORMS)):
            continue
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in ((f"{prefix}.{name}", tensor) for name, tensor in own):
            if name not in taken:
                found = f"one of shape {tuple(theirs[name].shape)}" if name in theirs else "none"
                raise ValueError(
                    f"start_from {str(folder)!r}: the network wants {name} of shape {tuple(tensor.shape)}, the "
                    f"{meta['model']!r} there has {found}; name a run of the same model with the same options"
                )
    network.load_state_dict({**mine, **taken})
    for prefix, module in network.named_modules():
        binarizer = getattr(module, "weight_binarizer", None)
        if binarizer is None:
            continue
        scales = [f"{prefix}.weight_binarizer.{name}" for name, _ in binarizer.named_parameters()]
        if not all(name in taken for name in scales):
            binarizer.restart(module.weight)
