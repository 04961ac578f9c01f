"""Pictures of feature spaces (Figs. 1, 12 and 13), and a number beside each that needs no picture."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TextIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noiseproof import seeding
from noiseproof.analysis.layers import PENULTIMATE, check_classifier, layer_features, stages
from noiseproof.analysis.samples import Selection, select
from noiseproof.checks import check_device, check_range
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.evaluation.blocks import BLOCK, Block, Evaluable, as_dataset
from noiseproof.models import FeatureClassifier
from noiseproof.perturbations import Perturbation, perturbation
from noiseproof.progress import ProgressReporter, Silent, Task

__all__ = ["NEIGHBOURS", "FeatureMap", "feature_map", "feature_maps"]

NEIGHBOURS = 10

_COMPONENTS = 50  # that t-SNE is given; wider features are projected


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """The features of one layer in the plane, by t-SNE, and what their neighbours say of them.

    Clean and noisy features are laid out together, so that their places compare. Within a layout only who is near to
    whom means something: not the axes, not the sizes of clusters, not distances between them, nor one layout
    against another. The accuracies of the neighbours do compare, over layers and models.

    Attributes:
        layer: its name as in ``model.named_modules()``, or ``features`` for the penultimate features.
        clean: (N, 2) places of the clean inputs' features.
        noisy: (N, 2) places of the noisy inputs' features, in the same order; None where no noise was asked for.
        labels: (N,) true classes.
        indices: (N,) places of the samples in their data set.
        class_names: one per class.
        noise: the perturbation's text; ``clean`` for none.
        perplexity: of t-SNE, > 0.
        seed: of the noise and of t-SNE.
        neighbours_clean: in [0, 1], how often the ``NEIGHBOURS`` = 10 nearest clean features, without a sample's own,
            are by majority of its class (the first class of several with most votes); fewer neighbours where there
            are no more. By Euclidean distance between the layer's features as they are, not in the plane.
        neighbours_noisy: likewise for the noisy features, classified by the clean features of the other samples; NaN
            where there are none.
    """

    layer: str
    clean: NDArray[np.float32]
    noisy: NDArray[np.float32] | None
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    class_names: tuple[str, ...]
    noise: str
    perplexity: float
    seed: int
    neighbours_clean: float
    neighbours_noisy: float


def feature_map(
    model: FeatureClassifier,
    dataset: Evaluable,
    noise: str | Perturbation | None = "gaussian:0.06",
    *,
    layer: str = PENULTIMATE,
    limit: int | None = 1000,
    perplexity: float = 30.0,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> FeatureMap:
    """Lay out the features of one layer for clean and for noisy inputs, as in Fig. 1; see :func:`feature_maps`."""
    return feature_maps(
        model, dataset, noise, [layer], limit=limit, perplexity=perplexity, seed=seed, device=device, progress=progress
    )[layer]


def feature_maps(
    model: FeatureClassifier,
    dataset: Evaluable,
    noise: str | Perturbation | None = "gaussian:0.06",
    layers: Sequence[str] | None = None,
    *,
    limit: int | None = 1000,
    perplexity: float = 30.0,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> dict[str, FeatureMap]:
    """Lay out the features of several layers for clean and for noisy inputs, as in Figs. 12 and 13.

    The model runs once over the clean and once over the noisy inputs, whose noise is that of the first draw of
    :func:`noiseproof.evaluate` on the same samples. Features are pooled as :func:`layer_features` says, projected to
    their 50 principal components where they are wider, and embedded by t-SNE (van der Maaten & Hinton, JMLR 9, 2008)
    from a start at the first two components, in one thread: the same seed gives the same map.

    Args:
        model: with the layers; it is run in evaluation mode and left as it was.
        dataset: as for :func:`noiseproof.evaluate`, of at least two samples.
        noise: a perturbation or its text; None, or ``"clean"``, for clean inputs alone.
        layers: as for :func:`layer_features`; None for the network's :func:`stages` and the penultimate features.
        limit: only so many samples, evenly spread; None for all. Time grows a little faster than their number.
        perplexity: of t-SNE, roughly how many neighbours a point has; > 0, and less than the number of points, which
            is 2N with noise.
        seed: of the noise and of t-SNE.
        device: where to run the model, and where it is moved to; None for where it is.
        progress: where to report. While t-SNE reports, its lines are taken from standard output.

    Returns:
        A :class:`FeatureMap` for each layer.

    Raises:
        UnknownNameError: no such layer or perturbation.
        DataError: see :func:`noiseproof.evaluate`; fewer than two samples.
        InvalidArgumentError: a perplexity outside its range, inputs that the model does not take, or features that
            are not finite or all the same.
    """
    names = (*stages(model), PENULTIMATE) if layers is None else layers
    check_classifier(model)
    noise = perturbation("clean" if noise is None else noise)
    data = as_dataset(dataset)
    samples = select(data, limit)
    count = len(samples.indices)
    if count < 2:
        raise DataError("a feature map needs at least two samples")
    is_clean = noise.name == "clean"
    points = count if is_clean else 2 * count
    check_range("perplexity", perplexity, 0, open_low=True)
    if perplexity >= points:
        raise InvalidArgumentError(f"perplexity must be less than {points}, the number of points, got {perplexity:g}")
    model = model.to(check_device(device) or model.head.weight.device)
    labels, clean, noisy = _features(model, samples, names, None if is_clean else noise, seed, progress)
    if labels.min() < 0:
        raise DataError(f"the data has the label {labels.min()}, but classes are numbered from 0")
    class_names = getattr(data, "class_names", None) or [str(c) for c in range(int(labels.max()) + 1)]
    return {
        name: FeatureMap(
            name,
            *_places(name, clean[name], noisy.get(name), perplexity, seed, progress),
            labels,
            samples.indices,
            tuple(class_names),
            noise.spec,
            perplexity,
            seed,
            _neighbours_accuracy(clean[name], clean[name], labels),
            _neighbours_accuracy(clean[name], noisy[name], labels) if noisy else float("nan"),
        )
        for name in names
    }


def _features(
    model: FeatureClassifier,
    samples: Selection,
    layers: Sequence[str],
    noise: Perturbation | None,
    seed: int,
    progress: ProgressReporter | None,
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Labels (N,), and for each layer the features (N, C_l) of clean inputs, and of noisy ones if there is noise."""
    labels, clean, noisy = [], [], []
    device = model.head.weight.device
    with (progress or Silent()).task("features", len(samples.indices)) as task:
        for block in samples:
            labels.append(block.labels)
            clean.append(layer_features(model, block.inputs, layers))
            if noise is not None:
                noisy.append(layer_features(model, _perturbed(noise, block, seed, device), layers))
            task.advance(len(block.labels))
    return torch.cat(labels).numpy(), _joined(clean), _joined(noisy)


