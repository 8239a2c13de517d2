"""The state of a run: what a checkpoint holds, and how it is put back."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onebit.fields import Rule, check_fields, measured, number, short, whole
from onebit.methods import Method
from onebit.nn import latent_signs, layer_health
from onebit.report.health import LayerNumbers
from onebit.tasks import Metric
from onebit.train.average import Average
from onebit.train.checkpoint import CheckpointError, check_like, check_tensor
from onebit.train.settings import TrainSettings
from onebit.train.tally import Tally

HISTORY = {"epoch": whole(1), "step": whole(1), "stage": whole(1), "lr": number(), "train_loss": number()}


class State:
    """Network, method and optimizer of a run, what has been measured, and the step that they have reached.

    Attributes:
        average: of the network's weights, None without ``settings.ema``.
        data: ``Task.identity`` of the data, by which a resumed run recognizes them.
        teacher: digest of the teacher; empty without one.
        step: optimizer steps done.
        history: one row per finished epoch, as in the record.
        layers: the numbers of the binary layers after each of these epochs.
        seconds: how long that took.
    """

    def __init__(
        self,
        settings: TrainSettings,
        network: nn.Module,
        method: Method,
        optimizer: torch.optim.Optimizer,
        *,
        average: Average | None,
        compiled: bool,
        data: dict[str, Any],
        teacher: str,
    ) -> None:
        self.settings, self.network, self.method, self.optimizer = settings, network, method, optimizer
        self.average, self.compiled, self.data, self.teacher = average, compiled, data, teacher
        self.tally = Tally(network)
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.layers = LayerNumbers()
        self.seconds = 0.0

    @property
    def measured(self) -> nn.Module:
        """The network that is measured and kept: the average where there is one."""
        return self.network if self.average is None else self.average.network

    def checkpoint(self, meta: dict[str, Any]) -> dict[str, Any]:
        """What ``save_checkpoint`` writes; ``meta`` describes the network as in ``model.json``."""
        return {
            "settings": self.settings.as_json(),
            "data": self.data,
            "compiled": self.compiled,
            "step": self.step,
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.network.state_dict(),
            "method": self.method.state_dict(),
            "method_optimizers": [optimizer.state_dict() for optimizer in self.method.optimizers],
            "teacher": self.teacher,
            "optimizer": self.optimizer.state_dict(),
            "tally": self.tally.state_dict(),
            "history": self.history,
            "layers": self.layers.as_json(),
            "seconds": self.seconds,
            "meta": meta,
        }

    def restore(
        self, saved: dict[str, Any], path: Path, metrics: tuple[Metric, ...], steps_per_epoch: int, steps: int
    ) -> None:
        """Go back to what ``load_checkpoint`` read from ``path``.

        Raises:
            CheckpointError: it does not fit the run; nothing has been changed then.
        """
        try:
            for name, module in (("network", self.network), ("method", self.method)):
                check_like(name, saved[name], module.state_dict())
            if self.average is not None:
                check_like("average", saved["average"], self.average.network.state_dict())
            elif saved["average"] is not None:
                raise ValueError("field 'average' must be null in a run whose ema is 0")
            if len(saved["method_optimizers"]) != len(self.method.optimizers):
                raise ValueError(f"field 'method_optimizers' must have {len(self.method.optimizers)} entries")
            optimizers = [("optimizer", self.optimizer, saved["optimizer"])]
            for index, (own, found) in enumerate(zip(self.method.optimizers, saved["method_optimizers"], strict=True)):
                optimizers.append((f"method_optimizers[{index}]", own, found))
            restored = [(own, _optimizer_state(name, own, found)) for name, own, found in optimizers]
            self.tally.check(saved["tally"])
            _check_history(saved["history"], saved["step"], metrics, steps_per_epoch, steps)
            layers = LayerNumbers.from_json(saved["layers"])
            _check_layers(layers, len(saved["history"]), self.network)
        except ValueError as error:
            raise CheckpointError(f"the checkpoint {str(path)!r} does not fit its settings: {error}") from error
        self.network.load_state_dict(saved["network"])
        if self.average is not None:
            self.average.network.load_state_dict(saved["average"])
        self.method.load_state_dict(saved["method"])
        for own, state in restored:
            own.load_state_dict(state)
        self.tally.load_state_dict(saved["tally"], f"the checkpoint {str(path)!r}")
        self.step, self.history, self.layers = saved["step"], saved["history"], layers
        self.seconds = saved["seconds"]


def _optimizer_state(name: str, own: torch.optim.Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """What ``own`` can load of ``saved``: what it has gathered; its groups follow from the settings.

    Raises ValueError where that is not what such an optimizer gathers for these parameters.
    """
    check_fields(
        saved, {"state": Rule(lambda v: isinstance(v, dict) and all(map(whole().accepts, v)), "an object")}, name
    )
    parameters = [parameter for group in own.param_groups for parameter in group["params"]]
    gathered = _gathers(own)
    for index, entries in saved["state"].items():
        where = f"{name}.state[{index}]"
        if index >= len(parameters) or not isinstance(entries, dict) or set(entries) != set(gathered):
            raise ValueError(f"field {where!r} must hold {sorted(gathered)} of one of {len(parameters)} parameters")
        for key, value in entries.items():
            if isinstance(gathered[key], Tensor):
                like = gathered[key] if gathered[key].dim() == 0 else parameters[index]
                check_tensor(f"{where}.{key}", value, like)
            elif type(value) is not type(gathered[key]):
                raise ValueError(f"field {f'{where}.{key}'!r} must be {gathered[key]!r}, got {short(value)}")
    return {"state": saved["state"], "param_groups": own.state_dict()["param_groups"]}


def _gathers(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What an optimizer of this kind and these settings holds for a parameter after its first step."""
    probe = nn.Parameter(torch.zeros(1))
    probe.grad = torch.zeros(1)
    twin = type(optimizer)([probe], **optimizer.defaults)
    twin.step()
    return dict(twin.state[probe])


