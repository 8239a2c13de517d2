"""From a finished run to a packed file with its model card, for a folder of trained networks."""

import hashlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from onebit.data import ORIGINS, Origin
from onebit.files import write_atomic
from onebit.train.artifact import load_trained, one_file, task_of
from onebit.train.deploy import compare_with_torch, images_of_run, pack_trained
from onebit.train.files import prepare_folder, read_json
from onebit.train.record import RECORD
from onebit.train.resume import stored_settings
from onebit.zoo.card import (
    PACKED,
    START,
    SUFFIX,
    Card,
    Cost,
    DataSet,
    File,
    Measured,
    Speed,
    Start,
    Training,
    read_card,
)
from onebit.zoo.speed import measure_speed, today

NAME = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
OTHER_RUNS = ("teacher", "start_from")  # settings that hold folders


def add_to_zoo(
    run: Path | str,
    name: str,
    folder: Path | str,
    *,
    keep_real: Sequence[str] = (),
    origin: Origin | None = None,
    data_dir: Path | str | None = None,
    start: bool = False,
    seconds: float = 2.0,
) -> Card:
    """Pack a finished run strictly, compare it with PyTorch on all test images, time it, and write ``NAME.onebit`` and
    its card into ``folder``: the files, then the card, each atomically.

    Args:
        run: the run's folder.
        name: lower-case letters, digits, dots and hyphens, such as "vgg-small-digits".
        folder: created if missing.
        keep_real: layers that may stay in full precision besides the first and the last, as in :func:`onebit.pack`.
        origin: of the data, where ``ORIGINS`` does not know the data set.
        data_dir: folder of the data set.
        start: also write ``NAME.start.safetensors``, the weights that training goes on from.
        seconds: duration of the timing; 0 keeps the latency of the card that is there, if its packed file is the same.

    Raises:
        ValueError: an invalid name; no finished run; an unknown origin; a network that is not packed strictly, or not
            as it was trained; ``seconds`` 0 and no card of this file there.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"name must be lower-case letters, digits, dots and hyphens, got {name!r}")
    run, folder = Path(run), Path(folder)
    _, meta = load_trained(run)
    _, recipe = stored_settings(run)
    record = read_json(run / RECORD)
    if record.get("result") is None:
        raise ValueError(f"the run in {str(run)!r} is not finished: resume it, then add it")
    origin = _origin(meta["provenance"]["dataset"], origin)
    packed = pack_trained(run, strict=True, keep_real=keep_real)
    parity = compare_with_torch(run, packed.graph, *images_of_run(run, data_dir, None))
    if not parity["passed"]:
        raise ValueError(
            f"the packed network is not the trained one: {parity['other']} of {parity['images']} images have another "
            f"{task_of(meta).answer} (allowed: {parity['allowed']}), outputs differ by {parity['output_error']:.1e}"
        )
    metric, total = task_of(meta).metric(), packed.report
    file = File(bytes=len(packed.data), sha256=hashlib.sha256(packed.data).hexdigest())
    files = {f"{name}{PACKED}": packed.data}
    told = None
    if start:
        files[f"{name}{START}"], told = _start(run, data_dir)
    provenance, contents = meta["provenance"], record["result"]["contents"]
    card = Card(
        name=name,
        model=meta["model"],
        model_options=meta["options"],
        scheme=meta["scheme"],
        training=Training(
            recipe=recipe,
            settings=_without_folders(record["settings"]),  # as they were recorded: later settings were not there
            epochs=record["result"]["epochs"],
            epoch=provenance["epoch"],
            seed=provenance["seed"],
            commit=provenance["commit"],
            seconds=record["result"]["seconds"],
            machine=record["machine"],
            versions=record["versions"],
        ),
        data=DataSet(
            name=provenance["dataset"],
            origin=origin.source,
            license=origin.license,
            train_images=contents["train_images"],
            test_images=contents["test_images"],
        ),
        scores=Measured(
            score=metric.name,
            share=metric.share,
            torch=parity["scores"]["torch"],
            packed=parity["scores"]["packed"],
            images=parity["images"],
            same=parity["same"],
        ),
        cost=Cost(weights=sum(row.weights for row in total.rows), flops=total.macs, bops=total.bops, ops=total.ops),
        file=file,
        speed=measure_speed(packed.graph, seconds) if seconds else _speed_there(folder / f"{name}{SUFFIX}", file),
        date=today(),
        start=told,
    )
    prepare_folder(folder, 2 * sum(map(len, files.values())))
    for each, content in files.items():
        write_atomic(folder / each, content)
    write_atomic(folder / f"{name}{SUFFIX}", card.to_bytes())
    return read_card(folder / f"{name}{SUFFIX}")


def _start(run: Path, data_dir: Path | str | None) -> tuple[bytes, Start]:
    """The weights of a run in one file, and what its network scores when it is read back.

    Latent weights are in float16, unless that costs more of the main score than the task allows for coarser numbers.
    Everything else is in float32: of 360 digits, RB-Net's ResNet-20 answers 356 right, 354 with all of it in float16.
    """
    network, meta = load_trained(run)
    task = task_of(meta)
    data = task.load_for(meta, meta["provenance"]["dataset"], None if data_dir is None else Path(data_dir))
    before = task.evaluate(network, data, meta)
    for dtype in (torch.float16, torch.float32):
        content = one_file(network, meta, dtype)
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / f"start{START}"
            path.write_bytes(content)
            again, _ = load_trained(path)
        after = task.evaluate(again, data, meta)
        if not task.loss_of_precision(before.values, after.values, after.examples)[1]:
            break
    return content, Start(
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        dtype=str(dtype).removeprefix("torch."),
        scores=after.values,
    )


def _speed_there(path: Path, file: File) -> Speed:
    """The latency that the card in ``path`` tells for the same packed file."""
    card = read_card(path) if path.is_file() else None
    if card is None or card.file != file:
        reason = "there is none" if card is None else "it is that of another packed file"
        raise ValueError(
            f"seconds 0 keeps the latency of the card {str(path)!r}, but {reason}; give the timing a duration above 0"
        )
    return card.speed


def _origin(dataset: str, given: Origin | None) -> Origin:
    if dataset in ORIGINS:
        known = ORIGINS[dataset]
        if given not in (None, known):
            raise ValueError(f"origin and license of data set {dataset!r} are known: {known.source}; {known.license}")
        return known
    if given is None:
        raise ValueError(
            f"the name of data set {dataset!r} does not say what it holds; give origin and license of the images"
        )
    return given


def _without_folders(settings: dict[str, Any]) -> dict[str, Any]:
    """Where another run lay says nothing elsewhere; its name does."""
    return {name: Path(value).name if name in OTHER_RUNS and value else value for name, value in settings.items()}
