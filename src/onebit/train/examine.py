"""What a report says of runs: their records, and what their networks are, answer and cost."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onebit.data import DataError, ImageData
from onebit.fields import check_fields, list_of, mapping, measured, number, one_of, optional, text, whole
from onebit.format.file import load_graph
from onebit.format.graph import Graph
from onebit.format.summary import summarize
from onebit.nn import count_cost
from onebit.report.facts import Answers, Latency, Latents, Layer, RunFacts, Sample
from onebit.report.health import LayerNumbers
from onebit.runtime.model import Model
from onebit.runtime.parity import not_finite
from onebit.runtime.timing import time_in_turn
from onebit.tasks import Classification
from onebit.tasks.images import batches
from onebit.train.artifact import DESCRIPTION, ModelError, load_trained, task_of
from onebit.train.checkpoint import CheckpointError
from onebit.train.deploy import pack_trained
from onebit.train.files import read_json
from onebit.train.record import FORMAT, PACKED, RECORD
from onebit.train.recorder import CHECKPOINTS, LAST
from onebit.train.settings import TrainSettings

# Shape letters: N images, K classes, H W C image.

RULES = {
    "format": one_of(FORMAT),
    "recipe": optional(text()),
    "settings": mapping(),
    "epochs": list_of(mapping()),
    "seconds": number(low=0),
}
BINS = 40  # of a histogram, half of them below 0


def examine_runs(
    folders: Sequence[Path],
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    samples: int = 12,
    seconds: float = 2.0,
    say: Callable[[str], object] = lambda line: None,
) -> list[RunFacts]:
    """Read the runs in ``folders`` and measure their networks.

    A run needs its record; what else is missing is told in its notes.  All that can be refused is refused before
    anything is measured.

    Args:
        data_dir: folder of the data sets.  Where it is given, a data set that cannot be read is an error, else a note.
        limit: answer only the first so many test images.
        samples: how many right and how many wrong answers to show.
        seconds: of timing, for all runs together; 0 for none.
        say: takes a line about what is being done.

    Raises:
        ValueError: a folder that holds no run, or a damaged record; DataError for data sets.
        OSError: a file cannot be read.
    """
    names = _names(folders)
    examined = [_Examined(folder, name) for folder, name in zip(folders, names, strict=True)]
    sets: dict[str, Any] = {}
    for each in examined:
        each.load(data_dir, sets)
    for each in examined:
        if each.network is not None or each.graph is not None:
            images = "" if each.data is None else f", then {limit or 'all'} test images"
            say(f"{each.facts.name}: {'packing' if each.graph is None else 'reading'}{images}")
            each.measure(limit, samples)
    timed = {each.facts.name: each for each in examined if each.graph is not None}
    if timed and seconds:
        say(f"timing {len(timed)} network(s)")
        latencies = _latencies({name: each.graph for name, each in timed.items() if each.graph}, seconds)
        for name, latency in latencies.items():
            timed[name].facts = replace(timed[name].facts, latency=latency)
    return [each.facts for each in examined]


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as tell them apart."""
    paths = [folder.resolve() for folder in folders]
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(f"{str(path)!r} is given twice; name each run once")
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


