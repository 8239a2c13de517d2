"""State dicts with the names and shapes of ReActNet's published files become our models, and compute the formula."""

import pickle

import pytest
import torch
import torch.nn.functional as F

from onebit.models.import_reactnet import load_reactnet18, load_reactnet_a, read_checkpoint

STAGES18 = (8, 16, 24, 32)
STAGES_A = (8, 16, 32, 32, 64, 64, *[64] * 6, 128, 128)
NORM = ("weight", "bias", "running_mean", "running_var")


class Maker:
    """Collects tensors with values that make every part count."""

    def __init__(self) -> None:
        self.state: dict[str, torch.Tensor] = {}

    def norm(self, name: str, channels: int) -> None:
        for part in NORM:
            value = torch.randn(channels)
            self.state[f"{name}.{part}"] = value.abs() + 0.5 if part == "running_var" else value
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def biases(self, channels: int, *names: str) -> None:
        for name in names:
            self.state[f"{name}.bias"] = 0.3 * torch.randn(1, channels, 1, 1)

    def slope(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = torch.rand(channels)

    def classifier(self, channels: int) -> None:
        self.state["fc.weight"], self.state["fc.bias"] = torch.randn(5, channels), torch.randn(5)


@pytest.fixture
def resnet() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    make = Maker()
    make.state["conv1.weight"] = torch.randn(STAGES18[0], 3, 7, 7) * 0.1
    make.norm("bn1", STAGES18[0])
    before = STAGES18[0]
    for stage, out in enumerate(STAGES18):
        for index in range(4):
            name = f"layer{stage + 1}.{index}"
            make.biases(before, f"{name}.move0")
            make.biases(out, f"{name}.move1", f"{name}.move2")
            make.state[f"{name}.binary_conv.weight"] = torch.randn(out, before, 3, 3)
            make.norm(f"{name}.bn1", out)
            make.slope(f"{name}.prelu", out)
            if stage and not index:
                make.state[f"{name}.downsample.1.weight"] = torch.randn(out, before, 1, 1)
                make.norm(f"{name}.downsample.2", out)
            before = out
    make.classifier(before)
    return make.state


@pytest.fixture
def mobilenet() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    make = Maker()
    make.state["feature.0.conv1.weight"] = torch.randn(STAGES_A[0], 3, 3, 3) * 0.2
    make.norm("feature.0.bn1", STAGES_A[0])
    for index in range(1, len(STAGES_A)):
        before, out, name = STAGES_A[index - 1], STAGES_A[index], f"feature.{index}"
        make.biases(before, *(f"{name}.{move}" for move in ("move11", "move12", "move13", "move21")))
        make.biases(out, f"{name}.move22", f"{name}.move23")
        make.state[f"{name}.binary_3x3.weights"] = torch.randn(before * before * 9, 1)
        make.norm(f"{name}.bn1", before)
        make.slope(f"{name}.prelu1", before)
        make.slope(f"{name}.prelu2", out)
        pairs = [("binary_pw", "bn2")]
        if out != before:
            pairs = [("binary_pw_down1", "bn2_1"), ("binary_pw_down2", "bn2_2")]
        for convolution, norm in pairs:
            make.state[f"{name}.{convolution}.weights"] = torch.randn(before * before, 1)
            make.norm(f"{name}.{norm}", before)
    make.classifier(STAGES_A[-1])
    return make.state


class Formula:
    """The published formulas, written once more on the bare tensors."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state = state

    def norm(self, name, x):
        weight, bias, mean, var = (self.state[f"{name}.{part}"].reshape(-1, 1, 1) for part in NORM)
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def shift(self, name, x):
        return x + self.state[f"{name}.bias"]

    def binary(self, name, x, weight, stride):
        """Convolution of signs, scaled by the mean magnitude of each filter."""
        scale = weight.abs().mean((1, 2, 3)).reshape(-1, 1, 1)
        return scale * F.conv2d(torch.sign(self.shift(name, x)), torch.sign(weight), None, stride, weight.shape[2] // 2)

    def activation(self, name, before, slope, after, x):
        x = F.prelu(self.shift(f"{name}.{before}", x), self.state[f"{name}.{slope}.weight"])
        return self.shift(f"{name}.{after}", x)

    def resnet(self, x):
        x = self.norm("bn1", F.conv2d(x, self.state["conv1.weight"], None, 2, 3))
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(4):
            for index in range(4):
                name = f"layer{stage + 1}.{index}"
                stride = 2 if stage and not index else 1
                out = self.binary(f"{name}.move0", x, self.state[f"{name}.binary_conv.weight"], stride)
                if stride == 2:
                    pooled = F.avg_pool2d(x, 2)
                    x = self.norm(f"{name}.downsample.2", F.conv2d(pooled, self.state[f"{name}.downsample.1.weight"]))
                x = self.activation(name, "move1", "prelu", "move2", self.norm(f"{name}.bn1", out) + x)
        return F.linear(x.mean((2, 3)), self.state["fc.weight"], self.state["fc.bias"])

    def mobilenet(self, x):
        x = self.norm("feature.0.bn1", F.conv2d(x, self.state["feature.0.conv1.weight"], None, 2, 1))
        for index in range(1, len(STAGES_A)):
            name, before, out = f"feature.{index}", STAGES_A[index - 1], STAGES_A[index]
            stride = 2 if out != before and index > 1 else 1
            weight = self.state[f"{name}.binary_3x3.weights"].reshape(before, before, 3, 3)
            y = self.norm(f"{name}.bn1", self.binary(f"{name}.move11", x, weight, stride))
            y = y + (F.avg_pool2d(x, 2) if stride == 2 else x)
            y = self.activation(name, "move12", "prelu1", "move13", y)
            parts = [("binary_pw", "bn2")] if out == before else [(f"binary_pw_down{i}", f"bn2_{i}") for i in (1, 2)]
            halves = []
            for convolution, norm in parts:
                weight = self.state[f"{name}.{convolution}.weights"].reshape(before, before, 1, 1)
                halves.append(self.norm(f"{name}.{norm}", self.binary(f"{name}.move21", y, weight, 1)) + y)
            x = self.activation(name, "move22", "prelu2", "move23", torch.cat(halves, 1))
        return F.linear(x.mean((2, 3)), self.state["fc.weight"], self.state["fc.bias"])


def test_resnet_computes_the_formula(resnet):
    model = load_reactnet18(resnet, stages=STAGES18).double()
    formula = Formula({name: value.double() for name, value in resnet.items()})
    x = torch.randn(2, 3, 64, 64, dtype=torch.double)
    torch.testing.assert_close(model(x), formula.resnet(x), rtol=1e-9, atol=1e-9)


def test_mobilenet_computes_the_formula(mobilenet):
    model = load_reactnet_a(mobilenet, stages=STAGES_A).double()
    formula = Formula({name: value.double() for name, value in mobilenet.items()})
    x = torch.randn(2, 3, 64, 64, dtype=torch.double)
    torch.testing.assert_close(model(x), formula.mobilenet(x), rtol=1e-9, atol=1e-9)


def test_shapes_of_the_published_networks():
    """The defaults take what the published files hold: names, and a few shapes that the authors' code fixes."""
    for load, name, shape in (
        (load_reactnet18, "layer4.0.binary_conv.weight", (512, 256, 3, 3)),
        (load_reactnet_a, "feature.13.binary_3x3.weights", (1024 * 1024 * 9, 1)),
    ):
        first = "conv1.weight" if load is load_reactnet18 else "feature.0.conv1.weight"
        with pytest.raises(ValueError, match=r"no tensor '(conv1|feature\.0\.conv1)\.weight'"):
            load({"fc.bias": torch.zeros(1000), name: torch.zeros(1).expand(shape)})
        with pytest.raises(
            ValueError, match=rf"'{first}' must have the shape \((64|32), 3, (7|3), (7|3)\), got \(1,\)"
        ):
            load({"fc.bias": torch.zeros(1000), first: torch.zeros(1)})


def test_wrappings(resnet, tmp_path):
    plain = load_reactnet18(resnet, stages=STAGES18).state_dict()
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in resnet.items()}}
    torch.save(wrapped, tmp_path / "model_best.pth.tar")
    read = load_reactnet18(read_checkpoint(tmp_path / "model_best.pth.tar"), stages=STAGES18)
    assert not read.training
    assert all(torch.equal(value, plain[name]) for name, value in read.state_dict().items())
    assert plain["stem.1.num_batches_tracked"] == 7
    older = {name: value for name, value in resnet.items() if not name.endswith("num_batches_tracked")}
    assert load_reactnet18(older, stages=STAGES18).state_dict()["stem.1.num_batches_tracked"] == 0


