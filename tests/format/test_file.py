"""The packed file: what is written is read back; every way to damage it is refused by name, and none crashes."""

import copy
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import onebit
from onebit.format.errors import FormatError
from onebit.format.file import content_hash, load_graph, parse, save_graph, to_bytes
from onebit.format.graph import Fit, Graph
from onebit.format.ops import OPS
from onebit.runtime.reference import ReferenceEngine
from onebit.runtime.selftest import block_network, pixel_network, small_network


def parts(graph: Graph) -> tuple[dict, dict]:
    """The document and the tensors of a small valid file."""
    data = to_bytes(graph)
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["onebit"]), dict(graph.tensors)


FILES = {"small": parts(small_network()), "blocks": parts(block_network()), "pixels": parts(pixel_network())}
DOCUMENT, TENSORS = FILES["small"]


def read(document: dict, tensors: dict) -> Graph:
    """Read a document whose hash is made to fit, so that the field itself has to be refused."""
    document = {k: v for k, v in document.items() if k != "content_hash"}
    document["content_hash"] = content_hash(document, tensors)
    return parse(json.dumps(document), tensors)


@pytest.mark.parametrize("network", [small_network, block_network, pixel_network])
def test_round_trip(tmp_path, network):
    graph = network()
    size = save_graph(graph, tmp_path / "a.onebit")
    back = load_graph(tmp_path / "a.onebit")
    assert size == (tmp_path / "a.onebit").stat().st_size
    assert to_bytes(back) == to_bytes(graph)
    assert all(np.array_equal(back.tensors[k], v) for k, v in graph.tensors.items())
    assert ReferenceEngine(back).run(np.zeros((1, 9, graph.input.width, 3), np.uint8)).shape == (1, 1, 1, 5)


def test_every_op_is_in_one_of_the_networks():
    assert {node["op"] for document, _ in FILES.values() for node in document["nodes"]} == set(OPS)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], "other", "format: found 'other'; allowed: 'onebit'"),
        (["version"], 2, "version: found 2; allowed: 1"),
        (["version"], True, "version: found True; allowed: 1"),
        (["bit_order"], "msb-first", "bit_order"),
        (["input", "height"], 0, r"input.height: found 0; allowed: a whole number from 1"),
        (["input", "height"], 2**20, r"input.height: found 1048576"),
        (["input", "height"], 8.5, r"input.height: found 8.5"),
        (["input", "mean"], [0.5], r"input.mean: found \[0.5\]; allowed: 3 numbers"),
        (["input", "std"], [1, 0, 1], "input.std: .* allowed: numbers above 0"),
        (["input", "color"], "BGR", "input.color: found 'BGR'; allowed: 'RGB'"),
        (["classes"], ["a"], "classes: found '1 labels'; allowed: '?5, one per output"),
        (["classes"], "abcde", "classes: found 'abcde'"),
        (["output"], "e", "output: found 'e'; allowed: the name of a float32 value"),
        (["output"], None, "output: found None"),
        (["provenance"], [], "provenance: found list"),
        (["nodes"], {}, "nodes: found dict"),
        (["nodes"], [], "nodes: found .*at least one node"),
        (["nodes", 0, "op"], "conv3d", r"nodes\[0\] \(stem\).op: found 'conv3d'; allowed: binary_conv2d"),
        (["nodes", 0, "op"], ["conv2d"], r"nodes\[0\] \(stem\).op"),
        (["nodes", 1, "name"], "stem", r"nodes\[1\].name: found 'stem'; allowed: a text that no other node has"),
        (["nodes", 0, "inputs"], ["nowhere"], r"inputs\[0\]: found 'nowhere'; allowed: a value written before: image"),
        (["nodes", 0, "inputs"], ["h"], r"inputs\[0\]: found 'h'"),
        (["nodes", 0, "inputs"], [], r"inputs: found \[\]"),
        (["nodes", 1, "inputs"], ["image"], "found 'image of type float32'; allowed: a value of type bits"),
        (["nodes", 0, "attrs", "stride"], [0, 1], r"attrs.stride: found \[0, 1\]; allowed: two whole numbers from 1"),
        (["nodes", 0, "attrs", "stride"], 1, r"attrs.stride: found 1"),
        (["nodes", 0, "attrs", "groups"], 2, "attrs.groups: found 2; allowed: a divisor of the 3 input channels"),
        (["nodes", 0, "attrs", "dilation"], [9, 9], "sides from 1"),
        (["nodes", 0, "attrs", "more"], 1, r"attrs: found \['more'\]; allowed: only the fields"),
        (["nodes", 1, "attrs", "pad_value"], 2, "pad_value: found 2; allowed: -1 or 0 or 1"),
        (["nodes", 0, "tensors", "weight"], "one.w", r"found 'uint32 \[40, 3, 3, 2\]'; allowed: float32"),
        (["nodes", 0, "tensors", "weight"], "none", "weight: found 'none'"),
        (["nodes", 0, "tensors", "weight"], 7, "weight: found 7"),
        (
            ["nodes", 2, "tensors", "flip"],
            "one.w",
            r"\(tensor one.w\): found 'uint32 \[40, 3, 3, 2\]'; allowed: 'uint32 \[2\]'|uint32",
        ),
        (["nodes", 2, "attrs", "padding"], [2, 2], "allowed: at most half of the kernel"),
        (["nodes", 0, "epilogue"], [], "no step that writes"),
        (["nodes", 0, "epilogue", 0, "step"], "softmax", r"epilogue\[0\].step: found 'softmax'"),
        (["nodes", 0, "epilogue", 0, "scale"], "two.bias", r"epilogue\[0\].scale \(tensor two.bias\)"),
        (["nodes", 0, "epilogue", 1, "rule"], "round", "rule: found 'round'; allowed: 'sign' or 'step'"),
        (
            ["nodes", 0, "epilogue", 1, "output"],
            "image",
            "output: found 'image'; allowed: a text that names no other value",
        ),
        (["nodes", 4, "epilogue", 1, "input"], "g", "input: found 'g'"),
        (["nodes", 4, "epilogue", 3, "low"], 4.0, "low: found 4.0; allowed: at most high = 3.0"),
        (["nodes", 4, "epilogue", 3, "low"], "x", "low: found 'x'; allowed: a finite number"),
        (["nodes", 1, "epilogue", 0, "step"], "store", "found"),
        (["nodes", 6, "note"], 5, "note: found 5; allowed: a text"),
    ],
)
def test_every_wrong_field_is_named(path, value, message):
    document = copy.deepcopy(DOCUMENT)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(FormatError, match=message):
        read(document, TENSORS)