class _Examined:
    """One run while it is examined; ``facts`` is what has been found so far."""

    def __init__(self, folder: Path, name: str) -> None:
        self.facts, self.settings = _read(folder, name)
        self.network: nn.Module | None = None
        self.meta: dict[str, Any] = {}
        self.data: ImageData | None = None
        self.graph: Graph | None = None
        self.folder = folder
        last = folder / CHECKPOINTS / LAST
        self.source = last if last.is_file() and not (folder / DESCRIPTION).is_file() else folder

    def note(self, line: str, error: Exception | None = None) -> None:
        """Tell what is missing, and why."""
        reason = "" if error is None else f": {error}"
        self.facts = replace(self.facts, notes=[*self.facts.notes, line + reason])

    def load(self, data_dir: Path | None, sets: dict[str, Any]) -> None:
        """Read network and data; ``sets`` holds what other runs have read."""
        try:
            self.network, self.meta = load_trained(self.source)
        except (ModelError, CheckpointError) as error:
            if not (self.folder / PACKED).is_file():
                self.note("Only the record is shown, without the network", error)
                return
            self._load_packed()
        else:
            epoch = self.meta["provenance"].get("epoch")
            self.facts = replace(
                self.facts,
                weights=f"weights after epoch {epoch}",
                parameters=sum(parameter.numel() for parameter in self.network.parameters()),
                latents=_latents(self.network),
            )
        task = task_of(self.meta)
        if not isinstance(task, Classification):
            self.note(f"Answers are shown of classification, not of the task {self.settings.task!r}")
            return
        key = repr([self.settings.dataset, self.meta["input"], self.meta["classes"]])
        try:
            if key not in sets:
                sets[key] = task.load_for(self.meta, self.settings.dataset, data_dir)
            self.data = sets[key]
        except (DataError, OSError, ValueError) as error:
            if data_dir is not None:
                raise
            self.note("No answers are shown", error)

    def _load_packed(self) -> None:
        """Read the packed file that lies where the weights are missing."""
        self.graph = load_graph(self.folder / PACKED)
        facts = {"task": self.settings.task, "task_options": self.settings.task_options}
        self.meta = {**facts, **task_of(facts).description_of(self.graph)}
        self.facts = replace(self.facts, weights=f"the packed file {PACKED}, as the weights are not there")

    def measure(self, limit: int | None, samples: int) -> None:
        """Pack the network, if it is not packed yet, and let it answer the test images."""
        if self.graph is not None:
            summary = summarize(self.graph, (self.folder / PACKED).stat().st_size)
        else:
            assert self.network is not None
            try:
                packed = pack_trained(self.source)
            except ValueError as error:
                self._measure_unpacked(self.network, error)
                return
            self.graph, summary = packed.graph, packed.report
        layers = [
            Layer(
                row.name,
                row.layer,
                "x".join(map(str, row.shape)),
                row.weights,
                row.weight_bits,
                row.bytes,
                row.ops,
                row.runs_as,
                row.note,
            )
            for row in summary.rows
        ]
        self.facts = replace(self.facts, layers=layers, file_bytes=summary.file_bytes)
        if self.data is not None:
            self._answer(self.graph, self.data, limit, samples)

    def _measure_unpacked(self, network: nn.Module, error: Exception) -> None:
        """The layers of a network that cannot be packed."""
        self.note("The network cannot be packed, so neither its file nor its answers are shown", error)
        task = task_of(self.meta)
        cost = count_cost(network, *((e.shape[1], e.shape[2], e.shape[3]) for e in task.example(self.meta)))
        rows = [
            Layer(r.name, r.layer, "x".join(map(str, r.shape)), r.weights, r.weight_bits, None, r.ops, "", "")
            for r in cost.rows
        ]
        self.facts = replace(self.facts, layers=rows)

    @torch.inference_mode()
    def _answer(self, graph: Graph, data: ImageData, limit: int | None, samples: int) -> None:
        model = Model(graph, threads=torch.get_num_threads())
        task = task_of(self.meta)
        assert isinstance(task, Classification)
        convert = task.targets_for(data, self.meta)
        images = len(data.test) if limit is None else min(limit, len(data.test))
        parts = list(torch.arange(images).split(500))
        labels, answers, chances = [], [], []
        broken = 0
        for pixels_BCHW, targets_B in batches(data.test, parts, torch.device("cpu")):
            logits_BK = model(pixels_BCHW.permute(0, 2, 3, 1).contiguous().numpy())
            broken += not_finite(logits_BK)
            chance_BK = torch.from_numpy(logits_BK).double().softmax(1)
            chance_B, answer_B = chance_BK.max(1)
            labels.append(convert(targets_B).numpy())
            answers.append(answer_B.numpy())
            chances.append(chance_B.numpy())
        label_N, answer_N, chance_N = map(np.concatenate, (labels, answers, chances))
        if broken:
            self.note(f"The outputs for {broken} test images are NaN or infinite")
        classes = self.meta["classes"]
        confusion_KK = np.bincount(label_N * len(classes) + answer_N, minlength=len(classes) ** 2)
        wrong_W = np.flatnonzero(label_N != answer_N)
        wrong_W = wrong_W[np.argsort(-chance_N[wrong_W], kind="stable")][:samples]
        right_R = np.flatnonzero(label_N == answer_N)
        right_R = right_R[np.linspace(0, len(right_R) - 1, min(samples, len(right_R))).astype(np.int64)]

        def shown(places: NDArray[np.int64]) -> list[Sample]:
            if data.input.channels not in (1, 3) or not len(places):
                return []
            pixels_NHWC = data.test.batch(torch.from_numpy(places))[0].permute(0, 2, 3, 1).contiguous().numpy()
            return [
                Sample(pixels_HWC, classes[label_N[i]], classes[answer_N[i]], float(chance_N[i]))
                for pixels_HWC, i in zip(pixels_NHWC, places, strict=True)
            ]

        found = Answers(
            dataset=data.name,
            classes=classes,
            confusion_KK=confusion_KK.reshape(len(classes), -1),
            total=len(data.test),
            right=shown(right_R),
            wrong=shown(wrong_W),
        )
        self.facts = replace(self.facts, answers=found)


