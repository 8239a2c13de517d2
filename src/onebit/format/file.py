"""Reading and writing packed files; docs/format.md specifies the layout."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.files import write_atomic
from onebit.format.container import SPELLING, parse_json, read_container, write_container
from onebit.format.errors import FormatError, refusal, shown
from onebit.format.graph import FLOAT, Fit, Graph, InputSpec, Node, validate
from onebit.format.ops import OPS

VERSION = 2  # the newest that is read; a file has the oldest one that has all its ops
_PART = 1 << 26  # bytes that are hashed at once: Ctrl-C is heard in between
_FIELDS = ("format", "version", "bit_order", "input", "classes", "nodes", "output", "provenance", "content_hash")
_INPUT_FIELDS = ("name", "height", "width", "channels", "mean", "std", "color")
_INPUT_DEFAULTS = {"type": FLOAT, "fit": None}  # fields that are absent where they say no more than this
_FIT_FIELDS = ("resize", "crop_pct")
_NODE_FIELDS = ("name", "op", "inputs", "attrs", "tensors", "epilogue", "source", "note")


def to_bytes(graph: Graph) -> bytes:
    """The packed file of ``graph`` as bytes; FormatError if the graph does not validate."""
    validate(graph)
    document = _document(graph)
    document["content_hash"] = content_hash(document, graph.tensors)
    return write_container(json.dumps(document, separators=(",", ":")), graph.tensors)


def save_graph(graph: Graph, path: str | os.PathLike[str]) -> int:
    """Write ``graph`` to ``path`` atomically; return the size in bytes."""
    data = to_bytes(graph)
    write_atomic(path, data)
    return len(data)


def load_graph(path: str | os.PathLike[str]) -> Graph:
    """Read and validate a packed file.

    Takes as much memory as the file, and during reading up to thirty times the size of the header.

    Raises FileNotFoundError or another OSError if the file cannot be read, and FormatError, with the field, the value
    found and the values allowed, if it is not a valid packed network of this version.
    """
    path = os.fspath(path)
    try:
        text, tensors = read_container(path)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    return parse(text, tensors, str(path))


def parse(text: str, tensors: Mapping[str, NDArray[Any]], where: str = "file") -> Graph:
    """Build and validate the graph that the JSON document ``text`` and ``tensors`` describe."""
    try:
        document = parse_json(text)
        _require(document, _FIELDS, "document", optional=("output_is_map",))
        _expect(document, "format", "onebit")
        version = document["version"]
        if type(version) is not int or not 1 <= version <= VERSION:
            raise refusal("version", version, f"1 to {VERSION}, by this version of onebit")
        _expect(document, "bit_order", "lsb-first")
        found = content_hash({k: v for k, v in document.items() if k != "content_hash"}, tensors)
        if document["content_hash"] != found:
            raise FormatError(
                f"content_hash: found {shown(document['content_hash'])}, but the content gives {found!r}: altered"
            )
        graph = _graph(document, tensors)
        validate(graph)
        if version != (needed := version_of(graph)):
            raise refusal("version", version, f"{needed}, that of its ops")
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None
    except RecursionError:
        raise FormatError(f"{where}: document: nested too deeply") from None
    return graph


def content_hash(document: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """The hash of docs/format.md over the document (without ``content_hash``) and the tensors."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii"))
    for name in sorted(tensors):
        tensor = tensors[name]
        dtype = SPELLING.get(tensor.dtype.name)
        if dtype is None:
            raise refusal(f"tensor {name!r}", tensor.dtype.name, ", ".join(SPELLING))
        digest.update(f"{name}\0{dtype}\0{'x'.join(map(str, tensor.shape))}\0".encode())
        octets = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)
        for start in range(0, len(octets), _PART):
            digest.update(octets[start : start + _PART].data)
    return "sha256:" + digest.hexdigest()


def version_of(graph: Graph) -> int:
    """The oldest version of the format that has all ops of ``graph``."""
    return max(OPS[node.op].since for node in graph.nodes)


def _document(graph: Graph) -> dict[str, Any]:
    nodes = [{name: getattr(node, name) for name in _NODE_FIELDS} for node in graph.nodes]
    plain = json.loads(
        json.dumps({"input": asdict(graph.input), "nodes": nodes, "provenance": dict(graph.provenance)}, default=dict)
    )
    for name, default in _INPUT_DEFAULTS.items():
        if plain["input"][name] == default:
            del plain["input"][name]
    optional = {"output_is_map": True} if graph.output_is_map else {}
    return {
        "format": "onebit",
        "version": version_of(graph),
        "bit_order": "lsb-first",
        "input": plain["input"],
        "classes": None if graph.classes is None else list(graph.classes),
        "nodes": plain["nodes"],
        "output": graph.output,
        "provenance": plain["provenance"],
        **optional,
    }


def _graph(document: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Graph:
    _require(document["input"], _INPUT_FIELDS, "input", optional=tuple(_INPUT_DEFAULTS))
    image = dict(document["input"])
    if "fit" in image:
        _require(image["fit"], _FIT_FIELDS, "input.fit")
        image["fit"] = Fit(**image["fit"])
    if not isinstance(document["nodes"], list):
        raise FormatError(f"nodes: found {type(document['nodes']).__name__}; allowed: a list")
    for index, node in enumerate(document["nodes"]):
        _require(node, _NODE_FIELDS, f"nodes[{index}]")
    if not isinstance(document["output"], str):
        raise refusal("output", document["output"], "a string")
    if not isinstance(document["provenance"], dict):
        raise FormatError(f"provenance: found {type(document['provenance']).__name__}; allowed: an object")
    return Graph(
        input=InputSpec(**image),
        nodes=tuple(Node(**node) for node in document["nodes"]),
        output=document["output"],
        tensors=tensors,
        classes=tuple(classes) if isinstance(classes := document["classes"], list) else classes,
        provenance=document["provenance"],
        output_is_map=document.get("output_is_map", False),
    )


def _require(value: object, fields: tuple[str, ...], where: str, optional: tuple[str, ...] = ()) -> None:
    if not isinstance(value, dict):
        raise FormatError(f"{where}: found {type(value).__name__}; allowed: an object")
    if set(value) - set(optional) != set(fields):
        also = f", and {', '.join(optional)}" if optional else ""
        raise FormatError(
            f"{where}: found the fields {shown(sorted(value), 200)}; allowed: exactly {sorted(fields)}{also}"
        )


def _expect(document: Mapping[str, Any], field: str, wanted: object) -> None:
    found = document[field]
    if type(found) is not type(wanted) or found != wanted:
        raise refusal(field, found, repr(wanted))
