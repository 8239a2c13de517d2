"""Trained networks by name: every one that ships is what its card says, and folders of the user's are searched."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
from PIL import Image

import onebit
from onebit.cli.main import main
from onebit.data import DATASETS, ORIGINS
from onebit.format.file import load_graph
from onebit.format.summary import short, summarize
from onebit.nn import parameter_roles
from onebit.train import load_trained, task_of
from onebit.train.deploy import pack_trained
from onebit.zoo import CardError, read_card, start_file, trained
from onebit.zoo.by_name import SHIPPED
from onebit.zoo.card import START, SUFFIX

NAMES = sorted(path.name.removesuffix(SUFFIX) for path in SHIPPED.glob(f"*{SUFFIX}"))
AT_HAND = [name for name in NAMES if (SHIPPED / f"{name}.onebit").is_file()]  # of the others, the card alone ships
STARTS = [name for name in NAMES if (SHIPPED / f"{name}{START}").is_file()]
DOCS = Path(__file__).parents[2] / "docs"
LARGEST, ALL = 1_000_000, 5_000_000  # bytes of a file that ships, and of all together
NAME = "vgg-small-digits"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.delenv("ONEBIT_ZOO", raising=False)
    monkeypatch.delenv("ONEBIT_DEBUG", raising=False)


@pytest.fixture(scope="module")
def digits():
    """The test images (N, H, W, 1) of the embedded digits in 16x16, and their labels."""
    data = DATASETS["digits"](None, 16)
    return np.ascontiguousarray(data.test.images_NCHW.permute(0, 2, 3, 1).numpy()), data.test.labels_N.numpy()


@pytest.fixture
def picture(digits, tmp_path):
    path = tmp_path / "digit.png"
    Image.fromarray(digits[0][0, :, :, 0]).save(path)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    """A folder of the user's with one network, ``mine``."""
    place = tmp_path / "networks"
    place.mkdir()
    shutil.copy(SHIPPED / f"{NAME}.onebit", place / "mine.onebit")
    card = replace(read_card(SHIPPED / f"{NAME}{SUFFIX}"), name="mine")
    (place / f"mine{SUFFIX}").write_bytes(card.to_bytes())
    return place


def test_files_and_cards_belong_together():
    assert NAME in AT_HAND
    assert NAME in STARTS
    files = [f"{name}{SUFFIX}" for name in NAMES] + [f"{name}.onebit" for name in AT_HAND]
    files += [f"{name}{START}" for name in STARTS]
    assert sorted(path.name for path in SHIPPED.iterdir()) == sorted(files)
    assert list(trained()) == NAMES
    sizes = {name: card.file.bytes for name, card in trained().items()}
    assert {name for name, size in sizes.items() if size < LARGEST} == set(AT_HAND)
    starts = {name: card.start.bytes for name, card in trained().items() if card.start is not None}
    assert {name for name, size in starts.items() if size < LARGEST} == set(STARTS)
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < ALL


@pytest.mark.parametrize("name", AT_HAND)
def test_what_ships_is_what_its_card_says(name):
    card, path = trained()[name], SHIPPED / f"{name}.onebit"
    content = path.read_bytes()
    assert card.file.sha256 == hashlib.sha256(content).hexdigest()
    assert card.file.bytes == len(content)
    graph = load_graph(path)
    total = summarize(graph, len(content))
    assert (card.cost.flops, card.cost.bops, card.cost.ops) == (total.macs, total.bops, total.ops)
    facts = graph.provenance
    assert (card.model, card.scheme) == (facts["model"], facts["scheme"])
    assert card.data.name == facts["dataset"]
    told = card.training
    assert (told.recipe, told.commit, told.seed, told.epoch) == tuple(
        facts[key] for key in ("recipe", "commit", "seed", "epoch")
    )
    assert told.commit is not None
    assert "dirty" not in told.commit
    assert told.epochs == told.settings["epochs"] == told.epoch  # trained to the end, and the last epoch is kept
    assert card.scores.images - card.scores.same <= 2
    origin = ORIGINS[card.data.name]
    assert (card.data.origin, card.data.license) == (origin.source, origin.license)
    assert "/" not in str(told.settings["teacher"])
    assert read_card(SHIPPED / f"{name}{SUFFIX}").to_bytes() == (SHIPPED / f"{name}{SUFFIX}").read_bytes()


