"""The safetensors container: eight bytes with the length of the header, a JSON header, and the bytes of the tensors.

The safetensors package writes it.  This module reads it, because the package's reader aborts the process when it runs
out of memory, which a packed file must never cause.  Nothing is allocated before the header is known to match the file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.errors import FormatError, refusal

MAX_HEADER = 1 << 23  # bytes: some fifty thousand nodes; a parsed document takes up to thirty times as much
MAX_DIMENSIONS = 8
DTYPES = {"F32": "float32", "U32": "uint32", "I32": "int32", "I8": "int8"}  # in safetensors' spelling
SPELLING = {ours: theirs for theirs, ours in DTYPES.items()}
_HINT = "a .onebit file is a safetensors file: copy it again or pack the model again"


def write_container(text: str, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """A file with the document ``text`` and ``tensors``; FormatError if its header would exceed the limit."""
    from safetensors.numpy import save  # only who writes waits for it

    data = save({name: np.ascontiguousarray(t) for name, t in tensors.items()}, metadata={"onebit": text})
    _check_length(int.from_bytes(data[:8], "little"), len(data))
    return data


def read_container(path: str | os.PathLike[str]) -> tuple[str, dict[str, NDArray[Any]]]:
    """Read the document and the tensors, as read-only arrays, of the file ``path``.

    Raises OSError if the file cannot be read, and FormatError if it is not such a container.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        _check_length(length, size)
        header = _header(file.read(length))
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not isinstance(metadata.get("onebit"), str):
            found = sorted(metadata) if isinstance(metadata, dict) else metadata
            raise refusal("metadata", found, "a key 'onebit' with the document; pack the model again")
        layout = {name: _layout(name, entry) for name, entry in header.items()}
        _check_layout(layout, size - 8 - length)
        tensors = {}
        for name, (dtype, shape, begin, _) in layout.items():
            tensor = np.empty(shape, dtype)
            file.seek(8 + length + begin)
            if file.readinto(tensor.reshape(-1).view(np.uint8).data) != tensor.nbytes:  # it shrank meanwhile
                raise FormatError(f"truncated: tensor {name!r} ends after the end of the file; {_HINT}")
            tensor.flags.writeable = False
            tensors[name] = tensor
    return metadata["onebit"], tensors


def parse_json(text: str | bytes) -> Any:
    """``json.loads`` for untrusted input: FormatError for invalid JSON, duplicate keys, NaN, infinity, numbers outside
    float64 or int64, and excessive nesting.
    """
    hooks: Any = {"parse_constant": _refuse_constant, "parse_float": _finite, "parse_int": _whole}
    try:
        return json.loads(text, object_pairs_hook=_object, **hooks)
    except RecursionError:
        raise FormatError("nested too deeply") from None
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(f"not JSON ({error})") from None


def _refuse_constant(text: str) -> float:
    raise refusal("number", text, "finite numbers")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise refusal("number", text, "numbers that a float64 holds")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        raise refusal("number", text, "integers that an int64 holds")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise FormatError(f"the key {twice!r} comes twice")
    return found


def _check_length(length: int, size: int) -> None:
    if size < 10 or length > size - 8:
        raise FormatError(f"not a packed file, or a truncated one (found {size} bytes); {_HINT}")
    if length > MAX_HEADER:
        raise refusal("header", f"{length} bytes", f"at most {MAX_HEADER}")


def _header(data: bytes) -> dict[str, Any]:
    try:
        header = parse_json(data)
    except FormatError as error:
        raise FormatError(f"not a packed file, or an altered one (header: {error}); {_HINT}") from None
    if not isinstance(header, dict):
        raise FormatError(f"not a packed file, or an altered one (header: no object); {_HINT}")
    return header


def _layout(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, first byte and end of a tensor."""
    where = f"tensor {name!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise refusal(where, entry, "an object of dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise refusal(f"{where}.dtype", dtype, ", ".join(DTYPES))
    for field, numbers, allowed in (
        ("shape", shape, f"at most {MAX_DIMENSIONS} integers from 1"),
        ("data_offsets", offsets, "where its bytes begin and where they end"),
    ):
        lowest = 1 if field == "shape" else 0
        if not isinstance(numbers, list) or not all(type(number) is int and number >= lowest for number in numbers):
            raise refusal(f"{where}.{field}", numbers, allowed)
    if len(shape) > MAX_DIMENSIONS:
        raise refusal(f"{where}.shape", shape, f"at most {MAX_DIMENSIONS} integers from 1")
    wanted = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if len(offsets) != 2 or offsets[1] - offsets[0] != wanted:
        raise refusal(f"{where}.data_offsets", offsets, f"where its {wanted} bytes begin and where they end")
    return DTYPES[dtype], tuple(shape), offsets[0], offsets[1]


def _check_layout(layout: Mapping[str, tuple[str, tuple[int, ...], int, int]], size: int) -> None:
    """Check that tensors are contiguous, without gap or overlap, from the header to the end of the file."""
    at = 0
    for name, (_, _, begin, end) in sorted(layout.items(), key=lambda item: item[1][2:]):
        if begin != at:
            raise refusal(f"tensor {name!r}.data_offsets", [begin, end], f"to begin where others end, at {at}")
        at = end
    if at != size:
        raise FormatError(f"truncated or altered: found {size} bytes of tensors, the header names {at}; {_HINT}")
