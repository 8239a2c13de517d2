"""The float networks that the packed ones are measured against, in the shapes of their papers, untrained."""

from torch import Tensor, nn


def _conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)]


class Residual(nn.Module):
    """``after(body(x) + shortcut(x))``."""

    def __init__(self, body: list[nn.Module], shortcut: list[nn.Module], after: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.after = nn.Sequential(*body), nn.Sequential(*shortcut), after

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.after(self.body(x_BCHW) + self.shortcut(x_BCHW))


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
