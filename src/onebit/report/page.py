"""One HTML page about one or several runs that needs no network, no other file and no script.

Everything that the template prints goes through ``_printable`` and is then escaped, wherever it comes from; the only
exceptions are charts and images, which are made here and hold no text of a file.
"""

import base64
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from onebit.report.charts import DASHES, SERIES, Series, histogram_chart, line_chart, spark_line
from onebit.report.facts import Answers, RunFacts, StudyTable
from onebit.report.health import in_words
from onebit.report.style import PALETTE
from onebit.text import format_bytes, printable

TEMPLATE = "page.html"
LARGEST_MATRIX = 30  # classes; of more, only the most frequent mistakes are listed
MISTAKES = 20
LARGEST_IMAGE = 128  # pixels of the longer side
BOOKKEEPING = ("epoch", "step", "stage", "seconds", "images_per_second")  # of a row of the record; not drawn
DARK = ("#56aee8", "#ff8c42", "#2cc79a", "#e39cc4", "#9bd6f7", "#ffc04d", "#f2f2f2", "#8f8f8f")  # PALETTE's, on dark
TITLES = {
    "lr": "learning rate, at the end of the epoch",
    "gradient_norm": "gradient norm, mean over the steps",
    "flip_rate": "flip rate: signs that changed in the epoch",
}


def render(runs: Sequence[RunFacts], *, machine: str, version: str, study: StudyTable | None = None) -> str:
    """The page.

    Args:
        machine: where latency was measured.
        version: of onebit.
        study: the table of the study that the runs belong to.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": lambda count: "–" if count is None else format_bytes(count),
        "count": lambda count: "–" if count is None else f"{count:,}",
        "short": _short,
        "percent": lambda share: f"{share:.2%}",
        "value": _value,
        "duration": _duration,
        "png": png_uri,
        "scored": _scored,
    }
    return environment.get_template(TEMPLATE).render(
        runs=runs,
        study=study,
        machine=machine,
        version=version,
        swatches=[_swatch(number) for number in range(len(runs))],
        light=PALETTE,
        dark=DARK,
        same_score=len({run.score for run in runs}) == 1,
        differing=differing(runs),
        curves=list(_curves(runs)),
        histogram=histogram_chart,
        mistakes=mistakes,
        score=score_text,
        in_words=in_words,
        layer_rows=layer_rows,
        health_header=HEALTH_HEADER,
        spark=spark_line,
        largest_matrix=LARGEST_MATRIX,
    )


def _printable(value: object) -> object:
    return value if isinstance(value, Markup) else printable(value, limit=500)


def score_text(run: RunFacts) -> str:
    """The main score of the last epoch, with the number of test images; a dash where it was not measured."""
    value = run.last_score
    if value is None or not math.isfinite(value):
        return "–"
    text = _scored(value, run)
    return text if run.test_images is None else f"{text} of {run.test_images:,}"


def _scored(value: float, run: RunFacts) -> str:
    """A value of the main score of ``run``."""
    return f"{value:.2%}" if run.share else f"{value:.4g}"


def differing(runs: Sequence[RunFacts]) -> dict[str, list[str]]:
    """The settings in which the runs are not all alike: name -> one text per run."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    every = {name: [_value(run.settings[name]) if name in run.settings else "–" for run in runs] for name in names}
    return {name: values for name, values in every.items() if len(set(values)) > 1}


HEALTH_HEADER = (
    "last epoch",
    "latents outside",
    "scale",
    "of start",
    "input scale",
    "inputs outside",
    "constant",
)


@dataclass(frozen=True)
class LayerRow:
    """A line of the table of training health: the flips of all epochs, and the latest numbers as texts, under
    ``HEALTH_HEADER``.
    """

    name: str
    weights: int
    flips: Sequence[float | None]
    cells: Sequence[str]
    found: bool


