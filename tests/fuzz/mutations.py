"""Packed files that lie: small networks of every op, altered in the container, in the document or in the tensors, and
what may come of reading and running one.
"""

import copy
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import save

from onebit.format.errors import FormatError
from onebit.format.file import content_hash, load_graph, to_bytes
from onebit.format.graph import Graph, validate
from onebit.format.summary import summarize
from onebit.runtime.engine import Engine
from onebit.runtime.reference import ReferenceEngine
from onebit.runtime.selftest import block_network, pixel_network, small_network

GOLDEN = Path(__file__).parent.parent / "golden"
WILD = (
    None, True, False, 0, -1, 1, 2, 3, 16, 32, 33, 65535, 65536, 65537, 2**31, 2**32, 2**40, 2**63, 10**30, 0.5, 1e300,
    -0.0, "", "x", "image", "a", "sign", "step", "store", "bits", "float32", "float16", "\0", "\ud800", [], [[]],
    {}, {"x": 1}, [0, 0], [1, 1], [2, 3], [65536, 65536], [2**40, 1],
)  # fmt: skip
DTYPES = (np.float32, np.uint32, np.int32, np.float64, np.float16, np.uint8, np.int8, np.int64, np.bool_)
STORED = {"F32": "<f4", "U32": "<u4", "I32": "<i4", "I8": "|i1"}


def seeds() -> list[bytes]:
    """The golden files and small networks that have every op between them."""
    golden = [path.read_bytes() for path in sorted(GOLDEN.glob("*.onebit"))]
    return [*golden, *(to_bytes(network) for network in (small_network(1), block_network(), pixel_network()))]


def split(data: bytes) -> tuple[dict, dict]:
    """Document and tensors of a packed file, without any check; ValueError and the like where it is none."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    document = json.loads(header.pop("__metadata__")["onebit"])
    body = data[8 + length :]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(body[begin:end], STORED[entry["dtype"]]).reshape(entry["shape"]).copy()
    return document, tensors


def join(document: Any, tensors: dict, honest_hash: bool) -> bytes:
    """The file of any document and tensors; with a hash that fits, so that what is wrong must itself be noticed."""
    if honest_hash and isinstance(document, dict):
        document.pop("content_hash", None)
        known = {name: value for name, value in tensors.items() if value.dtype.str in STORED.values()}
        document["content_hash"] = content_hash(document, known)
    return save(tensors, metadata={"onebit": json.dumps(document)})


def mutate(data: bytes, random: Random) -> bytes:
    """The file with one to four changes of one kind."""
    kind = random.choice(("container", "document", "document", "document", "tensors"))
    try:
        document, tensors = split(data)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        kind = "container"
    for _ in range(random.choice((1, 1, 1, 1, 2, 4))):
        if kind == "container":
            data = change_bytes(data, random)
        elif kind == "document":
            change_document(document, random)
        else:
            change_tensors(tensors, random)
    return data if kind == "container" else join(document, tensors, random.random() < 0.95)


def change_bytes(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    if random.random() < 0.5:  # in the header, which holds the sizes
        at = random.randrange(min(len(data), 2000) + 1)
    few = random.randint(1, 8)
    return random.choice(
        (
            data[:at],
            data[:at] + random.randbytes(few) + data[at + few :],
            data[:at] + random.randbytes(few) + data[at:],
            data[:at] + data[at + few :],
            data[:at] + random.choice((b"0", b"9", b"99999999999", b"-1", b'"', b"}", b"\xff\xff")) + data[at + 1 :],
            struct.pack("<Q", random.choice((0, 1, 2**20, 2**40, 2**63, 2**64 - 1))) + data[8:],
        )
    )


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def change_document(document: dict, random: Random) -> None:
    all_places = list(places(document))
    if not all_places:
        return
    holder, key = random.choice(all_places)
    other_holder, other_key = random.choice(all_places)
    match random.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 2:
            holder[key] = copy.deepcopy(other_holder[other_key])
        case 3 if isinstance(holder[key], int | float):
            holder[key] += random.choice((-1, 1, 32, 65536))
        case 4:
            swapped = [p for p in all_places if isinstance(p[0][p[1]], type(holder[key]))]
            other_holder, other_key = random.choice(swapped)
            mine, its = copy.deepcopy(holder[key]), copy.deepcopy(other_holder[other_key])
            holder[key] = its
            if key in holder if isinstance(holder, dict) else key < len(holder):
                other_holder[other_key] = mine
        case _:
            holder[key] = copy.deepcopy(random.choice(WILD))


def change_tensors(tensors: dict, random: Random) -> None:
    if not tensors:
        return
    name = random.choice(sorted(tensors))
    value = tensors[name]
    match random.randrange(6):
        case 0:
            del tensors[name]
        case 1:
            tensors[name] = tensors[random.choice(sorted(tensors))]
        case 2:
            with np.errstate(all="ignore"):
                tensors[name] = value.astype(random.choice(DTYPES))
        case 3:
            shape = list(value.shape)
            if shape:
                shape[random.randrange(len(shape))] = random.choice((0, 1, 2, 33))
            tensors[name] = np.resize(value, shape)
        case 4:
            tensors[name] = value.reshape(random.choice(((-1,), (1, *value.shape), value.shape[::-1])))
        case 5 if value.size:
            words = value.reshape(-1).view(f"V{value.itemsize}")
            words[random.randrange(len(words))] = np.void(random.randbytes(value.itemsize))


def is_small(graph: Graph) -> bool:
    """Whether to run the network takes little time and memory."""
    elements = sum(int(np.prod(value.shape)) for value in validate(graph).values())
    padding = [side for node in graph.nodes for side in (*node.attrs.get("padding", ()), *node.attrs.get("kernel", ()))]
    costs = summarize(graph, 0)
    return elements < 1 << 20 and max(padding, default=0) < 64 and costs.macs + costs.bops < 1 << 26


def check(data: bytes, path: Path) -> str:
    """Reads and runs a file: "refused", "read" if it is too large to run, or "ran".

    Any exception is a finding: reading may only raise FormatError, and what was read must run, in the core as in the
    reference.
    """
    path.write_bytes(data)
    try:
        graph = load_graph(path)
    except FormatError:
        return "refused"
    if not is_small(graph):
        return "read"
    spec = graph.input
    images = np.random.default_rng(0).integers(0, 256, (1, spec.height, spec.width, spec.channels), np.uint8)
    with np.errstate(all="ignore"):
        want = ReferenceEngine(graph).run(images)
    got = Engine(graph, threads=2).run(images)
    assert got.shape == want.shape
    return "ran"
