"""Tracing: the model runs once, and each layer and function that it calls is recorded.

Shapes are numbers during the run, so a model may compute with them and branch on them.  Values of tensors must not
leave the tensors: a branch on them is refused, since another image might take the other path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.weak import WeakTensorKeyDictionary

from onebit.export.draft import PackError
from onebit.nn.trace import is_layer

BATCH = 2  # images of the run: a batch of one could not be distinguished from a dimension of size 1

# Metadata of a tensor, which does not depend on its values: attributes, all names with "is_", and these.
_FACTS = frozenset(
    {"size", "dim", "ndimension", "numel", "nelement", "stride", "storage_offset", "element_size", "get_device"}
    | {"type", "data_ptr", "len", "repr", "str", "format", "hash"}
)
_READS_VALUES = frozenset({"is_nonzero"})
# Tensors that are made after the shape of another and hold none of its values.
_LIKE = frozenset(
    {"new_zeros", "new_ones", "new_full", "new_tensor", "zeros_like", "ones_like", "full_like", "empty_like"}
)

_Versions = list[tuple[Tensor, int]]


@dataclass(eq=False)
class Value:
    """A tensor that depends on the image.

    Attributes:
        shape: with the batch of ``BATCH`` images.
        floating: whether its dtype is floating point.
        call: the call that returned it; None for the image.
        alone: whether it is the only result of the call.
    """

    shape: tuple[int, ...]
    floating: bool
    call: Call | None = None
    alone: bool = True


@dataclass(eq=False)
class Call:
    """One call of a layer or a function, with a :class:`Value` for each tensor that depends on the image.

    Attributes:
        name: name of the layer, or its class if it is the whole model; for a function, its name with a number, such as
            "add_2".
        what: class of the layer, or name of the function without the underscore of its in-place form.
        layer: None for a function.
        around: name of the module whose ``forward`` makes the call; "" for the model itself.
        func: the function; None for a layer.
    """

    name: str
    what: str
    layer: nn.Module | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    around: str
    func: Callable[..., Any] | None = None
    results: list[Value] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.around}: {self.name}" if self.around and self.layer is None else self.name

    def values(self) -> list[Value]:
        """The argument tensors that depend on the image."""
        return [x for x in _entries((self.args, self.kwargs)) if isinstance(x, Value)]

    @property
    def input(self) -> Value:
        """The first argument tensor that depends on the image."""
        return self.values()[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return self.results[0].shape


@dataclass(frozen=True)
class Trace:
    """The calls of one run in order, and the output of the model."""

    calls: list[Call]
    output: Any

    def needed(self) -> list[Call]:
        """The calls that the output depends on."""
        pending, seen = [x for x in _entries(self.output) if isinstance(x, Value)], set()
        while pending:
            call = pending.pop().call
            if call is not None and call not in seen:
                seen.add(call)
                pending.extend(call.values())
        return [call for call in self.calls if call in seen]


def trace(model: nn.Module, input_shape: tuple[int, int, int]) -> Trace:
    """Run ``model``, in eval mode, on contiguous noise images (C, H, W).

    Raises PackError if it cannot take them, or if its control flow depends on their values.
    """
    images_BCHW = noise(model, BATCH, input_shape)
    names = {module: name for name, module in model.named_modules()}
    for module, name in names.items():
        if isinstance(module, torch.jit.ScriptModule):
            raise PackError(f"{name or 'the model'} is compiled by torch.jit; pack the module that it was made of")
    recorder = _Recorder(names)
    handles = []
    for module in names:
        handles.append(module.register_forward_pre_hook(recorder.enter, prepend=True, with_kwargs=True))
        handles.append(module.register_forward_hook(recorder.leave, with_kwargs=True))
    try:
        return recorder.run(model, images_BCHW)
    except PackError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
        alone = "; a packed network takes one image and nothing else" if isinstance(error, TypeError) else ""
        raise PackError(
            f"{recorder.place}the model cannot take images of shape {tuple(input_shape)} (C, H, W): {cause}{alone}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def noise(model: nn.Module, count: int, input_shape: tuple[int, int, int]) -> Tensor:
    """``count`` noise images, contiguous (B, C, H, W), with the dtype and device of the model's first parameter."""
    first = next(model.parameters(), torch.zeros(()))
    images_BCHW = np.random.default_rng(0).standard_normal((count, *input_shape), dtype=np.float32)
    return torch.from_numpy(images_BCHW).to(first.device, first.dtype)