def test_mistakes(resnet, mobilenet):
    def load(**changes):
        state = {name.replace("/", "."): value for name, value in {**resnet, **changes}.items() if value is not None}
        return load_reactnet18(state, stages=STAGES18)

    with pytest.raises(ValueError, match=r"no tensor 'layer2\.1\.move1\.bias', which 'blocks\.5\.activation\.before'"):
        load(**{"layer2.1.move1.bias": None})
    with pytest.raises(ValueError, match=r"1 tensor\(s\) that no layer takes, first 'layer1\.4\.move0\.bias'"):
        load(**{"layer1.4.move0.bias": torch.zeros(1, 8, 1, 1)})
    with pytest.raises(ValueError, match=r"'layer1\.0\.move0\.bias' must have the shape \(1, 8, 1, 1\), got \(8,\)"):
        load(**{"layer1.0.move0.bias": torch.zeros(8)})
    with pytest.raises(TypeError, match="'epoch' must be a tensor, got a int"):
        load(epoch=3)
    with pytest.raises(ValueError, match=r"with and without 'module\.'"):
        load(**{"module.fc.bias": torch.zeros(5)})
    with pytest.raises(ValueError, match=r"no tensor 'fc\.bias'"):
        load(**{"fc.bias": None})
    with pytest.raises(ValueError, match="that no layer takes"):
        load_reactnet18(mobilenet, stages=STAGES18)
    with pytest.raises(ValueError, match="that no layer takes"):
        load_reactnet_a(resnet, stages=STAGES_A)
    with pytest.raises(TypeError, match="state_dict must be a dictionary"):
        load_reactnet18({"state_dict": 3})


class Harmful:
    """Would run code if it were unpickled."""

    def __reduce__(self):
        return (print, ("ran",))


def test_a_file_that_runs_code_is_refused(tmp_path, capsys):
    torch.save({"state_dict": Harmful()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Harmful(), protocol=2))
    (tmp_path / "c.pth").write_bytes(b"")
    torch.save([1], tmp_path / "d.pth")
    for name, message in (
        ("a", "which are not read"),
        ("b", "which are not read"),
        ("c", "is damaged"),
        ("d", "got a list"),
    ):
        with pytest.raises(ValueError, match=message):
            read_checkpoint(tmp_path / f"{name}.pth")
    assert capsys.readouterr().out == ""
