"""Models by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from noiseproof.checks import check_whole
from noiseproof.errors import InvalidArgumentError, NoiseproofError, UnknownNameError
from noiseproof.models import networks
from noiseproof.models.channels import adapt_channels
from noiseproof.models.classifier import FeatureClassifier
from noiseproof.models.normalize import Normalize
from noiseproof.models.splitting import split_at_last_linear
from noiseproof.registry import Registry

__all__ = ["BACKBONES", "build_model", "library_model"]

BACKBONES: Registry[Callable[..., nn.Module]] = Registry("model")
BACKBONES.register("resnet18-cifar")(networks.resnet18_cifar)
BACKBONES.register("resnet8-cifar")(networks.resnet8_cifar)
BACKBONES.register("small-cnn")(networks.small_cnn)
BACKBONES.register("mlp")(networks.mlp)
BACKBONES.register("series-cnn")(networks.series_cnn)


def build_model(
    name: str,
    num_classes: int,
    embedding_dim: int | None = None,
    *,
    in_channels: int = 3,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    **options: Any,
) -> FeatureClassifier:
    """Build a classifier with random weights (unless ``options`` ask for others).

    Args:
        name: ``"resnet18-cifar"`` (the paper's, H.1), ``"resnet8-cifar"``, ``"small-cnn"``, ``"mlp"``,
            ``"series-cnn"``, ``"torchvision/NAME"`` or ``"timm/NAME"``.
        num_classes: C ≥ 2.
        embedding_dim: d, the width of the feature space; 128 by default. For torchvision's and timm's models None
            keeps the features they have, and a number puts ReLU and Linear(…, d) behind them as in H.1.
        in_channels: channels of images and series, components of vectors.
        mean: per-channel means for the first layer; None, with ``std``, for none.
        std: per-channel standard deviations.
        **options: handed to the network's own constructor, such as ``width=64`` or ``weights="DEFAULT"``.

    Returns:
        A :class:`FeatureClassifier` that takes inputs in [0, 1].

    Raises:
        UnknownNameError: no model of that name.
        InvalidArgumentError: an argument outside its range, or an option that the network does not have.
        ModelSplitError: a torchvision or timm model that does not end in an ``nn.Linear``.
        NoiseproofError: pretrained weights were asked for and cannot be fetched.
    """
    if not isinstance(name, str):
        raise InvalidArgumentError(f"the model's name must be text, got {name!r}")
    check_whole("num_classes", num_classes, 2)
    check_whole("in_channels", in_channels, 1)
    if embedding_dim is not None:
        check_whole("embedding_dim", embedding_dim, 1)
    if "width" in options:
        check_whole("width", options["width"], 1)
    if (mean is None) != (std is None):
        raise InvalidArgumentError("mean and std go together: give both or neither")
    library, slash, model = name.partition("/")
    try:
        if slash:
            backbone, head = _from_library(library, model, num_classes, embedding_dim, in_channels, options)
        else:
            width = 128 if embedding_dim is None else embedding_dim
            backbone = BACKBONES[name](in_channels=in_channels, embedding_dim=width, **options)
            head = nn.Linear(width, num_classes)
    except OSError as error:
        raise NoiseproofError(
            f"the pretrained weights of {name!r} cannot be fetched ({error}); put them into {torch.hub.get_dir()}, or "
            "train without them: --set model.options.weights=null"
        ) from error
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, NoiseproofError):
            raise
        raise InvalidArgumentError(f"model {name!r} does not take these options, {options}: {error}") from error
    normalize = None if mean is None or std is None else Normalize(mean, std)
    if normalize is not None and normalize.mean.numel() not in (1, in_channels):
        raise InvalidArgumentError(
            f"mean and std must have 1 value or one for each of {in_channels} channels, got {normalize.mean.numel()}"
        )
    return FeatureClassifier(backbone, head, normalize)


def _from_library(
    library: str, name: str, num_classes: int, embedding_dim: int | None, in_channels: int, options: dict[str, Any]
) -> tuple[nn.Module, nn.Linear]:
    module = library_model(f"{library}/{name}", num_classes, in_channels, **options)
    size = options.get("image_size", options.get("img_size"))
    backbone, head = split_at_last_linear(module, None if size is None else torch.zeros(2, in_channels, size, size))
    if embedding_dim is not None:
        backbone = nn.Sequential(backbone, nn.ReLU(), nn.Linear(head.in_features, embedding_dim))
        head = nn.Linear(embedding_dim, num_classes)
    elif head.out_features != num_classes:
        head = nn.Linear(head.in_features, num_classes)
    return backbone, head


def library_model(name: str, num_classes: int, in_channels: int = 3, **options: Any) -> nn.Module:
    """Return the model ``torchvision/NAME`` or ``timm/NAME`` as its library builds it.

    Raises:
        UnknownNameError: no such library or model.
    """
    library, _, model = name.partition("/")
    if library == "torchvision":
        return _torchvision(model, num_classes, in_channels, options)
    if library == "timm":
        return _timm(model, num_classes, in_channels, options)
    raise UnknownNameError("model library", library, ("torchvision", "timm"))


def _torchvision(name: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UnknownNameError("torchvision model", name, known)
    if options.get("weights") is None:  # pretrained weights come with the classes they were trained on
        options = {**options, "num_classes": num_classes}
    model: nn.Module = torchvision.models.get_model(name, **options)
    return model if in_channels == 3 else adapt_channels(model, in_channels)


def _timm(name: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise InvalidArgumentError("models named 'timm/…' need timm: pip install 'noiseproof[timm]'") from None
    if not timm.is_model(name):
        raise UnknownNameError("timm model", name, timm.list_models())
    model: nn.Module = timm.create_model(name, num_classes=num_classes, in_chans=in_channels, **options)
    return model