class _Recorder(TorchFunctionMode):
    """Records every PyTorch function while active, and every module through hooks."""

    def __init__(self, names: dict[nn.Module, str]) -> None:
        super().__init__()
        self.names = names
        self.calls: list[Call] = []
        self.counts: Counter[str] = Counter()
        self.around: list[nn.Module] = []  # the modules whose forward runs, from the outside in
        self.held: Any = WeakTensorKeyDictionary()  # tensor -> (its value, its version when it was made)
        self.running: tuple[Call, _Versions] | None = None  # the layer inside which nothing is recorded

    def run(self, model: nn.Module, images_BCHW: Tensor) -> Trace:
        self._hold(images_BCHW, Value(tuple(images_BCHW.shape), True))
        with self:
            output = model(images_BCHW)
        return Trace(self.calls, self._values_for(output, "the model's result"))

    @property
    def place(self) -> str:
        """Where the run is, for a message: "layer1.0: " or nothing."""
        name = self.names[self.around[-1]] if self.around else ""
        return f"{name}: " if name else ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.running is not None or not self._depends(args, kwargs):
            return func(*args, **kwargs)
        what, attribute = _function_name(func)
        call, versions = self._begin(what, None, args, kwargs)
        call.func = func
        out = func(*args, **kwargs)
        results = _tensors(out)
        if results or _changed(versions):
            if what not in _LIKE:
                self._end(call, results, versions)
        elif not (attribute or what in _FACTS or (what.startswith("is_") and what not in _READS_VALUES)):
            raise PackError(
                f"{self.place}forward looks at values that depend on the image ({what}); it must not branch on tensor "
                "values, nor compute with them outside of tensors: use shapes, or layers"
            )
        return out

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Hook before each module's forward."""
        if self.running is not None:
            return
        with torch._C.DisableTorchFunction():
            if is_layer(module) and self._depends(args, kwargs):
                self.running = self._begin(type(module).__name__, module, args, kwargs)
        self.around.append(module)

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Hook after each module's forward."""
        if self.running is not None and self.running[0].layer is not module:
            return
        while self.around.pop() is not module:
            pass  # modules whose forward ended in an error that the model caught
        if self.running is not None:
            with torch._C.DisableTorchFunction():
                self._end(self.running[0], _tensors(output), self.running[1])
            self.running = None

    def _depends(self, args: Any, kwargs: Any) -> bool:
        """Whether any argument depends on the image."""
        return any(x in self.held for x in _tensors((args, kwargs)))

    def _begin(self, what: str, layer: nn.Module | None, args: Any, kwargs: Any) -> tuple[Call, _Versions]:
        """The call, with values for tensors, and the versions of all its argument tensors."""
        around = self.names[self.around[-1]] if self.around else ""
        name = (layer is not None and self.names[layer]) or what  # the model itself has no name
        call = Call(name, what, layer, (), {}, around)
        call.args, call.kwargs = (self._values_for(x, str(call)) for x in (args, kwargs))
        return call, [(x, _version(x)) for x in _tensors((args, kwargs))]

    def _end(self, call: Call, results: list[Tensor], versions: _Versions) -> None:
        """Record the call: from now on its results, and the tensors that it modified, are values."""
        if call.layer is None:
            call.name = self._numbered(call.what)
        changed = [x for x in _changed(versions) if all(x is not result for result in results)]
        for x in (*results, *changed):
            value = Value(tuple(x.shape), x.is_floating_point(), call, alone=len(results) <= 1)
            call.results.append(value)
            self._hold(x, value)
        self.calls.append(call)

    def _numbered(self, name: str) -> str:
        """``name``, with the next number appended if a function or a layer already has it."""
        while True:
            count = self.counts[name]
            self.counts[name] += 1
            numbered = f"{name}_{count}" if count else name
            if numbered not in self.names.values():
                return numbered

    def _hold(self, x: Tensor, value: Value) -> None:
        self.held[x] = (value, _version(x))

    def _values_for(self, x: Any, user: str) -> Any:
        """``x`` with values for the tensors that depend on the image."""

        def change(entry: Any) -> Any:
            if not isinstance(entry, Tensor) or entry not in self.held:
                return entry
            value, version = self.held[entry]
            if _version(entry) != version:
                raise PackError(
                    f"{user} takes a tensor that was changed in place through another one that shares its memory (a "
                    "view or a slice); write that change as one that makes a new tensor"
                )
            return value

        return _mapped(x, change)


def _version(x: Tensor) -> int:
    """Version counter of ``x``, which in-place operations increment; inference tensors have none."""
    return 0 if x.is_inference() else x._version


def _changed(versions: _Versions) -> list[Tensor]:
    """The tensors modified in place since then."""
    return [x for x, version in versions if _version(x) != version]


def _function_name(func: Any) -> tuple[str, bool]:
    """Name of a PyTorch function without underscores, so that ``relu`` and ``relu_`` are equal, and whether it is an
    attribute.
    """
    name = getattr(func, "__name__", str(func))
    if name == "__get__":
        return (resolve_name(func) or "").split(".")[-2], True
    return name.partition(".")[0].strip("_"), False


def _entries(x: Any) -> Iterator[Any]:
    """The leaves of nested lists, tuples and dictionaries."""
    if isinstance(x, dict):
        for entry in x.values():
            yield from _entries(entry)
    elif isinstance(x, list | tuple):
        for entry in x:
            yield from _entries(entry)
    else:
        yield x


def _tensors(x: Any) -> list[Tensor]:
    return [entry for entry in _entries(x) if isinstance(entry, Tensor)]


def _mapped(x: Any, change: Callable[[Any], Any]) -> Any:
    """The same nested structure with every leaf mapped; named tuples become tuples."""
    if isinstance(x, dict):
        return {key: _mapped(entry, change) for key, entry in x.items()}
    if isinstance(x, list | tuple):
        return [_mapped(entry, change) for entry in x] if isinstance(x, list) else tuple(_mapped(e, change) for e in x)
    return change(x)
