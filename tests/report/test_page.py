"""The page about runs: what it says, that it needs nothing else, and that no text of a file is more than text."""

import base64
import dataclasses
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from onebit.report.charts import Series, histogram_chart, line_chart, spark_line
from onebit.report.facts import Answers, Latency, Latents, Layer, RunFacts, Sample
from onebit.report.health import LayerCourse, LayerNumbers
from onebit.report.page import differing, mistakes, png_uri, render, score_text
from onebit.text import printable

HOSTILE = '<script>alert("1")</script><img src=//x onerror=y>\'&\n\x1b[31m\u202e{{ 7 * 7 }}'
ROWS = [
    {"epoch": 1, "lr": 0.1, "train_loss": 2.0, "test_loss": 2.5, "test_accuracy": 0.25, "flip_rate": 0.5},
    {"epoch": 2, "lr": 0.05, "train_loss": 1.0, "test_loss": 1.5, "test_accuracy": 0.5, "flip_rate": None},
]


NUMBERS = LayerNumbers(
    [1, 2],
    {
        "body": LayerCourse(
            weights=2304,
            start_scale=0.5,
            flipped=[0.5, 0.25],
            outside=[0.0, 0.125],
            scale=[1.0, 1.25],
            input_scale=[None, None],
            inputs_outside=[0.5, None],
            constant=[0.0, 0.0],
        )
    },
)


