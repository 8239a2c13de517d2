"""The packed file: what is written is read back; every way to damage it is refused by name, and none crashes."""

import copy
import json
import struct
from dataclasses import replace

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
from onebit.runtime.selftest import block_network, moving_network, pixel_network, small_network


def parts(graph: Graph) -> tuple[dict, dict]:
    """The document and the tensors of a small valid file."""
    data = to_bytes(graph)
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["onebit"]), dict(graph.tensors)


NETWORKS = {"small": small_network, "blocks": block_network, "pixels": pixel_network, "moves": moving_network}
FILES = {name: parts(network()) for name, network in NETWORKS.items()}
DOCUMENT, TENSORS = FILES["small"]


def read(document: dict, tensors: dict) -> Graph:
    """Read a document whose hash is made to fit, so that the field itself has to be refused."""
    document = {k: v for k, v in document.items() if k != "content_hash"}
    document["content_hash"] = content_hash(document, tensors)
    return parse(json.dumps(document), tensors)


@pytest.mark.parametrize("network", NETWORKS.values())
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
        (["version"], 3, "version: found 3; allowed: 1 to 2, by this version of onebit"),
        (["version"], 0, "version: found 0; allowed: 1 to 2"),
        (["version"], 2, "version: found 2; allowed: 1, that of its ops"),
        (["version"], True, "version: found True; allowed: 1 to 2"),
        (["bit_order"], "msb-first", "bit_order"),
        (["input", "height"], 0, r"input.height: found 0; allowed: an integer from 1"),
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
        (["nodes", 1, "name"], "stem", r"nodes\[1\].name: found 'stem'; allowed: a string, unique among the nodes"),
        (["nodes", 0, "inputs"], ["nowhere"], r"inputs\[0\]: found 'nowhere'; allowed: a value written before: image"),
        (["nodes", 0, "inputs"], ["h"], r"inputs\[0\]: found 'h'"),
        (["nodes", 0, "inputs"], [], r"inputs: found \[\]"),
        (["nodes", 1, "inputs"], ["image"], "found 'image of type float32'; allowed: a value of type bits"),
        (["nodes", 0, "attrs", "stride"], [0, 1], r"attrs.stride: found \[0, 1\]; allowed: two integers from 1"),
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
            "output: found 'image'; allowed: a string, unique among the values",
        ),
        (["nodes", 4, "epilogue", 1, "input"], "g", "input: found 'g'"),
        (["nodes", 4, "epilogue", 3, "low"], 4.0, "low: found 4.0; allowed: at most high = 3.0"),
        (["nodes", 4, "epilogue", 3, "low"], "x", "low: found 'x'; allowed: a finite number"),
        (["nodes", 1, "epilogue", 0, "step"], "store", "found"),
        (["nodes", 6, "note"], 5, "note: found 5; allowed: a string"),
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


