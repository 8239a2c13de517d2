"""``binarize_``: replace the layers of any PyTorch model by binary ones, and report what was done."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

from onebit.nn.binarizers import InputBinarizer
from onebit.nn.layers import BinaryConv2d, BinaryLinear
from onebit.nn.modes import unwrapped
from onebit.nn.names import match_names
from onebit.nn.schemes import Scheme, as_scheme
from onebit.nn.signs import ANY, IN_WORDS, Signs, possible_signs, source_of
from onebit.nn.trace import LayerTracer
from onebit.text import text_table


@dataclass(frozen=True)
class Conversion:
    """The result for one layer: its name, its original class, whether it is binary now, and the reason."""

    name: str
    layer: str
    binary: bool
    reason: str


@dataclass(frozen=True)
class BinarizeReport:
    """The result of :func:`binarize_`; prints as a table.

    Attributes:
        rows: one per convolution, including transposed ones and those of other dimensions, and per linear layer.
        warnings: about the surroundings of the binary layers.
        added: names of the new parameters: learned scales and thresholds.  All other parameters are the original
            objects, so an existing optimizer continues to train them.
    """

    rows: tuple[Conversion, ...]
    warnings: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def binary(self) -> tuple[str, ...]:
        """Names of the binary layers."""
        return tuple(row.name for row in self.rows if row.binary)

    def __str__(self) -> str:
        body = [(row.name, row.layer, "binary" if row.binary else "real", row.reason) for row in self.rows]
        lines = [text_table(body), f"{len(self.binary)} of {len(self.rows)} layers are binary"]
        if self.added:
            lines.append(f"{len(self.added)} new parameters; an optimizer created before does not update them")
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])


def binarize_(model: nn.Module, scheme: str | Scheme, keep_real: Sequence[str] | None = None) -> BinarizeReport:
    """Replace convolutions and linear layers of ``model`` by binary ones, in place, with the same Parameter objects.

    Args:
        model: any PyTorch module; may be wrapped in DataParallel, AveragedModel or ``torch.compile``.
        scheme: a name in ``SCHEMES`` or a :class:`Scheme`.
        keep_real: layers that stay in full precision, as names or patterns of :func:`onebit.nn.names.match_names`.
            None follows the usual rule of the literature: the first layer that reads the image and the last linear
            layer stay, in execution order, or in registration order if ``torch.fx`` cannot trace the model.

    Returns:
        A report that lists every convolution and linear layer, what it is now, and why.

    Raises:
        ValueError: unknown scheme, a float scheme, ``keep_real`` that matches no layer, nothing to replace.
        TypeError: ``keep_real`` is a string instead of a list.
    """
    scheme = as_scheme(scheme)
    if scheme.is_float:
        raise ValueError("scheme 'float' binarizes nothing; choose another")
    model = unwrapped(model)
    layers: dict[str, nn.Module] = {
        name: m for name, m in model.named_modules(remove_duplicate=False) if isinstance(m, _ConvNd | nn.Linear)
    }
    if not any(isinstance(layer, nn.Conv2d | nn.Linear) for layer in layers.values()):
        raise ValueError("the model has no Conv2d and no Linear layer, so there is nothing to binarize")
    if "" in layers:
        raise ValueError("the model is itself one layer; put it into a module, e.g. nn.Sequential, to replace it there")
    if keep_real is None:
        kept = _by_rule(layers, _order(model, layers))
    else:
        matched = match_names(keep_real, layers, "keep_real")
        kept = {name: f"kept real by {pattern!r}" for name, pattern in matched.items()}
    before = set(model.parameters())
    rows = []
    made: dict[nn.Module, nn.Module] = {}  # a layer with two names stays one layer
    for name, layer in layers.items():
        own = isinstance(layer, BinaryConv2d | BinaryLinear)
        reason = "has its own binarizers already" if own else kept.get(name) or _obstacle(layer)
        if not reason:
            made[layer] = made.get(layer) or _binary(layer, scheme)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, made[layer])
        rows.append(Conversion(name, type(layer).__name__, not reason or _is_binary(layer), reason or "by rule"))
    added = tuple(name for name, parameter in model.named_parameters() if parameter not in before)
    return BinarizeReport(tuple(rows), _warnings(model), added)


def _trace(model: nn.Module) -> fx.Graph:
    """Trace the model as a function of its first argument; raises whatever torch.fx raises if it cannot."""
    parameters = inspect.signature(model.forward).parameters
    optional = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    return LayerTracer().trace(model, concrete_args=optional or None)


def _order(model: nn.Module, layers: dict[str, nn.Module]) -> list[nn.Module]:
    """The layers in execution order, or in registration order if that is not known."""
    try:
        graph = _trace(model)
    except Exception:  # whatever the model's own code raises on a symbolic image
        return list(layers.values())
    modules = dict(model.named_modules())
    reached: set[fx.Node] = set()
    for node in graph.nodes:
        if (node.op == "placeholder" and not reached) or reached.intersection(node.all_input_nodes):
            reached.add(node)
    called = [modules[str(node.target)] for node in graph.nodes if node.op == "call_module" and node in reached]
    known = set(layers.values())
    return [module for module in called if module in known] or list(layers.values())


def _by_rule(layers: dict[str, nn.Module], order: list[nn.Module]) -> dict[str, str]:
    last = [layer for layer in order if isinstance(layer, nn.Linear)][-1:]
    reasons = dict.fromkeys(last, "last linear layer") | dict.fromkeys(order[:1], "first layer")
    return {name: reasons[layer] for name, layer in layers.items() if layer in reasons}


def _is_binary(layer: nn.Module) -> bool:
    return (
        isinstance(layer, BinaryConv2d | BinaryLinear)
        and layer.weight_binarizer is not None
        and layer.input_binarizer is not None
    )


def _obstacle(layer: nn.Module) -> str:
    """The reason why ``layer`` cannot become binary, or ""."""
    kind = type(layer).__name__
    if is_parametrized(layer):
        return "its weight is computed by a parametrization; make it plain with parametrize.remove_parametrizations"
    if "weight" not in layer._parameters:
        return "its weight is computed before each call (weight_norm, pruning); make it a plain parameter first"
    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        return "its shape is not known yet; run the model on one image first"
    if type(layer) not in (nn.Conv2d, nn.Linear):
        if kind in vars(nn):
            return f"{kind} has no binary form"
        return f"{kind} is a subclass with its own forward, which a binary layer would drop"
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
        return f"padding_mode {layer.padding_mode!r}; only 'zeros' has a binary form"
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return "has hooks, which a binary layer would drop; remove them first" if any(hooks) else ""


def _binary(layer: nn.Module, scheme: Scheme) -> nn.Module:
    """A binary layer with the parameters of ``layer``; learned scales start from its weights."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    bias = layer.bias is not None
    new: nn.Conv2d | nn.Linear
    if isinstance(layer, nn.Conv2d):
        new = scheme.conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            layer.groups,
            bias,
        )
    else:
        new = scheme.linear(layer.in_features, layer.out_features, bias)
    new = new.to(layer.weight.device, layer.weight.dtype).train(layer.training)
    new.weight = layer.weight
    new.register_parameter("bias", layer.bias)  # type: ignore[arg-type]
    if isinstance(new, BinaryConv2d | BinaryLinear) and new.weight_binarizer is not None:
        new.weight_binarizer.restart(new.weight)
    return new


