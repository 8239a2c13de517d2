"""From a PyTorch model to a draft: trace a run, then dispatch each call of a layer or a function to its handler.

Nothing is optimized here: every layer becomes its own node, every norm and activation an elementwise node; the passes
of ``fuse.py`` follow.  The handlers are in ``layers.py``, ``convolutions.py`` and ``functions.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from onebit.export.checks import check_forward
from onebit.export.draft import Draft, PackError
from onebit.export.emitter import Emitter
from onebit.export.functions import FUNCTIONS, MENDS, NAMES, WEIGHTED
from onebit.export.layers import MODULES
from onebit.export.moves import arrange, moves
from onebit.export.trace import Call, Value, trace

Result = TypeVar("Result")


def capture(model: nn.Module, input_shape: tuple[int, int, int]) -> Draft:
    """Trace ``model`` (in eval mode) on images of ``input_shape`` = (C, H, W) into a draft.

    Raises PackError if the model cannot take the shape, or contains something without a packed form.
    """
    traced = trace(model, input_shape)
    output, calls = traced.output, traced.needed()
    if not isinstance(output, Value):
        raise PackError(f"the model must return one tensor that depends on its image, but it returns {_kind(output)}")
    image = next((value for call in calls for value in call.values() if value.call is None), output)
    emit = Emitter([call.name for call in calls if _is_weighted(call)])
    emit.put(image, "image")
    for call in calls:
        if moves(call):
            emit.arrange(call, _guarded(call, arrange, call, emit.arranged(call)))
            continue
        where = _emitted(emit, call)
        for value in call.results:
            emit.put(value, where)
    if emit.where(output) == "image":
        raise PackError("the model computes nothing from its input")
    draft = emit.draft(emit.where(output))
    draft.output_is_map = output.shape[2:] == (1, 1)
    return draft


def _is_weighted(call: Call) -> bool:
    return isinstance(call.layer, nn.Conv2d | nn.Linear) or (call.layer is None and call.what in WEIGHTED)


def _emitted(emit: Emitter, call: Call) -> str:
    """Run the handler of the call and return its value; errors name the call."""
    handler = _handler(call)
    if not call.results[0].alone:
        raise PackError(f"{call}: {_named(call)} returns several tensors, which has no packed form")
    return _guarded(call, handler, emit, call)


def _guarded(call: Call, work: Callable[..., Result], *args: Any) -> Result:
    """``work(*args)``; errors name the call."""
    try:
        return work(*args)
    except PackError:
        raise
    except Exception as error:
        raise PackError(
            f"{call}: packing {_named(call)} failed ({type(error).__name__}: {error}); replace it by another form of "
            "the same, and report this"
        ) from error


def _handler(call: Call) -> Callable[[Emitter, Call], str]:
    layer, supported = call.layer, ", ".join(sorted({kind.__name__ for kind in MODULES}))
    mend = MENDS.get(call.what.lower().replace("_", ""), f"replace it by one of {supported}")
    if layer is None:
        function = FUNCTIONS.get(call.what)
        if function is None:
            raise PackError(f"{call}: {_named(call)} has no packed form; {mend}")
        try:
            bound = inspect.signature(function).bind(None, call, *call.args, **call.kwargs)
        except TypeError as error:
            raise PackError(f"{call}: {_named(call)} is called in a way that has no packed form: {error}") from None
        return lambda emit, call: function(emit, *bound.args[1:], **bound.kwargs)
    kind = next((kind for kind in type(layer).__mro__ if kind in MODULES), None)
    if kind is None:
        raise PackError(f"{call}: {call.what} has no packed form; {mend}")
    check_forward(call.name, layer, kind)
    if len(call.args) + len(call.kwargs) != 1:
        raise PackError(f"{call}: {call.what} is called with more than one tensor, which has no packed form")
    return lambda emit, call: MODULES[kind](emit, call, layer)


def _named(call: Call) -> str:
    """Name of the called function or class; operators get a readable one."""
    return NAMES.get(call.what, call.what)


def _kind(output: object) -> str:
    if isinstance(output, tuple | list | dict):
        return f"a {type(output).__name__} of {len(output)}; pack a module whose forward returns one of them"
    return f"a {type(output).__name__} that does not depend on it"