def layer_rows(run: RunFacts) -> tuple[list[LayerRow], float]:
    """The table of training health, one row per binary layer, and the largest share of flips in it."""
    found = {finding.layer for finding in run.health or ()}
    rows, largest = [], 0.0
    for name, layer in run.numbers.layers.items() if run.numbers else ():
        scale, start, input_scale = _latest(layer.scale), layer.start_scale, _latest(layer.input_scale)
        cells = (
            _share(_latest(layer.flipped)),
            _share(_latest(layer.outside)),
            "–" if scale is None else f"{scale:.3g}",
            "–" if scale is None or not start else f"{scale / start:.2g}×",
            "–" if input_scale is None else f"{input_scale:.3g}",
            _share(_latest(layer.inputs_outside)),
            _share(_latest(layer.constant)),
        )
        rows.append(LayerRow(name, layer.weights, layer.flipped, cells, name in found))
        largest = max([largest, *(value for value in layer.flipped if value is not None and math.isfinite(value))])
    return rows, largest


def _latest(values: Sequence[float | None]) -> float | None:
    """The last value that was measured."""
    return next((value for value in reversed(values) if value is not None), None)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def mistakes(answers: Answers) -> list[tuple[str, str, int, float]]:
    """The most frequent mistakes: label, answer, images, and their share of the images with that label."""
    wrong_KK = answers.confusion_KK.copy()
    np.fill_diagonal(wrong_KK, 0)
    found = []
    for place in np.argsort(-wrong_KK, axis=None, kind="stable")[:MISTAKES]:
        label, answer = divmod(int(place), len(answers.classes))
        if count := int(wrong_KK[label, answer]):
            share = count / int(answers.confusion_KK[label].sum())
            found.append((answers.classes[label], answers.classes[answer], count, share))
    return found


def png_uri(pixels_HWC: NDArray[np.uint8]) -> Markup:
    """An image as a data URI, reduced to 128 pixels on its longer side."""
    from PIL import Image

    picture = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)
    picture.thumbnail((LARGEST_IMAGE, LARGEST_IMAGE))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return Markup("data:image/png;base64,") + base64.b64encode(file.getvalue()).decode()


def _curves(runs: Sequence[RunFacts]) -> Iterator[tuple[str, Markup]]:
    """Title and chart of every quantity that a record has, all runs in one chart."""
    columns = dict.fromkeys(name for run in runs for row in run.history for name in row if name not in BOOKKEEPING)
    pairs = dict.fromkeys(name.partition("_")[2] for name in columns if name.startswith(("train_", "test_")))
    scores = [name for name in dict.fromkeys(run.score for run in runs) if name in pairs]
    singles = [name for name in columns if not name.startswith(("train_", "test_"))]
    known = [name for name in TITLES if name in singles]
    order = dict.fromkeys([*(["loss"] if "loss" in pairs else []), *scores, *pairs, *known, *singles])
    shares = {run.score for run in runs if run.share} | {"flip_rate"}
    for place, name in enumerate(order):
        parts = [(f"train_{name}", True), (f"test_{name}", False)] if name in pairs else [(name, False)]
        series = [
            Series(points, number, faint)
            for number, run in enumerate(runs)
            for column, faint in parts
            if (points := _points(run.history, column))
        ]
        if series:
            chart = line_chart(series, percent=name in shares, name=f"curve-{place}")
            yield TITLES.get(name, name.replace("_", " ")), chart


def _points(history: Sequence[Mapping[str, Any]], column: str) -> list[tuple[float, float]]:
    """(epoch, value) of the rows that hold a number that can be drawn."""
    values = ((row["epoch"], row.get(column)) for row in history)
    return [(epoch, float(value)) for epoch, value in values if value is not None and abs(value) < 1e30]


def _swatch(number: int) -> Markup:
    """The style of a run's line, as in the charts."""
    style = DASHES[number // len(SERIES) % len(DASHES)]
    return Markup(f"border-top: 3px {style} var(--c{number % len(SERIES)})")


def _short(count: float | None) -> str:
    """12345678 -> "12.3M"."""
    if count is None:
        return "–"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g}{unit}"
    return f"{count:.3g}"


def _duration(seconds: float) -> str:
    """5400 -> "1.5 h"."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _value(value: object) -> str:
    """A setting as in YAML: null, true, 0.1, a word."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
