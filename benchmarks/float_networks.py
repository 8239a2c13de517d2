"""The float networks that the packed ones are measured against, in the shapes of their papers, untrained."""

from functools import partial

from torch import Tensor, nn


def _conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, eps: float = 1e-5) -> list[nn.Module]:
    return [
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout, eps),
    ]


class Residual(nn.Module):
    """``after(body(x) + shortcut(x))``."""

    def __init__(self, body: list[nn.Module], shortcut: list[nn.Module], after: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.after = nn.Sequential(*body), nn.Sequential(*shortcut), after

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.after(self.body(x_BCHW) + self.shortcut(x_BCHW))


class SqueezeExcite(nn.Module):
    """``x * gate(mean of x)``: a factor of 0...1 for every channel (arXiv:1709.01507)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        squeeze = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.ReLU()]
        self.gate = nn.Sequential(*squeeze, nn.Conv2d(squeezed, channels, 1), nn.Hardsigmoid())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW * self.gate(x_BCHW)


def _classifier(channels: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def resnet18(classes: int = 1000) -> nn.Sequential:
    """(B, 3, 224, 224) -> logits: ResNet-18 with projections, 11.7 million weights (arXiv:1512.03385, table 1)."""
    layers = [*_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    cin = 64
    for cout, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        body = [*_conv(cin, cout, 3, stride), nn.ReLU(), *_conv(cout, cout, 3)]
        layers.append(Residual(body, _conv(cin, cout, 1, stride) if stride > 1 else [], nn.ReLU()))
        cin = cout
    return nn.Sequential(*layers, *_classifier(512, classes))


def mobilenet_v2(classes: int = 1000) -> nn.Sequential:
    """(B, 3, 224, 224) -> logits: MobileNetV2 of width 1, 3.5 million weights (arXiv:1801.04381, table 2)."""
    layers = [*_conv(3, 32, 3, 2), nn.ReLU6()]
    cin = 32
    for expansion, cout, count, first in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for index in range(count):
            stride, wide = first if index == 0 else 1, expansion * cin
            body = [*_conv(cin, wide, 1), nn.ReLU6()] if expansion > 1 else []
            body += [*_conv(wide, wide, 3, stride, wide), nn.ReLU6(), *_conv(wide, cout, 1)]
            layers += [Residual(body, [], nn.Identity())] if stride == 1 and cin == cout else body
            cin = cout
    return nn.Sequential(*layers, *_conv(cin, 1280, 1), nn.ReLU6(), *_classifier(1280, classes))


def _multiple_of_8(count: float) -> int:
    """The nearest multiple of 8 that is not less than nine tenths of ``count``."""
    nearest = max(8, int(count + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * count else nearest + 8


def mobilenet_v3_small(classes: int = 1000) -> nn.Sequential:
    """(B, 3, 224, 224) -> logits: MobileNetV3-Small, 2.5 million weights (arXiv:1905.02244, table 2)."""
    conv = partial(_conv, eps=1e-3)
    layers = [*conv(3, 16, 3, 2), nn.Hardswish()]
    cin = 16
    for kernel, wide, cout, squeezes, activation, stride in (
        (3, 16, 16, True, nn.ReLU, 2),
        (3, 72, 24, False, nn.ReLU, 2),
        (3, 88, 24, False, nn.ReLU, 1),
        (5, 96, 40, True, nn.Hardswish, 2),
        (5, 240, 40, True, nn.Hardswish, 1),
        (5, 240, 40, True, nn.Hardswish, 1),
        (5, 120, 48, True, nn.Hardswish, 1),
        (5, 144, 48, True, nn.Hardswish, 1),
        (5, 288, 96, True, nn.Hardswish, 2),
        (5, 576, 96, True, nn.Hardswish, 1),
        (5, 576, 96, True, nn.Hardswish, 1),
    ):
        body = [*conv(cin, wide, 1), activation()] if wide != cin else []
        body += [*conv(wide, wide, kernel, stride, wide), activation()]
        body += [SqueezeExcite(wide, _multiple_of_8(wide / 4))] if squeezes else []
        body += conv(wide, cout, 1)
        layers += [Residual(body, [], nn.Identity())] if stride == 1 and cin == cout else body
        cin = cout
    layers += [*conv(cin, 6 * cin, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6 * cin, 1024), nn.Hardswish(), nn.Linear(1024, classes))
