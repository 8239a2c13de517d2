"""Everything that decides how a network is trained; every field is checked when it is made."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from onebit.data import AUGMENTATIONS, DATASETS
from onebit.methods import METHODS
from onebit.models import MODELS
from onebit.nn import ROLES, as_scheme
from onebit.nn.schemes import read_scheme_options
from onebit.registry import check_options
from onebit.train.optim import OPTIMIZERS, SCHEDULES

PRECISIONS = ("32-true", "bf16-mixed")  # neither has a loss scaler whose state a checkpoint would have to hold


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The settings of a run; two runs with equal settings on one machine give equal weights.

    Args:
        model: network, a name that ``onebit zoo models`` lists.
        model_options: further arguments of the network, such as ``width``.
        scheme: how its layers become binary; "float" trains the same network with real weights and activations.
        scheme_options: single settings of the scheme to change, such as ``weight_estimator``.
        dataset: data set, a name that ``onebit zoo datasets`` lists.
        image_size: side that the images are scaled to; null keeps their own size.
        augment: augmentation of the training images.
        method: training method.
        method_options: further arguments of the method, such as ``label_smoothing``.
        teacher: folder of a finished run on the same data, for methods that need a teacher; null without one.
        start_from: folder of a finished run of the same model whose weights the network starts from, such as its float
            counterpart's; null starts from random ones.
        epochs: passes over the training images; the last batch of a pass is left out unless full.
        max_steps: stop after this many optimizer steps; null runs all epochs.
        two_step: share of the epochs, rounded to whole ones, in which weights stay real and activations alone are
            binary; then both are, and optimizer, warm-up and schedule start anew.  0 for one stage.
        batch_size: images per optimizer step.
        optimizer: "sgd" (with momentum), "adam" or "adamw".
        lr: peak learning rate.
        momentum: of SGD.
        betas: of Adam and AdamW.
        schedule: course of the learning rate: "constant", "cosine" or "linear" down to 0, "step".
        warmup: share of the training over which the learning rate rises linearly from 0.
        milestones: for "step": shares of the training after which the learning rate is multiplied with ``gamma``.
        gamma: for "step".
        weight_decay: L2 on norms, biases and the weights of real layers.
        scale_decay: L2 on the learned scales of binary weights.
        latent_decay: L2 on the real weights behind the binary ones; with ``two_step`` in the first stage only.
        input_scale_decay: L2 on the learned scales of activations.
        slope_decay: L2 on the slopes of activations.
        lr_factors: parameter role -> factor on the learning rate; latent, weight-scale, input-scale, slope, norm,
            real.
        clip_latent: keep latent weights within [-1, 1] after each step.
        clip_gradient: largest norm of the whole gradient; null clips nothing.
        precision: "32-true" or "bf16-mixed".
        compile: use torch.compile for training: true, false or "auto" (where it is expected to pay).
        channels_last: keep feature maps as NHWC in memory.
        seed: of weights, order and augmentation.
        eval_every: epochs between two measurements on the test images; the last epoch is always measured.
        keep: which weights become the trained model: "last" or "best" (on the test images, which flatters the result).
    """

    model: str
    dataset: str
    model_options: dict[str, Any] = field(default_factory=dict)
    scheme: str = "trained-binarization"
    scheme_options: dict[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    augment: str = "none"
    method: str = "plain"
    method_options: dict[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    start_from: str | None = None
    epochs: int
    max_steps: int | None = None
    two_step: float = 0.0
    batch_size: int
    optimizer: str = "adam"
    lr: float
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: str = "cosine"
    warmup: float = 0.0
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    weight_decay: float = 0.0
    scale_decay: float = 0.0
    latent_decay: float = 0.0
    input_scale_decay: float = 0.0
    slope_decay: float = 0.0
    lr_factors: dict[str, float] = field(default_factory=dict)
    clip_latent: bool = False
    clip_gradient: float | None = None
    precision: str = "32-true"
    compile: Literal["auto"] | bool = "auto"
    channels_last: bool = True
    seed: int = 0
    eval_every: int = 1
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        MODELS.check(self.model)
        as_scheme(self.scheme, **self.scheme_options)
        DATASETS.check(self.dataset)
        AUGMENTATIONS.check(self.augment)
        METHODS.check(self.method)
        OPTIMIZERS.check(self.optimizer)
        SCHEDULES.check(self.schedule)
        check_options("method_options", METHODS[self.method], self.method_options)
        METHODS[self.method](**self.method_options)  # its own checks, before any data is read
        for name in ("epochs", "batch_size", "eval_every"):
            _at_least(name, getattr(self, name), 1)
        for name in ("max_steps", "image_size"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        _above_zero("lr", self.lr)
        _above_zero("gamma", self.gamma)
        if self.clip_gradient is not None:
            _above_zero("clip_gradient", self.clip_gradient)
        decays = ("weight_decay", "scale_decay", "latent_decay", "input_scale_decay", "slope_decay")
        for name in decays:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number from 0 up, got {value}")
        for name, value in (
            ("momentum", self.momentum),
            ("warmup", self.warmup),
            ("two_step", self.two_step),
            ("betas[0]", self.betas[0]),
            ("betas[1]", self.betas[1]),
        ):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be from 0 to below 1, got {value}")
        if self.two_step and not 0 < round(self.two_step * self.epochs) < self.epochs:
            raise ValueError(
                f"two_step {self.two_step} of {self.epochs} epochs leaves one stage without an epoch; "
                "give it more epochs, or 0 for one stage"
            )
        if not all(0 < share < 1 for share in self.milestones):
            raise ValueError(f"milestones must be shares of the training between 0 and 1, got {self.milestones}")
        for role, factor in self.lr_factors.items():
            if role not in ROLES:
                raise ValueError(f"lr_factors knows the roles {ROLES}, got {role!r}")
            if not (math.isfinite(factor) and factor >= 0):
                raise ValueError(f"lr_factors[{role!r}] must be a number from 0 up, got {factor}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}")
        if self.compile not in ("auto", True, False):
            raise ValueError(f"compile must be true, false or 'auto', got {self.compile!r}")
        if self.keep not in ("last", "best"):
            raise ValueError(f"keep must be 'last' or 'best', got {self.keep!r}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2**63 - 1, got {self.seed}")

    def as_json(self) -> dict[str, Any]:
        """The fields as plain values; ``TrainSettings.from_json`` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "TrainSettings":
        """Settings from :meth:`as_json`, after a trip through JSON or not."""
        tuples: dict[str, Any] = {name: tuple(fields[name]) for name in ("betas", "milestones") if name in fields}
        options = read_scheme_options(fields["scheme"], fields["scheme_options"])
        return cls(**{**fields, **tuples, "scheme_options": options})


def _at_least(name: str, value: int, lowest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise ValueError(f"{name} must be a whole number of at least {lowest}, got {value!r}")


def _above_zero(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be above 0, got {value}")
