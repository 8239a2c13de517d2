"""The interface through which handlers write nodes into a draft; maps traced values to values of the draft."""

from __future__ import annotations

from typing import Any

from onebit.export.draft import Draft, DraftNode, PackError, Step
from onebit.export.moves import Arrangement, as_it_is, forms
from onebit.export.steps import threshold_of
from onebit.export.trace import Call, Value


class Emitter:
    """Collects the nodes of a draft.

    A handler is a function of the emitter, the call, and the called layer or the arguments of the function.  It appends
    nodes and returns the name of the draft value that holds the result of the call.

    Args:
        weighted: names of all convolutions and linear layers, in execution order.
    """

    def __init__(self, weighted: list[str]) -> None:
        self.first: str = weighted[0] if weighted else ""
        self.last: str = weighted[-1] if weighted else ""
        self._nodes: list[DraftNode] = []
        self._places: dict[Value, str] = {}
        self._arranged: dict[Value, Arrangement] = {}
        self._names: set[str] = set()
        self._bits: dict[tuple[str, str, bytes], str] = {}  # (float value, rule, thresholds) -> value of its bits

    def put(self, value: Value, name: str) -> None:
        """Record which value of the draft holds the traced ``value``."""
        self._places[value] = name

    def arrange(self, call: Call, results: list[Arrangement]) -> None:
        """Record that the results of ``call`` hold elements of other values; they are moved once a node takes one."""
        self._arranged |= dict(zip(call.results, results, strict=True))

    def arranged(self, call: Call) -> Arrangement:
        """Where the elements of the first argument of ``call`` come from."""
        return self._arranged.get(call.input) or as_it_is(call.input, call)

    def where(self, value: Value) -> str:
        """The value of the draft that holds the traced ``value``."""
        if value not in self._places:
            arranged = self._arranged[value]
            place = self.where(arranged.base)
            for form in forms(arranged):
                place = self.node(
                    arranged.call, form.op, inputs=[place], attrs=form.attrs, tensors=form.tensors, source=form.source
                )
            self._places[value] = place
        return self._places[value]

    def take(self, call: Call, value: Any) -> str:
        """The same for an argument of ``call``; PackError if it is not a traced value."""
        if not isinstance(value, Value):
            raise PackError(
                f"{call}: {call.what} takes something that does not depend on the image, or that is computed where "
                "packing cannot see it; this has no packed form"
            )
        return self.where(value)

    def node(
        self,
        call: Call,
        op: str,
        steps: list[Step] | None = None,
        *,
        source: str = "",
        name: str = "",
        inputs: list[str] | None = None,
        **fields: Any,
    ) -> str:
        """Append a node, and return the name of its output value after ``steps``.

        Args:
            source: class or function for the report; by default that of the call.
            name: name of the node; by default that of the call.
            inputs: input values; by default the first argument of the call.
            fields: additional fields of :class:`DraftNode`.
        """
        unique = self._unique(name or call.name)
        inputs = [self.take(call, call.input)] if inputs is None else inputs
        epilogue = [*(steps or []), {"step": "store", "output": f"{unique}:out"}]
        self._nodes.append(DraftNode(unique, op, inputs, epilogue=epilogue, source=source or call.what, **fields))
        return f"{unique}:out"

    def bits(self, call: Call, inputs: Any) -> str:
        """The bits that the binarizer ``inputs`` computes from the input of ``call``; computed once and shared."""
        taken, threshold = self.take(call, call.input), threshold_of(inputs)
        key = (taken, inputs.rule, b"" if threshold is None else threshold.tobytes())
        if key not in self._bits:
            unique = self._unique(f"{call.name}.input")
            step = {"step": "binarize", "rule": inputs.rule, "output": f"{unique}:bits"}
            if threshold is not None:
                step["threshold"] = threshold
            self._nodes.append(DraftNode(unique, "elementwise", [taken], epilogue=[step], source="binarizer"))
            self._bits[key] = f"{unique}:bits"
        return self._bits[key]

    def draft(self, output: str) -> Draft:
        """All nodes, as a network with the output value ``output``."""
        return Draft(self._nodes, output)

    def _unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self._names:
            count += 1
            candidate = f"{name}#{count}"
        self._names.add(candidate)
        return candidate