def _perturbed(noise: Perturbation, block: Block, seed: int, device: torch.device) -> Tensor:
    """The first draw of ``evaluate``, which fills blocks up, since generators give other numbers for fewer."""
    inputs = block.inputs.to(device)
    filled = torch.cat([inputs, inputs.new_zeros(BLOCK - len(inputs), *inputs.shape[1:])])
    return noise(filled, seeding.generator(seed, noise.spec, 0, block.number, device=device))[: len(inputs)]


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, NDArray[np.float32]]:
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]} if parts else {}


def _places(
    layer: str,
    clean: NDArray[np.float32],
    noisy: NDArray[np.float32] | None,
    perplexity: float,
    seed: int,
    progress: ProgressReporter | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """One layout of all features: (N, 2) for the clean and (N, 2) for the noisy ones."""
    points = clean if noisy is None else np.concatenate([clean, noisy])
    if not np.isfinite(points).all():
        raise InvalidArgumentError(f"the features of layer {layer!r} are not finite")
    if not np.ptp(points, axis=0).any():
        raise InvalidArgumentError(f"the features of layer {layer!r} are the same for every input: there is no map")
    places = _tsne(points, perplexity, seeding.derive_seed(seed, "t-SNE") % 2**32, f"t-SNE of {layer}", progress)
    return places[: len(clean)], None if noisy is None else places[len(clean) :]


def _tsne(
    points: NDArray[np.float32], perplexity: float, random_state: int, title: str, progress: ProgressReporter | None
) -> NDArray[np.float32]:
    """Embed points (n, C) in the plane: (n, 2)."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # Several threads add up the gradient's normaliser in an order that differs from run to run.
    with threadpool_limits(1):
        if points.shape[1] > _COMPONENTS:
            points = PCA(min(_COMPONENTS, len(points)), svd_solver="full").fit_transform(points)
        if points.shape[1] == 1:
            points = np.pad(points, ((0, 0), (0, 1)))  # the start needs two components: that of a line lies on a line
        tsne = TSNE(init="pca", perplexity=perplexity, random_state=random_state)
        if progress is None:
            return np.asarray(tsne.fit_transform(points), dtype=np.float32)
        with progress.task(title, tsne.max_iter) as task:
            listener = _Listener(sys.stdout, task)
            with redirect_stdout(cast(TextIO, listener)):
                places = tsne.set_params(verbose=2).fit_transform(points)
            listener.reach(tsne.max_iter)
        return np.asarray(places, dtype=np.float32)


class _Listener:
    """Standard output that keeps t-SNE's lines to itself, for the iterations they tell of, and hands on all else.

    scikit-learn's t-SNE tells nobody else how far it is.
    """

    def __init__(self, stdout: TextIO, task: Task) -> None:
        self._stdout, self._task = stdout, task
        self._reached = 0
        self._in_line = False

    def write(self, text: str) -> int:
        if text.startswith("[t-SNE]"):
            self._in_line = not text.endswith("\n")
            told = re.match(r"\[t-SNE\] Iteration (\d{1,9})\b", text)
            if told:
                self.reach(int(told[1]))
        elif self._in_line and text == "\n":
            self._in_line = False
        else:
            self._stdout.write(text)
        return len(text)

    def reach(self, iteration: int) -> None:
        """Report what lies between the last iteration heard of and this one."""
        if iteration > self._reached:
            self._task.advance(iteration - self._reached)
            self._reached = iteration

    def __getattr__(self, name: str) -> object:
        return getattr(self._stdout, name)


def _neighbours_accuracy(clean: NDArray[np.float32], queries: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """How often the nearest clean features (N, C), but for its own, tell the class of each query (N, C): in [0, 1]."""
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS, len(clean) - 1)
    index = NearestNeighbors(n_neighbors=count + 1).fit(clean.astype(np.float64))
    near = index.kneighbors(queries.astype(np.float64), return_distance=False)
    out = near == np.arange(len(near))[:, None]  # the sample itself
    out[~out.any(axis=1), -1] = True  # and the farthest, where it is not among them
    voters = labels[near[~out].reshape(-1, count)]
    votes = (voters[:, :, None] == np.arange(labels.max() + 1)).sum(axis=1)
    return float((votes.argmax(axis=1) == labels).mean())