def _check_history(
    history: list[dict[str, Any]], step: int, metrics: tuple[Metric, ...], steps_per_epoch: int, steps: int
) -> None:
    """ValueError unless these are the rows of the epochs that ``step`` steps make."""
    if step > steps:
        raise ValueError(f"field 'step' must be at most {steps}, got {step}")
    finished = -(-step // steps_per_epoch) if step == steps else step // steps_per_epoch
    if len(history) != finished:
        raise ValueError(f"field 'history' must have {finished} rows, one per epoch, got {len(history)}")
    rules = HISTORY | {f"test_{metric.name}": measured() for metric in metrics}
    for index, row in enumerate(history):
        check_fields(row, rules, f"history[{index}]")
        for name, value in row.items():
            if not measured().accepts(value):
                raise ValueError(f"field 'history[{index}].{name}' must be {measured().allowed}, got {short(value)}")
        if row["epoch"] != index + 1:
            raise ValueError(f"field 'history[{index}].epoch' must be {index + 1}, got {row['epoch']}")


def _check_layers(layers: LayerNumbers, epochs: int, network: nn.Module) -> None:
    """ValueError unless these are numbers of the layers of ``network`` after the last of so many epochs."""
    first = epochs - len(layers.epochs) + 1  # the run may have begun before such numbers were kept
    if layers.epochs != list(range(first, epochs + 1)):
        raise ValueError(f"field 'layers.epochs' must be the last of {epochs} epochs, got {short(layers.epochs)}")
    wanted = {name: layer.weights for name, layer in layer_health(network, latent_signs(network)).items()}
    found = {name: layer.weights for name, layer in layers.layers.items()}
    if (layers.epochs or found) and found != wanted:
        raise ValueError(f"field 'layers.layers' must have the layers and weights {short(wanted)}, got {short(found)}")