# ---------------------------------------------------------------------------------------------------------------
# Inputs of one sign
# ---------------------------------------------------------------------------------------------------------------


def _warnings(model: nn.Module) -> tuple[str, ...]:
    """Warnings for binary layers whose inputs would all have one level, such as the sign of a ReLU's output."""
    try:
        graph = _trace(model)
    except Exception as error:
        cause = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return (
            f"torch.fx cannot trace the model ({cause}): layers are looked at in the order of registration, and what "
            "the binary ones read is not looked at",
        )
    modules = dict(model.named_modules())
    signs = possible_signs(graph, modules)
    found = []
    for node in graph.nodes:
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        inputs = layer.input_binarizer if isinstance(layer, BinaryConv2d | BinaryLinear) else None
        if inputs is not None and node.all_input_nodes:
            taken = node.all_input_nodes[0]
            if level := _one_level(inputs, signs[taken]):
                found.append(
                    f"{node.target} binarizes {_described(source_of(taken, modules), signs, modules)}: {level}"
                )
    return tuple(found)


def _one_level(inputs: InputBinarizer, signs: Signs) -> str:
    """For inputs of these signs: the single level that they would have and a remedy, or ""."""
    lows = {-1} if inputs.rule == "sign" else {-1, 0}
    if signs == ANY or not (signs <= lows or signs.isdisjoint(lows)):
        return ""
    level = inputs.low if signs <= lows else inputs.high
    when = "" if inputs.threshold() is None else ", unless its thresholds move"
    mends = "put a norm between them" + (", or choose a scheme with {0, 1} inputs" if signs >= {0, 1} else "")
    return f"every input becomes {level:+g}{when}; {mends}"


def _described(node: fx.Node, signs: dict[fx.Node, Signs], modules: dict[str, nn.Module]) -> str:
    if node.op == "placeholder":
        return "the image, whose pixels are never negative unless they were normalized"
    what = f"{node.target}, a {type(modules[str(node.target)]).__name__}" if node.op == "call_module" else node.name
    return f"the output of {what}, which is {IN_WORDS[signs[node]]}"