def half_document(**step: object) -> dict:
    """A document whose node "scale" stores what ``step`` says."""
    document = copy.deepcopy(FILES["blocks"][0])
    node = next(node for node in document["nodes"] if node["name"] == "scale")
    node["epilogue"][-1].update(step)
    return document


def named(document: dict, name: str) -> dict:
    return next(node for node in document["nodes"] if node["name"] == name)


def test_types_of_stores():
    tensors = FILES["blocks"][1]
    for type in ("float32", "float16"):
        read(half_document(type=type), tensors)
    for type in ("float64", "bits", "uint8", "", None, 16, ["float16"]):
        with pytest.raises(FormatError, match=r"\(scale\).epilogue\[1\].type: .* allowed: 'float32' or 'float16'"):
            read(half_document(type=type), tensors)
    document = half_document()
    named(document, "head")["epilogue"][-1]["type"] = "float16"
    with pytest.raises(FormatError, match="output: found 'm'; allowed: the name of a float32 value"):
        read(document, tensors)
    document = half_document()
    named(document, "mix")["epilogue"][0]["type"] = "float16"
    with pytest.raises(FormatError, match=r"epilogue\[0\]: found \['type'\]; allowed: only the fields high, low, step"):
        read(document, tensors)
    document = half_document()
    named(document, "small")["inputs"] = ["a"]
    with pytest.raises(FormatError, match="found 'a of type float16'; allowed: a value of type bits"):
        read(document, tensors)
    document = copy.deepcopy(DOCUMENT)
    document["nodes"][2]["epilogue"][0]["type"] = "float16"  # behind bit_max_pool2d
    with pytest.raises(FormatError, match="type: found 'float16'; allowed: no type where bits are stored"):
        read(document, TENSORS)
    document = copy.deepcopy(DOCUMENT)
    document["input"]["type"] = "float16"
    with pytest.raises(FormatError, match=r"input.type: found 'float16'; allowed: 'float32' or 'uint8'"):
        read(document, TENSORS)