def test_a_result_of_one_pixel_may_be_a_map():
    assert "output_is_map" not in DOCUMENT  # absent where it is none
    document, tensors = parts(replace(small_network(), output_is_map=True))
    assert document["output_is_map"] is True
    assert read(document, tensors).output_is_map
    for value in (1, None, "yes"):
        document["output_is_map"] = value
        with pytest.raises(FormatError, match=f"output_is_map: found {value!r}; allowed: True or False"):
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
        attr = path[3] if path[2:3] == ("attrs",) else ""
        free = attr in ("value", "rows", "columns", "channels")  # any number; ends of a slice
        assert free or any(part in allowed for part in path), (path, change)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["nodes", 4, "epilogue", 3, "low"], -1e300, r"low: found -1e\+300; allowed: a finite number, of a float32"),
        (
            ["nodes", 4, "epilogue", 3, "high"],
            10**18 * 10**21,
            "number: found '10*'; allowed: integers that an int64",
        ),
        (["input", "mean"], [0.5, 1e39, 0.5], r"input.mean: found 1e\+39"),
        (
            ["input", "std"],
            [1, 1, 1e-300],
            "input.std: found 1e-300; allowed: numbers above 0, by which .* finite float32",
        ),
        (["input", "std"], [1, 1e-40, 1], "input.std: found 1e-40"),
        (["input", "name"], "", "input.name: found ''; allowed: a string of 1 to 1024 printable characters"),
        (["nodes", 2, "name"], "\ud800", r"nodes\[2\].name: found '\\ud800'; allowed: a string of 1 to 1024 printable"),
        (["nodes", 2, "name"], "a\0b", r"nodes\[2\].name: found 'a\\x00b'"),
        (["nodes", 2, "name"], "a\nb", r"nodes\[2\].name: found 'a\\nb'"),
        (["nodes", 2, "name"], "a\u202eb", r"nodes\[2\].name: found 'a\\u202eb'"),
        (["nodes", 2, "name"], "a" * 1025, r"nodes\[2\].name: found 'aaa.*\.\.\.; allowed"),
        (["nodes", 2, "epilogue", 0, "output"], "\0", r"output: found '\\x00'"),
        (["nodes", 2, "note"], "\udfff", r"note: found '\\udfff'; allowed: a string"),
        (["nodes", 2, "source"], "\udfff", r"source: found '\\udfff'; allowed: a string"),
        (["classes"], ["a", "b", "\ud800", "d", "e"], r"classes\[2\]: found '\\ud800'; allowed: a string"),
        (
            ["provenance"],
            {"a": [1, {"b": "\ud800"}]},
            r"provenance\['a'\]\[1\]\['b'\]: found '\\ud800'; allowed: strings",
        ),
        (["provenance"], {"\ud800": 1}, r"provenance: found '\\ud800'; allowed: strings as the names"),
        (["nodes", 0, "attrs", "stride"], [2**70, 1], "allowed: integers that an int64 holds"),
    ],
)
def test_values_that_something_else_would_stumble_over(path, value, message):
    test_every_wrong_field_is_named(path, value, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"low":-3.0', '"low":-1e400', "number: found '-1e400'; allowed: numbers that a float64 holds"),
        ('"low":-3.0', '"low":NaN', "number: found 'NaN'; allowed: finite numbers"),
        ('"low":-3.0', '"low":-3.0,"low":-2.0', "the key 'low' comes twice"),
        ('"version":1', '"version":1,"version":1', "the key 'version' comes twice"),
        ('"version":1', f'"version":{"1" * 5000}', "number: found '1111"),
        ('"provenance":{}', '"provenance":{"a":' + "[" * 5000 + "]" * 5000 + "}", "nested too deeply"),
        (
            '"provenance":{}',
            '"provenance":{"a":' + "[" * 33 + "]" * 33 + "}",
            r"provenance\['a'\]\[0\].*: found \[\[\]\]; allowed: lists and objects up to 32 deep",
        ),
        ('"provenance":{}', '"provenance":{"a":"', "not JSON"),
    ],
)
def test_json_that_readers_disagree_on(old, new, message):
    text = json.dumps(DOCUMENT, separators=(",", ":"))
    assert old in text
    altered = text.replace(old, new, 1)
    try:
        document = {k: v for k, v in json.loads(altered).items() if k != "content_hash"}
        altered = altered.replace(DOCUMENT["content_hash"], content_hash(document, TENSORS))
    except (ValueError, RecursionError):
        pass
    with pytest.raises(FormatError, match=message):
        parse(altered, TENSORS)


@pytest.mark.parametrize("fact", [float("nan"), float("inf"), object(), {1: 2}, {"a": np.float32(1)}, 2**63, "\ud800"])
def test_facts_that_no_file_can_hold_are_not_written(fact):
    with pytest.raises(FormatError, match=r"provenance\['fact'\].*: found"):
        to_bytes(replace(small_network(), provenance={"fact": fact}))


def test_names_of_tensors():
    tensors = {"": TENSORS["stem.w"], **{name: t for name, t in TENSORS.items() if name != "stem.w"}}
    document = copy.deepcopy(DOCUMENT)
    document["nodes"][0]["tensors"]["weight"] = ""
    with pytest.raises(FormatError, match="tensors, a name of one: found ''; allowed: a string of 1 to 1024"):
        read(document, tensors)


