"""Bi-Real-18 in Larq Compute Engine, for the report of ``networks.py``; needs an environment of its own (2.3 GB).

    python3.11 -m venv lce
    lce/bin/pip install larq-compute-engine==0.16.0 larq tensorflow-cpu==2.16.2 tf_keras==2.16.0
    lce/bin/python benchmarks/lce.py --out lce.jsonl
    .venv/bin/python benchmarks/networks.py --also lce.jsonl

The network is untrained and built here layer by layer like ours: sign, 3x3 binary convolution, norm, shortcut around
each; 7x7 stem, 1x1 convolutions behind average pools in the shortcuts.  "indirect" is the interpreter's other way to
multiply bits.  Each row is checked: 16 binary convolutions in the converted file, finite logits.  Both are timed in
turn: a tenth of a second with one, then the next; the first call of each turn is not counted.
"""

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # larq knows no later one
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import larq
import larq_compute_engine
import numpy as np
import tensorflow as tf
from larq_compute_engine.tflite.python.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated

PACKAGES = ("larq-compute-engine", "larq", "tensorflow-cpu")
WAYS = {"LCE": {}, "LCE, indirect": {"use_indirect_bgemm": True}}
TURN = 0.1  # seconds


def binary(x: Any, channels: int, stride: int) -> Any:
    """norm(binary convolution(sign(x))) + shortcut, weights scaled by their means."""
    shortcut = x
    if stride > 1:
        shortcut = tf.keras.layers.AvgPool2D(2, 2, padding="same")(x)
        shortcut = tf.keras.layers.Conv2D(channels, 1, use_bias=False)(shortcut)
        shortcut = tf.keras.layers.BatchNormalization()(shortcut)
    signs = {"input_quantizer": "approx_sign", "kernel_quantizer": larq.quantizers.MagnitudeAwareSign()}
    x = larq.layers.QuantConv2D(channels, 3, stride, padding="same", pad_values=1.0, use_bias=False, **signs)(x)
    return tf.keras.layers.BatchNormalization()(x) + shortcut


def bireal18() -> Any:
    """(B, 224, 224, 3) -> 1000 logits (arXiv:1808.00278)."""
    image = x = tf.keras.layers.Input((224, 224, 3))
    x = tf.keras.layers.Conv2D(64, 7, 2, padding="same", use_bias=False)(x)
    x = tf.keras.layers.BatchNormalization()(x)
    x = tf.keras.layers.MaxPool2D(3, 2, padding="same")(x)
    for index, channels in enumerate((64, 128, 256, 512)):
        for layer in range(4):
            x = binary(x, channels, 2 if index and not layer else 1)
    x = tf.keras.layers.GlobalAvgPool2D()(x)
    return tf.keras.Model(image, tf.keras.layers.Dense(1000)(x))


def binary_convolutions(model: bytes) -> int:
    """How many of the file's operators are binary convolutions."""
    root = schema_py_generated.Model.GetRootAs(model)
    graph = root.Subgraphs(0)
    codes = [root.OperatorCodes(index).CustomCode() for index in range(root.OperatorCodesLength())]
    operators = [graph.Operators(index).OpcodeIndex() for index in range(graph.OperatorsLength())]
    return sum(codes[operator] == b"LceBconv2d" for operator in operators)


def measure(model: bytes, image: Any, threads: int, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of the counted calls of each way; SystemExit for an answer that is none."""
    ways = {name: Interpreter(model, num_threads=threads, **options) for name, options in WAYS.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for name, interpreter in ways.items():
        logits = interpreter.predict(image)
        if logits.shape != (1, 1000) or not np.isfinite(logits).all():
            raise SystemExit(f"{name} answers {logits.shape}: not timing a wrong answer")
    deadline = time.perf_counter() + seconds * len(ways)
    while time.perf_counter() < deadline or min(map(len, times.values())) < 11:
        for name, interpreter in ways.items():
            end = time.perf_counter() + TURN
            interpreter.predict(image)
            while True:
                start = time.perf_counter()
                interpreter.predict(image)
                times[name].append((time.perf_counter() - start) * 1e3)
                if time.perf_counter() >= end:
                    break
    return times


def main() -> None:
    """Build, convert, measure, write the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=5.0, help="per row and number of threads")
    parser.add_argument("--out", type=Path, default=Path("lce.jsonl"), help="file of the lines, written anew")
    arguments = parser.parse_args()
    model = larq_compute_engine.convert_keras_model(bireal18())
    count = binary_convolutions(model)
    if count != 16:
        raise SystemExit(f"the converted file has {count} binary convolutions, not 16")
    image = np.random.default_rng(0).standard_normal((1, 224, 224, 3)).astype(np.float32)
    facts = {"network": "Bi-Real-18", "numbers": "1-bit", "input": "3x224x224", "batch": 1}
    facts |= {"runs_as": "16 LceBconv2d", "file_bytes": len(model), "versions": {p: version(p) for p in PACKAGES}}
    lines = []
    for threads in arguments.threads:
        for name, times in measure(model, image, threads, arguments.seconds).items():
            found = {"median_ms": float(np.median(times)), "p90_ms": float(np.quantile(times, 0.9))}
            found |= {"fastest_ms": min(times), "count": len(times)}
            lines.append({"engine": name, "threads": threads, **facts, **found})
            print(json.dumps(lines[-1]))
    arguments.out.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
