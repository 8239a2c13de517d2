"""The exponential moving average of a network's weights, which is measured and kept in their place."""

import copy

import torch
from torch import Tensor, nn

from onebit.nn import keep_positive_


class Average:
    """``m <- d_t m + (1 - d_t) w`` after each optimizer step, with ``d_t = min(d, (1 + t) / (10 + t))``.

    w are the weights after step t = 0, 1, ... of a stage of the run, m their average, which starts from the weights
    that the stage starts from.  The ramp of d_t is that of ``tf.train.ExponentialMovingAverage``: without it the
    average of a short stage would be made of its first weights.  A function of the step, so that resuming is exact.

    Every parameter is averaged.  Of a binary layer that is the latent weight, and the layer takes the sign of the
    average.  (An average of the signs would not be binary.)  So a weight that flips every few steps gets the sign that
    it has for longer, and by more.  Scales that are computed from the latent weights are those of the average; learned
    ones are averaged, and stay positive.

    The running statistics of norms are averaged too.  They are then those of the networks that the average is made of,
    rather than of the average itself, for which they would have to be measured in one more pass over the training
    images, as in arXiv:1803.05407.  Both become the same as the learning rate goes to 0.  Counters are copied.

    Attributes:
        network: holds m.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights of ``network`` after the step with this number within its stage."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for average, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)
        keep_positive_(self.network)  # only rounding could take a scale below the bound that all scales obey

    def restart(self, network: nn.Module) -> None:
        """Begin anew with the weights of ``network``."""
        self.network.load_state_dict(network.state_dict())