def test_fit_of_pictures():
    assert "fit" not in DOCUMENT["input"]  # absent where the network does not say
    document, tensors = copy.deepcopy(FILES["pixels"])
    assert document["input"]["fit"] == {"resize": "crop", "crop_pct": 0.875}
    assert read(document, tensors).input.fit == Fit("crop", 0.875)
    for fit, message in (
        ({"resize": "squash", "crop_pct": 1}, r"input.fit.resize: found 'squash'; allowed: 'crop' or 'stretch'"),
        ({"resize": "crop"}, r"input.fit: found the fields \['resize'\]; allowed: exactly \['crop_pct', 'resize'\]"),
        ({"resize": "crop", "crop_pct": 1.5}, r"input.fit.crop_pct: found 1.5; allowed: a number above 0 up to 1"),
        ({"resize": "crop", "crop_pct": 0}, r"input.fit.crop_pct: found 0; allowed: a number above 0"),
        ({"resize": "stretch", "crop_pct": 0.5}, r"input.fit.crop_pct: found 0.5; .* and 1 where nothing is cropped"),
        ("crop", r"input.fit: found str; allowed: an object"),
        (None, r"input.fit: found NoneType; allowed: an object"),
    ):
        document["input"]["fit"] = fit
        with pytest.raises(FormatError, match=message):
            read(document, tensors)


def fields(value: object, path: tuple = ()) -> list[tuple]:
    """Paths of all fields and entries in a JSON value."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in [(*path, k), *fields(v, (*path, k))]]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in [(*path, i), *fields(v, (*path, i))]]
    return []


@pytest.mark.parametrize(
    ("file", "path"),
    [(file, path) for file in FILES for path in fields(FILES[file][0]) if path[0] != "content_hash"],
    ids=str,
)
def test_every_field_cut_or_of_another_type_is_refused(file, path):
    original, tensors = FILES[file]
    for change in ("cut", None, {"x": 1}, [[]], 10**30, -1, "\0"):
        document = copy.deepcopy(original)
        place = document
        for key in path[:-1]:
            place = place[key]
        if change == "cut":
            del place[path[-1]]
        elif place[path[-1]] == change or (
            path[-1] in ("name", "source", "note", "classes") and change in (None, "\0")
        ):
            continue
        else:
            place[path[-1]] = change
        try:
            read(document, tensors)
        except FormatError:
            continue
        optional = path[-1] in ("shuffle", "fit") or path[-3::2] == ("epilogue", "type")
        if change == "cut" and optional:
            continue
        allowed = ("mean", "std", "pad_value", "low", "high", "below", "epilogue", "classes", "provenance")
        assert any(part in allowed for part in path), (path, change)


def test_unused_bits_and_unused_tensors_are_refused():
    tensors = copy.deepcopy(TENSORS)
    tensors["one.w"][0, 0, 0, 1] |= np.uint32(1 << 5)  # channel 37 of 33
    with pytest.raises(FormatError, match="1 in an unused bit"):
        read(DOCUMENT, tensors)
    with pytest.raises(FormatError, match=r"tensors: found \['more'\]"):
        read(DOCUMENT, {**TENSORS, "more": np.zeros(3, np.float32)})
    with pytest.raises(FormatError, match="NaN or infinity"):
        read(DOCUMENT, {**TENSORS, "stem.scale": np.full(33, np.nan, np.float32)})
    with pytest.raises(FormatError, match="found float64"):
        read(DOCUMENT, {**TENSORS, "more": np.zeros(3)})


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 9, 100, 1000, -1, -100])
def test_truncated_files(tmp_path, cut):
    data = to_bytes(small_network())
    (tmp_path / "cut.onebit").write_bytes(data[:cut])
    with pytest.raises(FormatError, match=r"cut\.onebit"):
        load_graph(tmp_path / "cut.onebit")


def test_every_flipped_bit_is_noticed(tmp_path):
    data = bytearray(to_bytes(small_network()))
    rng = np.random.default_rng(0)
    path = tmp_path / "flip.onebit"
    for position in rng.integers(0, len(data), 300):
        altered = bytearray(data)
        altered[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(altered)
        with pytest.raises(FormatError):
            load_graph(path)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_crash(data):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise.onebit")
        path.write_bytes(data)
        with pytest.raises(FormatError):
            load_graph(path)


def test_other_files(tmp_path):
    (tmp_path / "text.onebit").write_text("I am a text, not a network, although I am called one.\n")
    with pytest.raises(FormatError, match="not a packed file"):
        onebit.load(tmp_path / "text.onebit")
    (tmp_path / "weights.onebit").write_bytes(save({"a": np.zeros(2, np.float32)}))
    with pytest.raises(FormatError, match="a key 'onebit'"):
        onebit.load(tmp_path / "weights.onebit")
    (tmp_path / "deep.onebit").write_bytes(save({"a": np.zeros(2)}, metadata={"onebit": "[" * 100_000}))
    with pytest.raises(FormatError):
        onebit.load(tmp_path / "deep.onebit")
    with pytest.raises(FileNotFoundError):
        onebit.load(tmp_path / "missing.onebit")
    with pytest.raises(IsADirectoryError):
        onebit.load(tmp_path)