@pytest.mark.parametrize("name", [name for name in AT_HAND if name.endswith("-digits")])
def test_accuracy_to_the_image(name, digits):
    images, labels = digits
    card = trained()[name]
    right = int((onebit.zoo.load(name, threads=2)(images).argmax(1) == labels).sum())
    assert card.scores.images == card.data.test_images == len(labels) == 360
    assert right == round(card.scores.packed["accuracy"] * 360)
    assert card.scores.packed["accuracy"] == right / 360


@pytest.mark.parametrize("name", STARTS)
def test_a_start_is_what_its_card_says(name, digits):
    """Its weights score as many images right as those of the run that they come from, and are the packed file's."""
    card, path = trained()[name], SHIPPED / f"{name}{START}"
    content = path.read_bytes()
    assert start_file(name) == path
    assert (card.start.bytes, card.start.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    network, meta = load_trained(path)
    assert (meta["model"], meta["options"], meta["scheme"]) == (card.model, card.model_options, card.scheme)
    scores = task_of(meta).evaluate(network, DATASETS["digits"](None, 16), meta)
    assert scores.values["accuracy"] == card.start.scores["accuracy"] == card.scores.torch["accuracy"]
    latent = [name for name, role in parameter_roles(network).items() if role == "latent"]
    with safetensors.safe_open(path, "np") as file:
        kinds = {file.get_tensor(tensor).dtype for tensor in latent}
    assert kinds == {np.dtype(card.start.dtype)}
    packed = pack_trained(path)
    same = packed.graph.tensors
    theirs = load_graph(SHIPPED / f"{name}.onebit").tensors
    bits = [tensor for tensor, values in theirs.items() if values.dtype == np.uint32]
    assert bits
    assert all(np.array_equal(same[tensor], theirs[tensor]) for tensor in bits)


def test_networks_without_a_start_and_starts_that_are_not_at_hand(folder):
    """Of the user's network there is the packed file alone; its card, copied from one with a start, tells of one."""
    with pytest.raises(
        FileNotFoundError, match=r"the start of 'mine' \(\d+ bytes\) does not ship .* 'mine.start.safet"
    ):
        start_file("mine", folder=folder)
    (folder / f"mine{START}").write_bytes(b"another file")
    with pytest.raises(CardError, match=r"mine.start.safetensors' is not the file of the card of 'mine': it has 12 by"):
        start_file("mine", folder=folder)
    shutil.copy(SHIPPED / f"{NAME}{START}", folder / f"mine{START}")
    assert start_file("mine", folder=folder) == folder / f"mine{START}"
    card = json.loads((folder / f"mine{SUFFIX}").read_text())
    del card["start"]  # as in cards from before there were starts
    (folder / f"mine{SUFFIX}").write_text(json.dumps(card))
    assert read_card(folder / f"mine{SUFFIX}").start is None
    with pytest.raises(ValueError, match=rf"'mine' ships without a start: .*; take one of \[.*'{NAME}'.*\], or"):
        start_file("mine", folder=folder)
    with pytest.raises(ValueError, match="Unknown trained network 'mime'; did you mean 'mine'"):
        start_file("mime", folder=folder)


def test_the_documentation_tells_what_the_cards_say():
    """A failure prints all lines as they should be."""
    lines = []
    for card in trained().values():
        counts = [short(count) for count in (card.cost.flops, card.cost.bops, card.cost.ops)]
        told = [f"`{card.name}`", f"`{card.training.recipe}`", f"{card.training.epochs}", card.data.name]
        start = f"{card.start.bytes / 1e3:,.0f} kB" if card.start else ""
        told += [card.scores.text, f"{card.file.bytes / 1e3:,.0f} kB", start, *counts, f"{card.speed.median_ms:.3g} ms"]
        lines.append(f"| {' | '.join(told)} |")
    print("\n".join(lines))
    page = (DOCS / "networks.md").read_text()
    assert [line for line in page.splitlines() if "(n = " in line] == lines
    assert all(card.speed.machine in page for card in trained().values())


def test_load_takes_the_options_of_onebit_load(digits):
    model = onebit.zoo.load(NAME, backend="reference")
    assert model.backend == "reference"
    assert model.classes == tuple("0123456789")
    assert model.classify(digits[0][0])[0].label == str(digits[1][0])


@pytest.mark.parametrize("name", ["vgg-small-digit", "../shipped/vgg-small-digits", ""])
def test_unknown_names(name):
    with pytest.raises(ValueError, match=rf"Unknown trained network '{name}'; (did you mean '{NAME}'|choose one of)"):
        onebit.zoo.load(name)


def test_a_folder_of_the_user(folder, monkeypatch, digits):
    """By argument and by environment; it is searched before what ships, which stays there."""
    assert set(trained(folder)) == {"mine", *NAMES}
    want = onebit.zoo.load(NAME)(digits[0][:4])
    np.testing.assert_array_equal(onebit.zoo.load("mine", folder=folder)(digits[0][:4]), want)
    np.testing.assert_array_equal(onebit.zoo.load(NAME, folder=folder)(digits[0][:4]), want)
    with pytest.raises(ValueError, match="Unknown trained network 'mine'"):
        onebit.zoo.load("mine")
    monkeypatch.setenv("ONEBIT_ZOO", str(folder))
    assert onebit.zoo.packed_file("mine") == folder / "mine.onebit"
    with pytest.raises(FileNotFoundError, match="no such folder"):
        onebit.zoo.load("mine", folder=folder / "elsewhere")


def test_a_file_apart_from_its_card(folder, tmp_path, monkeypatch):
    """A card may ship without its file, which the user fetches; the file must be the one of the card."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (folder / f"mine{SUFFIX}").rename(shipped / f"mine{SUFFIX}")
    monkeypatch.setattr("onebit.zoo.by_name.SHIPPED", shipped)
    assert onebit.zoo.load("mine", folder=folder).classes
    with pytest.raises(FileNotFoundError, match=r"does not ship with onebit; name the folder that holds 'mine.onebit'"):
        onebit.zoo.load("mine")
    content = bytearray((folder / "mine.onebit").read_bytes())
    content[-1] ^= 1
    (folder / "mine.onebit").write_bytes(content)
    with pytest.raises(CardError, match=r"mine.onebit' is not the file of the card of 'mine'"):
        onebit.zoo.load("mine", folder=folder)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda card: card.pop("file"), "field 'file' is missing"),
        (lambda card: card["file"].pop("sha256"), "field 'file.sha256' is missing"),
        (lambda card: card["cost"].update(ops="1M"), "cost.ops must be a number, got '1M'"),
        (lambda card: card.update(data=[]), "data must be an object"),
        (lambda card: card.update(more=1), "field 'more' is unknown"),
        (lambda card: card["start"].pop("dtype"), "field 'start.dtype' is missing"),
        (lambda card: card.update(file=None), "file must be an object, got None"),
        (lambda card: card.update(format=2), "not a card of format 1"),
        (lambda card: card.update(name="other"), "it is the card of 'other'"),
    ],
)
def test_damaged_cards(change, why, folder):
    path = folder / f"mine{SUFFIX}"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))
    with pytest.raises(CardError, match=why):
        onebit.zoo.load("mine", folder=folder)
    path.write_text("[")
    with pytest.raises(CardError, match="is no card"):
        trained(folder)


class TestCommandLine:
    def test_trained(self, capsys, folder):
        assert main(["zoo", "trained", "--json", "--from", str(folder)]) == 0
        listing = json.loads(capsys.readouterr().out)
        assert [card["name"] for card in listing["cards"]] == sorted({"mine", *NAMES}) == list(listing["trained"])
        assert listing["cards"] == [card.as_json() for card in trained(folder).values()]
        assert main(["zoo", "trained"]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(NAME))
        card = trained()[NAME]
        for text in ("digits", f"accuracy {card.scores.text}", "(n = 360)", "kB", card.speed.machine, "CC BY 4.0"):
            assert text in line

    def test_trained_is_timed_here(self, capsys, monkeypatch):
        card = trained()[NAME]
        apart = replace(card, name="apart")  # a card whose file is not at hand
        monkeypatch.setattr("onebit.zoo.trained", lambda folder: {"apart": apart, NAME: card})
        monkeypatch.setattr("onebit.zoo.by_name.card_of", lambda name, folder: apart if name == "apart" else card)
        assert main(["zoo", "trained", "--bench", "--json"]) == 0
        other, row = json.loads(capsys.readouterr().out)["cards"]
        assert other == apart.as_json()
        assert row["speed"] != card.as_json()["speed"]
        assert {**row, "speed": None} == {**card.as_json(), "speed": None}
        assert main(["zoo", "models", "--bench"]) == 2
        assert "--bench times trained networks" in capsys.readouterr().err

    def test_every_verb_that_takes_a_packed_file(self, capsys, picture):
        path = str(SHIPPED / f"{NAME}.onebit")
        told = {}
        for verb, *more in (
            ["run", picture],
            ["inspect"],
            ["verify", picture],
            ["eval"],
            ["bench", "--seconds", ".01"],
        ):
            assert main([verb, f"zoo:{NAME}", *more, "--json"]) == 0
            told[verb] = json.loads(capsys.readouterr().out)
        assert {answer.get("file", answer.get("model")) for answer in told.values()} == {path}
        assert told["run"]["images"][0]["classes"][0]["probability"] > 0.5
        assert told["inspect"]["provenance"]["dataset"] == "digits"
        assert told["verify"]["passed"]
        assert told["eval"]["accuracy"] == trained()[NAME].scores.packed["accuracy"]
        assert told["eval"]["images"] == 360
        assert "torch_float" in told["bench"]

    @pytest.mark.parametrize("verb", ["run", "inspect", "verify", "eval", "bench"])
    def test_unknown_names(self, capsys, verb, picture):
        more = [picture] if verb == "run" else []
        assert main([verb, "zoo:vgg-smal-digits", *more]) == 1
        line = capsys.readouterr().err
        assert line == "onebit: error: Unknown trained network 'vgg-smal-digits'; did you mean 'vgg-small-digits'?\n"

    def test_from(self, capsys, folder, picture):
        assert main(["run", "zoo:mine", picture]) == 1
        assert "Unknown trained network 'mine'" in capsys.readouterr().err
        assert main(["run", "zoo:mine", picture, "--from", str(folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["file"] == str(folder / "mine.onebit")
        (folder / "mine.onebit").unlink()
        assert main(["inspect", "zoo:mine", "--from", str(folder)]) == 1
        assert "name the folder that holds 'mine.onebit' with --from or the environment" in capsys.readouterr().err

    def test_without_torch(self, picture):
        """A new process answers without importing torch, and lists what there is."""
        code = (
            "import sys\n"
            "from onebit.cli.main import main\n"
            "code = main(sys.argv[1:]) or main(['zoo', 'trained'])\n"
            "sys.exit(code or 'torch' in sys.modules)"
        )
        command = [sys.executable, "-W", "error", "-c", code, "run", f"zoo:{NAME}", picture, "--top", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(picture)


def test_loading_needs_numpy_and_safetensors_alone():
    code = (
        "import sys\n"
        "for name in ('torch', 'PIL', 'jsonargparse', 'rich', 'lightning'):\n"
        "    sys.modules[name] = None\n"
        "import onebit\n"
        f"print(onebit.zoo.load({NAME!r}), onebit.zoo.trained()[{NAME!r}])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "10 classes" in done.stdout


def test_the_folder_holds_nothing_that_git_ignores():
    root = Path(onebit.__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    tracked = subprocess.run(["git", "ls-files", str(SHIPPED)], cwd=root, capture_output=True, text=True, check=True)
    assert {Path(line).name for line in tracked.stdout.splitlines()} == {path.name for path in SHIPPED.iterdir()}
