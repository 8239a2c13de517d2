"""Passes over a draft: steps move into epilogues, norms and signs become integer thresholds.

In order: elementwise nodes move into the node that produces their input; a channel shuffle after a binary convolution
becomes part of it; a pool of integers whose only readers binarize it becomes a pool of bits; monotonic steps that end
in bits become one integer threshold per channel; adjacent affine steps are merged.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.export.draft import Draft, DraftNode, Step
from onebit.format.bits import is_low, pack_bits
from onebit.format.graph import BITS
from onebit.format.ops import OPS
from onebit.format.steps import STEPS


def fuse(draft: Draft) -> Draft:
    """Run all passes on ``draft``, in place; the function that the network computes does not change."""
    _absorb_all(draft)
    for node in [n for n in draft.nodes if OPS[n.op].folds_as is not None]:
        _fold_shuffle(draft, node)
    draft.sort()
    for node in list(draft.nodes):
        if BITS in OPS[node.op].counterparts:
            _pool_bits(draft, node)
    for node in draft.nodes:
        if OPS[node.op].exact:
            _integer_threshold(node)
        _merge_affine(node)
    return draft


# ---------------------------------------------------------------------------------------------------------------
# Elementwise nodes move into their producer
# ---------------------------------------------------------------------------------------------------------------


def _absorb_all(draft: Draft) -> None:
    """Absorb until nothing changes.  Nodes that only write bits come first, since they do not change the current
    result.
    """
    changed = True
    while changed:
        changed = False
        candidates = sorted((n for n in draft.nodes if OPS[n.op].identity), key=_changes_value)
        for node in candidates:
            if _absorb(draft, node):
                changed = True
                break


def _changes_value(node: DraftNode) -> bool:
    return any(STEPS[step["step"]].writes is None for step in node.epilogue)


def _absorb(draft: Draft, node: DraftNode) -> bool:
    """Move the steps of ``node`` into the epilogue of a node that writes one of its inputs, if possible."""
    hosts = [(draft.writer(node.input), node.input, node.epilogue)]
    if node.epilogue and node.epilogue[0]["step"] == "add":  # an addition has two sides; either may be the host
        other = node.epilogue[0]["input"]
        swapped = [{"step": "add", "input": node.input}, *node.epilogue[1:]]
        hosts.append((draft.writer(other), other, swapped))
        hosts.sort(key=lambda h: _rank(draft, h[0]), reverse=True)
    for host, value, steps in hosts:
        if host is None or host is node or not _ends_with(host, value):
            continue
        reads = [step["input"] for step in steps if STEPS[step["step"]].reads]
        if value in reads or any(draft.depends(name, host) for name in reads):
            continue
        draft.nodes.remove(node)
        host.epilogue.extend(_mapped(steps, partial(np.tile, reps=host.positions)))
        if value != draft.output and not draft.readers(value):
            host.epilogue = [s for s in host.epilogue if not (s["step"] == "store" and s["output"] == value)]
        return True
    return False


def _rank(draft: Draft, host: DraftNode | None) -> int:
    """Priority of an operand of an addition to absorb the other: binary convolutions, also with a shuffle after them,
    before float convolutions before the rest.
    """
    if host is None:
        return -1
    folded = _shuffled_convolution(draft, host)
    return OPS[(folded or host).op].add_rank


def _mapped(steps: list[Step], change: Callable[[NDArray[Any]], NDArray[Any]]) -> list[Step]:
    """The steps with a function applied to every per-channel table."""
    return [
        {key: change(entry) if isinstance(entry, np.ndarray) else entry for key, entry in step.items()}
        for step in steps
    ]


def _ends_with(host: DraftNode, value: str) -> bool:
    """Whether ``host`` stores ``value`` and it is still the current result at the end of the epilogue."""
    for step in reversed(host.epilogue):
        if step["step"] == "store" and step["output"] == value:
            return True
        if STEPS[step["step"]].writes is None:
            return False
    return False


def _of_one_variable(steps: list[Step]) -> bool:
    return all(STEPS[step["step"]].of_one_variable for step in steps)


# ---------------------------------------------------------------------------------------------------------------
# A shuffle behind a binary convolution
# ---------------------------------------------------------------------------------------------------------------


def _shuffled_convolution(draft: Draft, shuffle: DraftNode) -> DraftNode | None:
    """The binary convolution whose output only ``shuffle`` reads, with only unary steps between them; else None."""
    attribute, conv = OPS[shuffle.op].folds_as, draft.writer(shuffle.input)
    if attribute is None or conv is None or attribute not in OPS[conv.op].optional or attribute in conv.attrs:
        return None
    *steps, store = conv.epilogue
    plain = store["step"] == "store" and _of_one_variable(steps)
    alone = len(draft.readers(shuffle.input)) == 1 and shuffle.input != draft.output
    return conv if plain and alone else None


def _fold_shuffle(draft: Draft, shuffle: DraftNode) -> None:
    """Let the convolution write its channels in shuffled order: permute its tables, and append the steps of the
    shuffle.
    """
    conv = _shuffled_convolution(draft, shuffle)
    if conv is None:
        return
    groups = shuffle.attrs["groups"]
    steps = _mapped(conv.epilogue[:-1], lambda table: table.reshape(groups, -1).T.reshape(-1))
    conv.epilogue = [*steps, *shuffle.epilogue]
    conv.attrs[str(OPS[shuffle.op].folds_as)] = groups
    draft.nodes.remove(shuffle)


# ---------------------------------------------------------------------------------------------------------------
# Integers that only feed bits
# ---------------------------------------------------------------------------------------------------------------


def _taps(node: DraftNode) -> int:
    """K, the length of one binary dot product: sums lie in [-K, K]."""
    _, rows, columns, _ = node.tensors["weight"].shape
    return int(rows * columns * node.depth)


def _replay(steps: list[Step], sums_S1: NDArray[Any]) -> NDArray[np.float32]:
    """The float32 result of the steps, computed as in PyTorch, for every possible sum: (S, C)."""
    y = sums_S1.astype(np.float32)
    for step in steps:
        if step.get("fused"):  # rounded once
            y = (step["scale"].astype(np.float64) * y + step["bias"]).astype(np.float32)
        else:
            y = STEPS[step["step"]].reference(y, **{key: field for key, field in step.items() if key != "step"})
    return y


def _threshold(steps: list[Step], binarize: Step, taps: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]] | None:
    """Per channel (below, flip) with ``low(sum) = (sum < below) xor flip``, or None if a channel is not monotonic.

    ``low`` is the result of the step ``binarize`` after ``steps``, with its rule and thresholds.

    The steps are evaluated on all integers in [-taps, taps] in float32, so the threshold includes the rounding of the
    trained network.
    """
    sums = np.arange(-taps, taps + 1)
    low_SC = is_low(_replay(steps, sums[:, None]), binarize["rule"], binarize.get("threshold", 0.0))
    flip_C = ~low_SC[0]  # a channel that starts high is low above its threshold: the flipped case
    starts_SC = low_SC ^ flip_C  # True up to the one change, if there is one
    length_C = starts_SC.argmin(axis=0)  # first False; 0 where all are True
    length_C = np.where(starts_SC.all(axis=0), len(sums), length_C)
    if (starts_SC.sum(axis=0) != length_C).any():
        return None
    return (length_C - taps).astype(np.int32), flip_C


def _only_bits(node: DraftNode) -> tuple[list[Step], Step] | None:
    """Split an epilogue into unary steps and a final binarize; None if it contains anything else."""
    *steps, last = node.epilogue
    return (steps, last) if last["step"] == "binarize" and _of_one_variable(steps) else None


def _integer_threshold(node: DraftNode) -> None:
    """Replace steps that end in bits by one integer threshold per channel."""
    split = _only_bits(node)
    if split is None:
        return
    steps, last = split
    found = _threshold(_for_channels(steps, node), last, _taps(node))
    if found is not None:
        below, flip = found
        words = pack_bits(flip.reshape(node.positions, -1)).reshape(-1)
        node.epilogue = [{"step": "threshold", "output": last["output"], "below": below, "flip": words}]


def _for_channels(steps: list[Step], node: DraftNode) -> list[Step]:
    """Broadcast to one column per channel, for epilogues without a per-channel step."""
    full = np.ones(len(node.tensors["weight"]), np.float32)
    return [{"step": "affine", "scale": full, "bias": 0 * full}, *steps]


def _pool_bits(draft: Draft, pool: DraftNode) -> None:
    """Replace convolution -> max pool -> steps -> bits by convolution -> threshold -> pool of bits.

    If the steps increase, ``low(max s) = all low(s)``; if they decrease, ``low(max s) = any low(s)``, which is the flip
    of bit_max_pool2d.  The steps between convolution and pool must not decrease.
    """
    conv, split = draft.writer(pool.input), _only_bits(pool)
    if conv is None or not OPS[conv.op].exact or split is None or len(draft.readers(pool.input)) != 1:
        return
    *before, store = conv.epilogue
    if conv.positions != 1 or pool.input == draft.output or store["step"] != "store" or not _of_one_variable(before):
        return
    taps = _taps(conv)
    inner = _replay(_for_channels(before, conv), np.arange(-taps, taps + 1)[:, None])
    if (np.diff(inner, axis=0) < 0).any():
        return
    steps, last = split
    found = _threshold(_for_channels([*before, *steps], conv), last, taps)
    if found is None:
        return
    below, flip = found
    bits = f"{conv.name}:bits"
    conv.epilogue = [{"step": "threshold", "output": bits, "below": below, "flip": pack_bits(flip)}]
    pool.op, pool.inputs, pool.tensors = OPS[pool.op].counterparts[BITS], [bits], {"flip": pack_bits(flip)}
    pool.epilogue = [{"step": "store", "output": last["output"]}]


# ---------------------------------------------------------------------------------------------------------------
# Affine steps
# ---------------------------------------------------------------------------------------------------------------


def _merge_affine(node: DraftNode) -> None:
    """Merge adjacent affine steps, and remove those without effect."""
    merged: list[Step] = []
    for is_affine, run in groupby(node.epilogue, key=lambda step: step["step"] == "affine"):
        steps = list(run)
        merged += [_joined(steps)] if is_affine else steps
    node.epilogue = [
        s for s in merged if not (s["step"] == "affine" and (s["scale"] == 1).all() and (s["bias"] == 0).all())
    ]


def _joined(steps: list[Step]) -> Step:
    """Merge several affine steps into one.

    If the first one maps levels of -1 and +1 to 0 and 1, ``y = (sum + total)/2``, the bias is rounded such that ``y =
    0`` stays exactly 0, as in PyTorch.  Zeros are common there, and a sign may follow.
    """
    first, *others = steps
    halves = bool((first["scale"] == 0.5).all())
    scale = first["scale"].astype(np.float64)
    rest = np.zeros_like(scale) if halves else first["bias"].astype(np.float64)
    for step in others:
        scale, rest = scale * step["scale"], rest * step["scale"] + step["bias"]
    scale, rest = scale.astype(np.float32), rest.astype(np.float32)
    bias = scale * (2 * first["bias"]) + rest if halves else rest
    return {"step": "affine", "scale": scale, "bias": bias}
