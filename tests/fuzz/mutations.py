"""Packed files that lie: small networks of every op, altered in the container, in the document or in the tensors, and
what may come of reading and running one.
"""

import contextlib
import copy
import json
import re
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
from onebit.runtime.selftest import block_network, moving_network, pixel_network, small_network

GOLDEN = Path(__file__).parent.parent / "golden"
NUMBERS = (
    0, -1, 1, 2, 3, 16, 32, 33, 65535, 65536, 65537, 2**31, 2**32, 2**40, 2**53 + 1, 2**63, 10**30, 0.5, -0.0, 1e-46,
    -1e-300, 1e38, 3.4028235e38, 3.5e38, -3.5e38, 1e300,
)  # fmt: skip
TEXTS = (
    "", "x", "image", "a", "sign", "step", "store", "bits", "float32", "float16", "\0", "a\0b", "\ud800", "x\udfff",
    "\n", "\x1b[31m", "\u202e", "\r\nroot", "__metadata__", "nodes[0]", "\N{SNOWMAN}", "\U0001f600",
    "x" * 1024, "x" * 5000,
)  # fmt: skip
OTHERS = (
    None, True, False, [], [[]], {}, {"x": 1}, {"": {}}, {"\ud800": 0}, [0, 0], [1, 1], [2, 3], [65536, 65536],
    [2**40, 1], ["x"] * 200,
)  # fmt: skip
WILD = (*NUMBERS, *TEXTS, *OTHERS)
# What no JSON value of Python stands for: written where the text behind the mark stands.
MARK = "raw JSON: "
RAW = (
    "1e400", "-1e400", "NaN", "-Infinity", "1e-400", "9" * 400, "9" * 5000, "0." + "1" * 3000, "01", "'x'",
    "[" * 40 + "]" * 40, "[" * 2000 + "]" * 2000, '{"x":' * 900 + "1" + "}" * 900, '{"x":1,"x":2}', '"\\ud800"',
)  # fmt: skip
PROVENANCE = ("model", "model_options", "num_classes", "scheme", "dataset", "recipe", "seed", "accuracy")
DTYPES = (np.float32, np.uint32, np.int32, np.float64, np.float16, np.uint8, np.int8, np.int64, np.bool_)
STORED = {"F32": "<f4", "U32": "<u4", "I32": "<i4", "I8": "|i1"}


def seeds() -> list[bytes]:
    """The golden files and small networks that have every op between them."""
    golden = [path.read_bytes() for path in sorted(GOLDEN.glob("*.onebit"))]
    return [*golden, *map(to_bytes, (small_network(1), block_network(), pixel_network(), moving_network()))]


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


def raw(text: str) -> str:
    """JSON in which every text that begins with the mark has become what stands behind it."""
    return re.sub(f'"{MARK}((?:[^"\\\\]|\\\\.)*)"', lambda found: json.loads(f'"{found[1]}"'), text)


def join(document: Any, tensors: dict, honest_hash: bool) -> bytes:
    """The file of any document and tensors; with a hash that fits, so that what is wrong must itself be noticed."""
    if honest_hash and isinstance(document, dict):
        document.pop("content_hash", None)
        known = {name: value for name, value in tensors.items() if value.dtype.str in STORED.values()}
        plain = document
        with contextlib.suppress(ValueError, RecursionError):
            plain = json.loads(raw(json.dumps(document)))
        with contextlib.suppress(ValueError, RecursionError):  # a number or a name that nobody can write
            document["content_hash"] = content_hash(plain, known)
    utf8 = {name.encode("utf-8", "replace").decode(): tensor for name, tensor in tensors.items()}
    return save(utf8, metadata={"onebit": raw(json.dumps(document))})


def mutate(data: bytes, random: Random) -> bytes:
    """The file with one to four changes of one kind."""
    change = random.choice((*CHANGES, change_document, change_document, change_bytes))
    count = random.choice((1, 1, 1, 1, 2, 4))
    if change is not change_bytes:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
            document, tensors = split(data)
            for _ in range(count):
                change(document, tensors, random)
            return join(document, tensors, random.random() < 0.95)
    for _ in range(count):  # also where nothing but its bytes can be changed
        data = change_bytes(data, random)
    return data


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


def change_document(document: dict, tensors: dict, random: Random) -> None:
    """A field is cut, doubled, swapped, or becomes anything."""
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


def change_leaf(document: dict, tensors: dict, random: Random) -> None:
    """A number becomes another one, a text another one, either what JSON can write and Python cannot."""
    kind = random.choice((int | float, str))
    leaves = [(holder, key) for holder, key in places(document) if isinstance(holder[key], kind)]
    if leaves:
        holder, key = random.choice(leaves)
        wild = NUMBERS if kind is not str else TEXTS
        holder[key] = random.choice((random.choice(wild), MARK + random.choice(RAW)))


def change_name(document: dict, tensors: dict, random: Random) -> None:
    """A node, a value or a tensor is called something else wherever it is named."""
    texts = sorted({holder[key] for holder, key in places(document) if isinstance(holder[key], str)})
    if not texts:
        return
    old, new = random.choice(texts), random.choice((*TEXTS, *texts))
    for holder, key in places(document):
        if holder[key] == old:
            holder[key] = new
    if old in tensors:
        tensors[new] = tensors.pop(old)


def change_facts(document: dict, tensors: dict, random: Random) -> None:
    """Provenance or classes become odd."""
    if random.random() < 0.2:
        document["classes"] = [random.choice(TEXTS) for _ in range(random.choice((1, 2, 5, 10)))]
    facts = document.get("provenance")
    if not isinstance(facts, dict):
        facts = document["provenance"] = {}
    wild = (*WILD, MARK + random.choice(RAW))
    facts[random.choice((*PROVENANCE, *TEXTS))] = random.choice((random.choice(wild), {"width": random.choice(wild)}))


def change_tensors(document: dict, tensors: dict, random: Random) -> None:
    """A tensor is missing, another one, or of another type, shape or content."""
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


CHANGES = (change_document, change_leaf, change_name, change_facts, change_tensors)


def is_small(graph: Graph) -> bool:
    """Whether to run the network takes little time and memory."""
    elements = sum(int(np.prod(value.shape)) for value in validate(graph).values())
    padding = [side for node in graph.nodes for side in (*node.attrs.get("padding", ()), *node.attrs.get("kernel", ()))]
    costs = summarize(graph, 0)
    return elements < 1 << 20 and max(padding, default=0) < 64 and costs.macs + costs.bops < 1 << 26


def check(data: bytes, path: Path) -> str:
    """Reads and runs a file: "refused", "read" if it is too large to run, or "ran".

    Any exception is a finding: reading may only raise FormatError, and what was read must be written again, be
    described and run, in the core as in the reference.
    """
    path.write_bytes(data)
    try:
        graph = load_graph(path)
    except FormatError:
        return "refused"
    assert to_bytes(graph)
    facts = {"table": str(summarize(graph, len(data))), "classes": graph.classes, "provenance": graph.provenance}
    json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()
    if not is_small(graph):
        return "read"
    spec = graph.input
    images = np.random.default_rng(0).integers(0, 256, (1, spec.height, spec.width, spec.channels), np.uint8)
    with np.errstate(all="ignore"):
        want = ReferenceEngine(graph).run(images)
    engine = Engine(graph, threads=2, keep_values=True)
    got = engine.run(images)
    assert got.shape == want.shape
    assert set(engine.values()) == set(graph.values) - {spec.name}
    return "ran"
