"""The networks that noiseproof brings along: backbones from a normalised input to (N, embedding_dim) features."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn

from noiseproof.checks import check_whole
from noiseproof.models.pooling import AdaptiveAvgPool1d, AdaptiveAvgPool2d

__all__ = ["mlp", "resnet8_cifar", "resnet18_cifar", "series_cnn", "small_cnn"]


def resnet18_cifar(in_channels: int, embedding_dim: int) -> nn.Module:
    """The paper's ResNet-18 (H.1): 3×3 stem, no max-pool, global average pooling, ReLU, Linear(512, embedding_dim)."""
    from torchvision.models import resnet18

    network: nn.Module = resnet18(num_classes=1)
    network.conv1 = nn.Conv2d(in_channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    network.fc = nn.Sequential(nn.ReLU(), nn.Linear(512, embedding_dim))
    return network


def resnet8_cifar(in_channels: int, embedding_dim: int, width: int = 32, stem_stride: int = 1) -> nn.Module:
    """A residual network of three basic blocks, ``width`` to 4 · ``width`` channels, that ends like the paper's.

    ``stem_stride`` 2 lets the first convolution halve height and width, for speed.
    """
    from torchvision.models.resnet import BasicBlock

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        shortcut = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        made: nn.Module = BasicBlock(inputs, outputs, stride, shortcut)
        return made

    return nn.Sequential(
        *_conv2d(in_channels, width, stem_stride),
        block(width, width, 1),
        block(width, 2 * width, 2),
        block(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.ReLU(),
        nn.Linear(4 * width, embedding_dim),
    )


def small_cnn(in_channels: int, embedding_dim: int, width: int = 32) -> nn.Module:
    """Three convolutions with batch normalisation, for small images and short runs on a CPU."""
    return nn.Sequential(
        *_conv2d(in_channels, width),
        *_conv2d(width, 2 * width, stride=2),
        *_conv2d(2 * width, 2 * width),
        AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, embedding_dim),
    )


def mlp(in_channels: int, embedding_dim: int, width: int = 128, hidden: Sequence[int] | None = None) -> nn.Module:
    """Hidden layers with batch normalisation, for vectors of ``in_channels`` components: two of ``width`` units each,
    or as many as ``hidden`` lists widths."""
    widths = (width, width) if hidden is None else [check_whole("hidden", each, 1) for each in hidden]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise((in_channels, *widths)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1] if widths else in_channels, embedding_dim))


def series_cnn(in_channels: int, embedding_dim: int, width: int = 32) -> nn.Module:
    """Three 1-D convolutions with batch normalisation, for series of ``in_channels`` channels of any length."""
    return nn.Sequential(
        *_conv1d(in_channels, width),
        *_conv1d(width, 2 * width, stride=2),
        *_conv1d(2 * width, 2 * width),
        AdaptiveAvgPool1d(4),
        nn.Flatten(),
        nn.Linear(8 * width, embedding_dim),
    )


def _conv2d(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _conv1d(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv1d(inputs, outputs, 5, stride, padding=2, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
