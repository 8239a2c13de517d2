"""One network in several numbers and engines: accuracy, latency, file, memory and cold start of each, in one table.

The 1-bit network is a packed file.  Its counterpart, the float network of the same architecture, comes from a run that
trained it, or has random weights: then it has a latency and no accuracy.  The int8 networks are the counterpart,
quantized after training by the engines' own tools.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onebit.engines.base import Calibration, Prepared, Refused, cold, prepare, versions
from onebit.engines.energy import EnergyMeter
from onebit.engines.onebit import prepare_graph
from onebit.engines.timed import timed, warning
from onebit.engines.twin import float_twin
from onebit.fields import short
from onebit.format.graph import Graph, InputSpec
from onebit.format.ops import OPS
from onebit.nn import as_scheme
from onebit.runtime.cpu import describe
from onebit.runtime.images import normalize
from onebit.runtime.model import Model
from onebit.runtime.parity import output_error
from onebit.tasks import Task
from onebit.train.artifact import load_trained, task_of
from onebit.train.teacher import differences

CALIBRATION_IMAGES = 256  # training images that choose the ranges of int8 activations
FP32_ERROR = 1e-3  # of an answer in fp32, relative to torch's
TURN = 0.1  # seconds with one row, then the next
OURS = "onebit"

Row = dict[str, Any]  # what was measured of one line of the table

# What the packed network may be compared with -> the rows, (engine, numbers)
SIDES: dict[str, tuple[tuple[str, str], ...]] = {
    "float": (("torch", "fp32"), ("OpenVINO", "fp32"), ("ONNX Runtime", "fp32")),
    "int8": (("OpenVINO", "int8"), ("ONNX Runtime", "int8")),
}
INT8_NEEDS = (("openvino", "nncf", "onnx"), ("onnxruntime", "onnx"))  # packages of either engine


@dataclass(frozen=True)
class Counterpart:
    """The float network; ``run`` is the folder of the run that trained it, None for random weights."""

    network: nn.Module
    run: str | None


def counterpart_of(model: Model, run: str | None) -> Counterpart:
    """The float network of the architecture of a packed one.

    Raises ValueError for a run of another network, of binary layers, or on other data; without a run, for a file that
    does not tell its architecture.
    """
    if run is None:
        twin, why = float_twin(model)
        if twin is None:
            raise ValueError(f"there is no float network to compare with: {why}")
        return Counterpart(twin, None)
    network, meta = load_trained(run)
    task, facts = task_of(meta), model.graph.provenance
    if not as_scheme(meta["scheme"], **meta["scheme_options"]).is_float:
        raise ValueError(
            f"the run in {run!r} trained binary layers (scheme {meta['scheme']!r}); name a run of the same recipe "
            "with --scheme float"
        )
    if facts.get("model") is None:
        raise ValueError("the file does not name its model, so no float run can be told to be of the same network")
    options = {**task.model_arguments(meta), **meta["options"]}
    told = {"model": facts["model"], "dataset": facts.get("dataset"), **task.description_of(model.graph)}
    trained = {**meta, "dataset": meta["provenance"].get("dataset")}
    found = list(differences({name: value for name, value in told.items() if value is not None}, trained))
    if facts.get("model_options", options) != options:
        found.append(("model_options", facts["model_options"], options))
    for name, packed, other in found:
        raise ValueError(
            f"the float run in {run!r} is not of the same network: its {name} is {short(other)}, the 1-bit network's "
            f"{short(packed)}; train the recipe of the 1-bit network with --scheme float"
        )
    module, _ = task.packing(network, meta)
    return Counterpart(module, run)


@dataclass(frozen=True)
class Examples:
    """The data set that the networks are scored on; ``data`` is None where it is not at hand, for the reason
    ``why_not``.
    """

    name: str
    task: Task
    description: dict[str, Any]
    dataset: str | None
    data: Any
    why_not: str
    limit: int | None

    def scores(self, answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> dict[str, Any]:
        """{task, images, score, and the scores by name} of what computes outputs from pixels (N, H, W, C)."""
        found = self.task.evaluate_packed(answer, self.data, self.description, limit=self.limit)
        return {"task": self.name, "images": found.examples, "score": self.task.main, **found.values}

    def calibration(self, spec: InputSpec) -> Calibration | None:
        """Training images, spread evenly; None without data."""
        if self.data is None:
            return None
        pixels_NHWC, _ = self.task.examples(self.data, "train", CALIBRATION_IMAGES)
        return Calibration(_images(pixels_NHWC, spec))


def examples_of(graph: Graph, data_dir: Path | None, limit: int | None, *, needed: bool) -> Examples:
    """The data set that the file names; if it is ``needed``, what is missing raises as in ``Task.load_for``."""
    facts = {"task": "classification", "task_options": {}, **graph.provenance}
    task, dataset = task_of(facts), facts.get("dataset")
    description = task.description_of(graph)
    data, why_not = None, ""
    try:
        if dataset is None:
            raise ValueError("the file does not say which data set it was trained on")
        data = task.load_for(description, dataset, data_dir)
    except (ValueError, OSError) as error:
        if needed:
            raise
        why_not = str(error)
    return Examples(facts["task"], task, description, dataset, data, why_not, limit)


def _images(pixels_NHWC: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """Normalized images (N, C, H, W)."""
    return np.ascontiguousarray(normalize(pixels_NHWC, spec.mean, spec.std).transpose(0, 3, 1, 2))


def answers(prepared: Prepared, spec: InputSpec, batch: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A function from pixels (N, H, W, C) to outputs, by batches of the size that was prepared."""

    def answer(pixels_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        images_NCHW, outputs = _images(pixels_NHWC, spec), []
        for first in range(0, len(images_NCHW), batch):
            part = images_NCHW[first : first + batch]
            full = part if len(part) == batch else np.resize(part, (batch, *part.shape[1:]))
            outputs.append(np.array(prepared.compute(full))[: len(part)])  # a copy: the engine may reuse its own
        return np.concatenate(outputs)

    return answer


def compare(
    graph: Graph,
    *,
    sides: Sequence[str],
    float_run: str | None = None,
    data_dir: Path | None = None,
    limit: int | None = None,
    threads: int = 1,
    batch: int = 1,
    seconds: float = 1.0,
    max_memory: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure a packed network and its counterparts on this machine.

    Args:
        graph: the packed network.
        sides: names in ``SIDES``.
        float_run: folder of the run that trained the float network of the same architecture.
        data_dir, limit: folder of the data set; only so many of its test images.
        threads: latencies are measured with one thread and with so many.
        batch: images per call.
        seconds: measurement of one row with one number of threads.
        max_memory: as in :func:`onebit.load`.
        say: takes a line about what is being done.

    Returns {machine, versions, batch, dataset, float_run, calibration, rows, notes}; a row has engine, numbers,
    runs_as, latency (one entry per number of threads: times in milliseconds), scores or None, file_bytes, cold,
    energy_mj per image or None, difference from torch's answers; or skipped, why there is none of these.

    Raises ValueError before anything is measured: see :func:`counterpart_of` and :func:`examples_of`.
    """
    if "int8" in sides and not any(all(map(find_spec, packages)) for packages in INT8_NEEDS):
        needs = ", or ".join(f"{', '.join(packages[:-1])} and {packages[-1]}" for packages in INT8_NEEDS)
        raise ValueError(f'int8 needs {needs}: pip install "onebit[bench]"')
    if not any(OPS[node.op].runs_as == "1-bit" for node in graph.nodes):
        raise ValueError("the network has no 1-bit layer; name the 1-bit network, and the float one as float=RUN")
    model, spec = Model(graph, threads=threads, max_memory=max_memory), graph.input
    counterpart = counterpart_of(model, float_run)
    examples = examples_of(graph, data_dir, limit, needed=data_dir is not None or float_run is not None)
    calibration = examples.calibration(spec) if "int8" in sides else None
    pixels = np.random.default_rng(0).integers(0, 256, (batch, spec.height, spec.width, spec.channels), np.uint8)
    image_BCHW = _images(pixels, spec)
    with torch.inference_mode():
        want = counterpart.network(torch.from_numpy(image_BCHW)).numpy()

    def ready(row: Row, count: int) -> Prepared:
        """The row with so many threads; Refused also where it computes fp32 wrong."""
        if row["engine"] == OURS:
            return prepare_graph(graph, image_BCHW, threads=count, max_memory=max_memory)
        numbers, options = row["numbers"], {"calibration": calibration} if row["numbers"] == "int8" else {}
        found = prepare(row["engine"], counterpart.network, image_BCHW, threads=count, numbers=numbers, **options)
        row["difference"] = output_error(want, found.run(), norm=2)
        if numbers == "fp32" and not row["difference"] <= FP32_ERROR:
            raise Refused(f"wrong: its answer differs from torch's by {row['difference']:.2g} of it")
        return found

    names = [(OURS, "1-bit"), *(row for side in SIDES if side in sides for row in SIDES[side])]
    rows: list[Row] = [{"engine": engine, "numbers": numbers, "latency": []} for engine, numbers in names]
    say("latency, 1 thread")
    work = _timed(rows, ready, 1, seconds)
    meter = EnergyMeter()
    for row, each in work:
        say(f"cold start: {_name(row)}")
        row |= {"runs_as": each.runs_as, **_details(each, meter, batch)}
    if threads > 1:
        say(f"latency, {threads} threads")
        work = _timed(rows, ready, threads, seconds)
    for row, each in work:
        row["scores"] = None
        if examples.data is not None and (row["engine"] == OURS or counterpart.run is not None):
            say(f"accuracy: {_name(row)}")
            row["scores"] = examples.scores(model if row["engine"] == OURS else answers(each, spec, batch))
    busy = [latency["outside_cores"] for row in rows for latency in row["latency"]]
    return {
        "machine": describe(),
        "versions": versions(),
        "threads": threads,
        "batch": batch,
        "dataset": examples.dataset,
        "float_run": counterpart.run,
        "calibration": None if calibration is None else len(calibration.images_NCHW),
        "rows": rows,
        "notes": _notes(examples, counterpart, calibration, meter, sides, busy),
    }


def _timed(
    rows: list[Row], ready: Callable[[Row, int], Prepared], threads: int, seconds: float
) -> list[tuple[Row, Prepared]]:
    """Prepare the rows and add their latencies, all timed in turn; returns those that can be measured."""
    work: list[tuple[Row, Prepared]] = []
    for row in rows:
        if "skipped" not in row:
            try:
                work.append((row, ready(row, threads)))
            except Refused as why:
                row["skipped"] = str(why)
    times = timed({_name(row): each.run for row, each in work}, seconds=seconds * len(work), stay=TURN)
    for row, _ in work:
        row["latency"].append({"threads": threads, **times[_name(row)]})
    return work


def _name(row: Row) -> str:
    return f"{row['engine']}, {row['numbers']}"


def _details(prepared: Prepared, meter: EnergyMeter, batch: int) -> dict[str, Any]:
    """Bytes of the file, cold start and energy, as far as they can be measured."""
    found: dict[str, Any] = {"file_bytes": None, "cold": None, "energy_mj": None}
    if prepared.fresh is not None:
        try:
            found["cold"] = cold(prepared.fresh, threads=1)
            found["file_bytes"] = found["cold"].pop("file_bytes")
        except RuntimeError as error:
            found["cold_failed"] = str(error)
    if not meter.why_not:
        found["energy_mj"] = 1e3 * meter.per_call(prepared.run) / batch
    return found


def _notes(
    examples: Examples,
    counterpart: Counterpart,
    calibration: Calibration | None,
    meter: EnergyMeter,
    sides: Sequence[str],
    busy: list[float | None],
) -> list[str]:
    """What a reader of the table must know, one sentence each."""
    notes = []
    if counterpart.run is None:
        what = "fp32 and int8 rows have" if len(sides) == 2 else f"{'int8' if 'int8' in sides else 'fp32'} rows have"
        notes.append(
            f"the {what} random weights: latency, file and memory alone. Train the same recipe with --scheme float and "
            "name its run, --against float=RUN, for their accuracy"
        )
    if examples.why_not:
        notes.append(f"accuracy is not measured: {examples.why_not}")
    if "int8" in sides:
        source = "8 images of noise" if calibration is None else f"{len(calibration.images_NCHW)} training images"
        notes.append(f"int8: quantized after training, ranges from {source}")
    notes.append(
        f"energy is not measured: {meter.why_not}"
        if meter.why_not
        else "energy: of all CPU packages, what idles and other processes included"
    )
    if noise := warning(busy):
        notes.append(noise.replace("**", ""))
    return notes
