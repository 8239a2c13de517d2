"""Everything that decides how a network is trained; every field is checked when it is made."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from onebit.methods import METHODS, Method
from onebit.models import MODELS
from onebit.nn import as_scheme
from onebit.nn.schemes import read_scheme_options
from onebit.registry import check_options
from onebit.tasks import TASKS, Task
from onebit.train.optim import OptimizerSettings, above_zero, below_one

PRECISIONS = ("32-true", "bf16-mixed")  # neither has a loss scaler whose state a checkpoint would have to hold

LARGEST = 10**9  # epochs, steps, images in a batch, pixels in a row
LARGEST_ALPHA = 1000  # of mixup and CutMix: shares are then between 0.45 and 0.55


@dataclass(frozen=True, kw_only=True)
class TrainSettings(OptimizerSettings):
    """The settings of a run; two runs with equal settings on one machine give equal weights.

    Args:
        model: network, a name that ``onebit zoo models`` lists.
        model_options: further arguments of the network, such as ``width``.
        scheme: how its layers become binary; "float" trains the same network with real weights and activations.
        scheme_options: single settings of the scheme to change, such as ``weight_estimator``.
        task: what the network is trained for: its criterion, its scores and what its data are.
        task_options: further arguments of the task, such as ``label_smoothing``.
        dataset: data set, a name that ``onebit zoo datasets`` lists.
        image_size: side that the images are scaled to; null keeps their own size.
        fit: how images that are not square are brought to that size: "crop" keeps the middle, "stretch" keeps all.
        color: what picture files are read as, "RGB" or "L" (gray), such as a network to start from takes; null for RGB.
        augment: augmentation of the training images.
        mixup: alpha of mixup (arXiv:1710.09412): every batch is mixed with itself in another order,
            ``l x_a + (1 - l) x_b`` with l from Beta(alpha, alpha), and so are the losses for the labels; 0 for none.
        cutmix: alpha of CutMix (arXiv:1905.04899): a box of the share 1 - l of the image comes from the other one; 0
            for none.  With both, each batch takes one of them, with even chances.
        method: training method.
        method_options: further arguments of the method, such as ``temperature``.
        teacher: folder of a finished run on the same data, for methods that need a teacher; null without one.
        start_from: trained network of the same model whose weights the network starts from, such as its float
            counterpart's or one for other classes: the folder of a finished run, or zoo:NAME; null starts from random
            ones.
        epochs: passes over the training images; the last batch of a pass is left out unless full.
        max_steps: stop after this many optimizer steps; null runs all epochs.
        two_step: share of the epochs, rounded to whole ones, in which weights stay real and activations alone are
            binary; then both are, and optimizer, warm-up and schedule start anew.  0 for one stage.
        batch_size: images per optimizer step.
        clip_latent: keep latent weights within [-1, 1] after each step.
        clip_gradient: largest norm of the whole gradient; null clips nothing.
        ema: decay of the exponential moving average of all weights, which is measured, kept and packed in their place,
            such as 0.999; of latent weights the sign is taken of the average.  0 for none.
        precision: "32-true" or "bf16-mixed".
        compile: use torch.compile for training: true, false or "auto" (where it is expected to pay).
        channels_last: keep feature maps as NHWC in memory.
        seed: of weights, order and augmentation.
        eval_every: epochs between two measurements on the test images; the last epoch is always measured.
        keep: which weights become the trained model: "last" or "best" (on the test images, which flatters the result).
        best_by: score that "best" is judged by; null takes the task's main one, which is the accuracy where there are
            classes.
    """

    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    scheme: str = "trained-binarization"
    scheme_options: dict[str, Any] = field(default_factory=dict)
    task: str = "classification"
    task_options: dict[str, Any] = field(default_factory=dict)
    dataset: str
    image_size: int | None = None
    fit: Literal["crop", "stretch"] = "crop"
    color: Literal["L", "RGB"] | None = None
    augment: str = "none"
    mixup: float = 0.0
    cutmix: float = 0.0
    method: str = "plain"
    method_options: dict[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    start_from: str | None = None
    epochs: int
    max_steps: int | None = None
    two_step: float = 0.0
    batch_size: int
    clip_latent: bool = False
    clip_gradient: float | None = None
    ema: float = 0.0
    precision: str = "32-true"
    compile: Literal["auto"] | bool = "auto"
    channels_last: bool = True
    seed: int = 0
    eval_every: int = 1
    keep: Literal["last", "best"] = "last"
    best_by: str | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "eval_every", "max_steps", "image_size"):
            _at_least_one(name, getattr(self, name), optional=name in ("max_steps", "image_size"))
        super().__post_init__()  # the types of all fields, too
        MODELS.check(self.model)
        as_scheme(self.scheme, **self.scheme_options)
        task = self.make_task()
        task.datasets.check(self.dataset)
        task.augmentations.check(self.augment)
        task.metric(self.best_by)
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            if not 0 <= value <= LARGEST_ALPHA:
                raise ValueError(f"{name} must be from 0 to {LARGEST_ALPHA}, got {value}")
            if value and not task.mixes:
                raise ValueError(
                    f"{name} {value} mixes images and what they are to give, which the task {self.task!r} cannot; "
                    "give it 0"
                )
        self.make_method()
        if self.clip_gradient is not None:
            above_zero("clip_gradient", self.clip_gradient)
        below_one("ema", self.ema)
        below_one("two_step", self.two_step)
        if self.two_step and not 0 < round(self.two_step * self.epochs) < self.epochs:
            raise ValueError(
                f"two_step {self.two_step} of {self.epochs} epochs leaves one stage without an epoch; "
                "give it more epochs, or 0 for one stage"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2**63 - 1, got {self.seed}")

    def make_task(self) -> Task:
        """The task with its options; ValueError for options that it does not know."""
        factory = TASKS[self.task]
        check_options("task_options", factory, self.task_options)
        return factory(**self.task_options)

    def make_method(self) -> Method:
        """A new method with its options; ValueError for options that it does not know."""
        factory = METHODS[self.method]
        check_options("method_options", factory, self.method_options)
        return factory(**self.method_options)

    def as_json(self) -> dict[str, Any]:
        """The fields as plain values; ``TrainSettings.from_json`` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "TrainSettings":
        """Settings from :meth:`as_json`, after a trip through JSON or not; ValueError for what they cannot be.

        Records from before there were tasks gave ``label_smoothing`` to the method.
        """
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        options = fields.get("method_options")
        if "task" not in fields and isinstance(options, dict) and "label_smoothing" in options:
            fields["task_options"] = {"label_smoothing": options["label_smoothing"]}
            fields["method_options"] = {name: value for name, value in options.items() if name != "label_smoothing"}
        try:
            scheme, changes = fields.get("scheme"), fields.get("scheme_options")
            if isinstance(scheme, str) and isinstance(changes, dict):
                fields["scheme_options"] = read_scheme_options(scheme, changes)
            return cls(**fields)
        except TypeError as error:  # a field that is missing or unknown
            raise ValueError(str(error).partition(") ")[2] or str(error)) from error


def _at_least_one(name: str, value: object, optional: bool) -> None:
    if optional and value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    if value > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST}, got {value}")