def _read(folder: Path, name: str) -> tuple[RunFacts, TrainSettings]:
    """What the record says; ValueError if there is none, or a damaged one."""
    path = folder / RECORD
    if not path.is_file():
        raise ValueError(f"{str(folder)!r} is not the folder of a run: it holds no {RECORD}")
    record = read_json(path)
    try:
        check_fields(record, RULES)
        for index, row in enumerate(record["epochs"]):
            check_fields(row, {column: measured() for column in row} | {"epoch": whole(1)}, f"epochs[{index}]")
        settings = TrainSettings.from_json(record["settings"])
        numbers = LayerNumbers.from_json(record["layers"]) if "layers" in record else None
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from error
    metric = settings.make_task().metric()
    facts = RunFacts(
        name=name,
        folder=str(folder),
        recipe=record["recipe"],
        settings=_flat(settings.as_json()),
        history=record["epochs"],
        epochs=settings.epochs,
        score=metric.name,
        share=metric.share,
        test_images=_test_images(record),
        seconds=record["seconds"],
        numbers=numbers,
        guide=_guide(record, metric.name),
        origin=_origin(record),
    )
    return facts, settings


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with options under names of their own: {"model_options": {"width": 1}} -> {"model_options.width": 1}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": entry for key, entry in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _test_images(record: dict[str, Any]) -> int | None:
    """How many test images the scores are of: records have it in "data", older ones in their result or not at all."""
    data, result = record.get("data"), record.get("result")
    contents = result.get("contents") if isinstance(result, dict) else None
    for owner, key in ((data, "test images"), (contents, "test_images")):
        if isinstance(owner, dict) and whole().accepts(owner.get(key)):
            return owner[key]
    return None


def _guide(record: dict[str, Any], score: str) -> float | None:
    """The teacher's score on the test images, where there is a teacher and the record has it."""
    scores = record.get("guide")
    value = scores.get(score) if isinstance(scores, dict) else None
    return value if number().accepts(value) else None


def _origin(record: dict[str, Any]) -> dict[str, str]:
    """Commit, machine and versions, as far as the record has them."""
    origin = {"commit": str(record.get("commit") or "unknown")}
    for part in ("machine", "versions"):
        values = record.get(part)
        if isinstance(values, dict):
            origin[part] = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
    return origin


@torch.no_grad()
def _latents(network: nn.Module) -> list[Latents]:
    """The latent weights of every binary layer."""
    found = []
    for name, module in network.named_modules():
        binarizer = getattr(module, "weight_binarizer", None)
        if binarizer is None:
            continue
        latent: NDArray[Any] = binarizer.latent(module.weight).flatten().double().numpy()
        finite = latent[np.isfinite(latent)]
        largest = float(np.abs(finite).max(initial=0)) or 1.0
        edges = np.linspace(-1, 1, BINS + 1) * largest
        counts, _ = np.histogram(finite, edges)
        found.append(Latents(name, len(latent), float((latent < 0).mean()), counts.tolist(), edges.tolist()))
    return found


def _latencies(graphs: dict[str, Graph], seconds: float) -> dict[str, Latency]:
    """Time one image on one thread, all networks in turn."""
    work, isas = {}, {}
    for name, graph in graphs.items():
        model, spec = Model(graph, threads=1), graph.input
        image = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, spec.channels), dtype=np.uint8)
        work[name] = lambda model=model, image=image: model(image)
        isas[name] = str(model.isa)
    timings = time_in_turn(work, seconds=seconds, stay=0.05)
    return {
        name: Latency(timing.fastest * 1e3, timing.median * 1e3, timing.count, isas[name])
        for name, timing in timings.items()
    }