class Page(HTMLParser):
    """The elements, attributes and text of a page; the content of each table by rows."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.tables = [], [], [], []
        self._cell = None
        self.feed(text)
        self.text = "".join(self.texts)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = self.tables[-1][-1]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        self.texts.append(data)
        if self._cell is not None:
            self._cell[-1] += data


def facts(name="first", **changes):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    values = {
        "name": name,
        "folder": f"runs/{name}",
        "recipe": "vgg-small-digits",
        "settings": {"model": "vgg-small", "model_options.width": 0.5, "scheme": "bireal", "dataset": "digits"},
        "history": ROWS,
        "epochs": 3,
        "score": "accuracy",
        "share": True,
        "test_images": 360,
        "seconds": 5400.0,
        "numbers": NUMBERS,
        "guide": 0.75,
        "origin": {"commit": "abc", "machine": "cpu Z80"},
        "weights": "weights after epoch 2",
        "parameters": 12345,
        "layers": [
            Layer("stem", "Conv2d", "8x8x16", 144, 32, 576, 9216.0, "float", "first layer"),
            Layer("body", "BinaryConv2d", "8x8x16", 2304, 1, 288, 2304.0, "1-bit", ""),
        ],
        "file_bytes": 2048,
        "latents": [Latents("body", 4, 0.75, [3, 0, 0, 1], [-1.0, -0.5, 0.0, 0.5, 1.0])],
        "answers": Answers(
            dataset="digits",
            classes=["cat", "dog", "owl"],
            confusion_KK=np.array([[5, 1, 0], [0, 7, 0], [2, 0, 0]]),
            total=100,
            right=[Sample(pixels, "cat", "cat", 0.875)],
            wrong=[Sample(pixels[..., :1], "owl", "cat", 0.75)],
        ),
        "latency": Latency(0.125, 0.25, 99, "avx2"),
        "notes": ["a note"],
    }
    return RunFacts(**(values | changes))


def page_of(*runs):
    return render(runs, machine="a CPU, 2 cores", version="0.1.0")


@pytest.fixture(scope="module")
def one():
    return page_of(facts())


def hostile():
    """A run in which every text is hostile."""

    def spoil(value):
        if isinstance(value, str):
            return HOSTILE
        if isinstance(value, dict):
            return {name if name in ("model", "scheme", "dataset") else HOSTILE: spoil(v) for name, v in value.items()}
        if isinstance(value, list):
            return [spoil(entry) for entry in value]
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            return dataclasses.replace(value, **{name: spoil(getattr(value, name)) for name in names})
        return value

    run = spoil(facts())
    rows = [{"epoch": row["epoch"], f"test_{HOSTILE}": 0.5, HOSTILE: 1.0} for row in ROWS]
    return dataclasses.replace(run, history=rows)


def test_what_the_page_says(one):
    page = Page(one)
    table, health, confusion, wrong, layers, settings = page.tables
    assert table[1] == [
        *("first", "vgg-small", "bireal", "digits", "2 of 3", "50.00% of 360", "2 KiB", "11.5k", "12,345", "0.25 ms"),
        "1.5 h",
    ]
    assert health == [
        [
            *("layer", "weights", "signs flipped per epoch", "last epoch", "latents outside", "scale", "of start"),
            *("input scale", "inputs outside", "constant"),
        ],
        ["body", "2,304", "", "25.00%", "12.50%", "1.25", "2.5×", "–", "50.00%", "0.00%"],
    ]
    assert confusion == [
        ["label \\ answer", "cat", "dog", "owl"],
        *(["cat", "5", "1", "0"], ["dog", "0", "7", "0"], ["owl", "2", "0", "0"]),
    ]
    assert wrong[1:] == [["owl", "cat", "2", "100.00%"], ["cat", "dog", "1", "16.67%"]]
    assert layers[1:] == [
        ["stem", "Conv2d", "8x8x16", "144", "32", "576", "9.22k", "float", "first layer"],
        ["body", "BinaryConv2d", "8x8x16", "2,304", "1", "288", "2.3k", "1-bit", ""],
        ["whole file", "", "", "2,448", "", "2,048", "11.5k", "", ""],
    ]
    assert ["model_options.width", "0.5"] in settings
    text = " ".join(page.text.split())
    assert "80.00% of 15 test images of digits their label (the first of 100)" in text
    assert "75.00% of 4 are −1" in text
    assert "0.250 ms (median of 99 calls; least 0.125 ms) on one thread of a CPU, 2 cores with avx2 kernels" in text
    assert "a note" in text
    assert (
        "Training health No findings. The guide's accuracy on the test images is 75.00%, this network's 50.00%." in text
    )
    assert "from 0 to 50.00% in all layers" in text
    titles = ["loss", "accuracy", "learning rate, at", "flip rate: signs"]
    places = [text.index(title, text.index("faint one")) for title in titles]
    assert places == sorted(places)


def test_runs_beside_each_other():
    other = facts("second", settings=facts().settings | {"model_options.width": 1.0, "model_options.deep": True})
    text = page_of(facts(), other)
    page = Page(text)
    assert page.tables[1] == [
        ["run", "model_options.width", "model_options.deep"],
        ["first", "0.5", "–"],
        ["second", "1.0", "true"],
    ]
    assert "<title>2 runs" in text


def test_a_run_of_which_only_the_record_is_left():
    bare = {"weights": "", "parameters": None, "layers": (), "file_bytes": None, "latents": (), "answers": None}
    bare |= {"history": [], "latency": None, "recipe": None, "test_images": None, "numbers": None, "guide": None}
    page = Page(page_of(facts(**bare), facts("second", **bare)))
    assert "All runs have the same settings." in page.text
    assert page.tables[0][1][4:] == ["0 of 3", "–", "–", "–", "–", "–", "1.5 h"]
    assert "svg" not in page.tags
    assert "no recipe" in page.text
    assert "Not recorded: the run was made with an earlier version." in page.text


def test_training_health_in_words():
    still = dataclasses.replace(NUMBERS.layers["body"], flipped=[0.0] * 5, inputs_outside=[0.0] * 5, constant=[0.0] * 5)
    still = dataclasses.replace(still, outside=[0.0] * 5, scale=[1.0] * 5, input_scale=[None] * 5)
    numbers = LayerNumbers([1, 2, 3, 4, 5], {"body": still, HOSTILE: still})
    rows = [{**ROWS[0], "epoch": epoch, "train_accuracy": 0.375} for epoch in numbers.epochs]
    page = Page(page_of(facts(numbers=numbers, history=rows, epochs=5, guide=0.5)))
    text = " ".join(page.text.split())
    words = "0.0% of signs flipped for 5 epochs: raise the learning rate or check the estimator"
    assert f"Training health body: {words} {printable(HOSTILE)}: {words}" in text
    assert "has been 25.0 points below the guide's for 1 epoch, near the end of training" in text
    assert "is 50.00%, this network's 25.00%, and 37.50% on the training images." in text
    assert [row[0] for row in page.tables[1]] == ["layer", "body finding", f"{printable(HOSTILE)} finding"]
    assert "No findings" not in text
    assert "script" not in page.tags
    early = Page(page_of(facts(numbers=LayerNumbers(), history=[])))
    assert "No findings yet: no epoch is finished." in early.text


@pytest.mark.parametrize("runs", [[facts()], [hostile()], [hostile(), facts()]], ids=["plain", "hostile", "both"])
def test_the_page_needs_nothing_else(runs):
    text = page_of(*runs)
    page = Page(text)
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "base", "form", "image"}
    references = [(tag, name, v) for tag, name, v in page.attributes if name in ("src", "href", "srcset", "xlink:href")]
    assert {"data:" if v.startswith("data:image/png;base64,") else v[0] for _, _, v in references} == {"data:", "#"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    styles = [value for _, name, value in page.attributes if name == "style"]
    for style in styles + re.findall("<style>(.*?)</style>", text, re.DOTALL):
        assert not re.search(r"url\((?!#)|@import", style)
    policy = next(v for tag, name, v in page.attributes if tag == "meta" and name == "content")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    used = re.findall(r'(?:url\(#|href="#)([\w-]+)', text)
    assert set(used) <= set(ids)


def test_text_of_files_is_only_text():
    text = page_of(hostile())
    page, plain = Page(text), Page(page_of(facts()))
    assert set(page.tags) == set(plain.tags)
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    shown = printable(HOSTILE)
    assert "\\u202e" in shown
    assert page.text.count(shown) > 40


def test_more_classes_than_a_matrix_shows():
    confusion = np.eye(31, dtype=np.int64) * 10
    confusion[3, 4], confusion[30, 0] = 2, 7
    answers = Answers("many", [f"class {k}" for k in range(31)], confusion, 319, (), ())
    assert mistakes(answers) == [("class 30", "class 0", 7, 7 / 17), ("class 3", "class 4", 2, 2 / 12)]
    page = Page(page_of(facts(answers=answers)))
    assert not [value for tag, name, value in page.attributes if name == "class" and value.startswith("matrix")]
    assert ["class 30", "class 0", "7", "41.18%"] in page.tables[2]


def test_scores_and_settings():
    assert score_text(facts()) == "50.00% of 360"
    assert score_text(facts(share=False, score="loss", test_images=None)) == "1.5"
    assert score_text(facts(history=[{"epoch": 1, "test_accuracy": float("nan")}])) == "–"
    assert differing([facts(), facts("b", settings={**facts().settings, "model": "x"})]) == {
        "model": ["vgg-small", "x"]
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_what_they_were(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, channels), dtype=np.uint8)
    kind, _, data = png_uri(pixels).partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)
    large = base64.b64decode(png_uri(np.zeros((300, 200, channels), np.uint8)).partition(",")[2])
    with Image.open(io.BytesIO(large)) as image:
        assert image.size == (85, 128)


class TestCharts:
    def lines(self, **changes):
        series = [Series([(1, 0.5), (2, 0.25)], 0), Series([(1, 0.75)], 1, faint=True), Series([(1, 1), (3, 0)], 9)]
        return line_chart(series, **({"percent": True, "name": "a"} | changes))

    def test_colors_are_the_pages(self):
        text = self.lines()
        assert {"--c0", "--c1", "--ink", "--grid"} <= set(re.findall(r"var\((--\w+)\)", text))
        assert not re.findall(r"#0a0[bc]", text)
        assert "stroke-dasharray" in text  # the tenth run has the color of the second

    def test_the_same_chart_every_time(self):
        assert self.lines() == self.lines()
        ids = [set(re.findall(r'id="([^"]+)"', self.lines(name=name))) for name in "ab"]
        assert ids[0]
        assert not ids[0] & ids[1]

    def test_is_wellformed_and_says_its_units(self):
        text = self.lines()
        assert ET.fromstring(text).tag == "svg"
        assert "100%" in text
        assert "100%" not in self.lines(percent=False)
        assert "http" not in text

    def test_spark_line_is_a_line_with_gaps(self):
        assert "M1.5 22.5 L40.5 1.5 M118.5 12.0" in spark_line([0.0, 0.5, None, 0.25], 0.5)
        assert "M1.5 22.5 h1" in spark_line([0.0], 0.0)
        text = spark_line([None, float("nan"), float("inf")], 1.0)
        assert 'd=""' in text
        assert ET.fromstring(text).tag == "svg"
        assert "var(--c0)" in text

    def test_histogram_has_two_sides(self):
        text = histogram_chart([1, 2, 3, 4], [-1.0, -0.5, 0.0, 0.5, 1.0], name="h")
        assert {"--c0", "--c1"} <= set(re.findall(r"fill: var\((--\w+)\)", text))
        ET.fromstring(text)