def test_unused_bits_and_unused_tensors_are_refused():
    tensors = copy.deepcopy(TENSORS)
    tensors["one.w"][0, 0, 0, 1] |= np.uint32(1 << 5)  # channel 37 of 33
    with pytest.raises(FormatError, match="1 in an unused bit"):
        read(DOCUMENT, tensors)
    with pytest.raises(FormatError, match=r"tensors: found \['more'\]"):
        read(DOCUMENT, {**TENSORS, "more": np.zeros(3, np.float32)})
    with pytest.raises(FormatError, match="NaN or infinity"):
        read(DOCUMENT, {**TENSORS, "stem.scale": np.full(33, np.nan, np.float32)})
    with pytest.raises(FormatError, match="found 'float64'"):
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


def container(layout: dict, size: int = 8, header: str | None = None) -> bytes:
    """A file of ``size`` bytes of tensors whose header says ``layout``."""
    text = json.dumps({"__metadata__": {"onebit": "{}"}, **layout}) if header is None else header
    return struct.pack("<Q", len(text)) + text.encode() + bytes(size)


def entry(begin: int, end: int, shape: object = None, dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (container({"a": entry(0, 4)}), "truncated or altered: found 8 bytes of tensors, the header names 4"),
        (container({"a": entry(0, 4), "b": entry(8, 12)}, 12), r"tensor 'b'.data_offsets: found \[8, 12\]; .* at 4"),
        (container({"a": entry(0, 8), "b": entry(4, 8)}), r"tensor 'b'.data_offsets: found \[4, 8\]; .* at 8"),
        (container({"a": entry(0, 8, [3])}), r"found \[0, 8\]; allowed: where its 12 bytes begin"),
        (container({"a": entry(0, 8, [2, 0])}), r"tensor 'a'.shape: found \[2, 0\]; .* integers from 1"),
        (container({"a": entry(0, 8, [1] * 9)}), "tensor 'a'.shape: .* at most 8"),
        (container({"a": entry(0, 8, [2.0])}), r"tensor 'a'.shape: found \[2.0\]"),
        (container({"a": entry(0, 8, 2)}), "tensor 'a'.shape: found 2"),
        (container({"a": entry(0, 8, dtype="F64")}), "tensor 'a'.dtype: found 'F64'; allowed: F32, U32, I32, I8"),
        (container({"a": entry(0, 8, dtype=["F32"])}), r"tensor 'a'.dtype: found \['F32'\]"),
        (container({"a": {"dtype": "F32"}}), "tensor 'a': found .*; allowed: an object of dtype, shape"),
        (container({"a": [1]}), r"tensor 'a': found \[1\]"),
        (container({}, header="[]"), "header: no object"),
        (container({}, header='{"a":'), "header: not JSON"),
        (container({}, header='{"a":1,"a":1}'), "header: the key 'a' comes twice"),
        (
            container({}, header='{"__metadata__":{"onebit":1}}'),
            r"metadata: found \['onebit'\]; allowed: a key 'onebit'",
        ),
        (container({}, header='{"__metadata__":3}'), "metadata: found 3; allowed: a key 'onebit'"),
    ],
)
def test_containers(tmp_path, data, message):
    (tmp_path / "a.onebit").write_bytes(data)
    with pytest.raises(FormatError, match=rf"a\.onebit: .*{message}"):
        load_graph(tmp_path / "a.onebit")


def test_what_is_written_can_be_read(tmp_path):
    """A document that a reader would refuse for its length is not written; what was read cannot be changed."""
    with pytest.raises(FormatError, match=r"header: found '.* bytes'; allowed: at most 8388608"):
        to_bytes(replace(small_network(), provenance={"fact": "x" * 2**23}))
    save_graph(small_network(), tmp_path / "a.onebit")
    tensor = load_graph(tmp_path / "a.onebit").tensors["stem.w"]
    with pytest.raises(ValueError, match="read-only"):
        tensor[:] = 0
