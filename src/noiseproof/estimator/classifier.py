"""The estimator: parameters, ``fit``, ``predict``, and what noise does to its predictions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from noiseproof.checks import check_device
from noiseproof.data import Splits
from noiseproof.errors import DataError
from noiseproof.estimator.inputs import Codes, as_dataset, codes_of, fit_scaler, held_out, standardised
from noiseproof.estimator.settings import in_parameters_words, noise_text, recipe_for, seed_from
from noiseproof.evaluation import RobustnessReport, evaluate
from noiseproof.evaluation.views import View
from noiseproof.models import FeatureClassifier, Normalize
from noiseproof.models.files import save_model
from noiseproof.perturbations import Perturbation
from noiseproof.progress import ConsoleProgress, Silent
from noiseproof.training import fit_model

__all__ = ["NoiseRobustClassifier"]

_AT_ONCE = 4096


class NoiseRobustClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of vectors for scikit-learn that keeps working when its input is noisy.

    A perceptron with batch normalisation, trained by one of noiseproof's methods. Features are standardised inside,
    with the means and standard deviations of the training data, and noise is always measured **in units of each
    feature's standard deviation**: noise of 0.5 on a feature with a standard deviation of 20 has one of 10.

    It goes wherever scikit-learn's estimators go: pipelines, searches, cross-validation, ``clone``, ``joblib``. With
    one ``random_state``, on one machine with one number of threads, ``fit`` gives the same classifier. It leaves the
    global generators of torch as they were; threads that call ``fit`` take turns, processes need not. A pickle of it
    is read by whoever unpickles it; noiseproof itself never does, see :meth:`save`.

    Args:
        method: ``"discriminative"`` (the paper's), ``"mixed"``, ``"noisy"``, ``"stability"`` or ``"normal"``, which
            sees no noise.
        noise: what the training inputs are perturbed with: the standard deviation of Gaussian noise, ≥ 0, or any
            perturbation of vectors as text, such as ``"uniform:0.6"``.
        preset: where the options of ``"discriminative"`` that are left open come from: ``"paper"``, ``"best"`` or
            ``"authors-code"``.
        method_options: the method's own options, such as ``{"delta_d": 5.0}``; None for those of the preset.
        hidden_layer_sizes: the width of each hidden layer.
        embedding_dim: d ≥ 1, the width of the feature space that the method shapes.
        epochs: passes over the training data, ≥ 1.
        batch_size: samples a step, ≥ 2, or all where there are fewer; ``"auto"`` for a twentieth of all, but not
            fewer than 64 or more than 256.
        learning_rate: the highest of AdamW, > 0. It rises for a tenth of all steps, then falls to 0 along a cosine.
        weight_decay: of AdamW, ≥ 0.
        validation_fraction: share of every class that is held out, in [0, 1). The weights of the epoch with the best
            accuracy on it are kept; with 0 those of the last epoch.
        device: where to train, such as ``"cuda"``; None for a GPU if there is one. Predictions are made on the CPU.
        random_state: of initial weights, order and noise; a seed, a ``RandomState``, or None for one that differs.
        verbose: whether to show progress on standard error.

    Attributes:
        classes_: (C,) the labels that it knows, sorted.
        n_features_in_: F.
        feature_names_in_: (F,) the names of columns, where ``fit`` was given such.
        scaler_: the fitted :class:`sklearn.preprocessing.StandardScaler`.
        model_: the trained :class:`noiseproof.FeatureClassifier`, on the CPU; takes float32 inputs (N, F) as they are.
        loss_curve_: the mean training loss of every epoch.
        validation_scores_: the accuracy on what was held out, after every epoch; None where nothing was.

    Example:
        >>> from sklearn.datasets import load_wine
        >>> X, y = load_wine(return_X_y=True)
        >>> classifier = NoiseRobustClassifier(noise=0.5, epochs=5, random_state=0).fit(X, y)
        >>> classifier.predict_proba(X).shape
        (178, 3)
    """

    def __init__(
        self,
        method: str = "discriminative",
        *,
        noise: float | str = 0.5,
        preset: str = "paper",
        method_options: dict[str, Any] | None = None,
        hidden_layer_sizes: tuple[int, ...] = (128, 128),
        embedding_dim: int = 16,
        epochs: int = 50,
        batch_size: int | str = "auto",
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        validation_fraction: float = 0.0,
        device: str | None = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.noise = noise
        self.preset = preset
        self.method_options = method_options
        self.hidden_layer_sizes = hidden_layer_sizes
        self.embedding_dim = embedding_dim
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> NoiseRobustClassifier:
        """Train.

        Args:
            X: (N, F) finite numbers.
            y: (N,) labels of at least two classes, of any type that can be sorted.

        Returns:
            The estimator itself.

        Raises:
            InvalidArgumentError, RecipeError, UnknownNameError: a parameter that is not allowed.
            DataError: one class alone, or features too large or too small for float32.
            NonFiniteLossError, NonFiniteWeightsError: the training diverged.
            ValueError: scikit-learn's own, for inputs that are not such arrays.
        """
        inputs, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise DataError(f"y holds 1 class, {classes.tolist()[0]!r}; at least 2 are needed")
        seed = seed_from(self.random_state)
        recipe = recipe_for(self.get_params(deep=False), seed, len(inputs))
        device = check_device(self.device)
        names = [str(label) for label in classes]

        rest, part = held_out(codes, recipe.data.validation_fraction, seed)
        scaler = fit_scaler(inputs[rest])
        train = as_dataset(scaler, inputs[rest], codes[rest], names)
        validation = as_dataset(scaler, inputs[part], codes[part], names) if len(part) else None
        progress = ConsoleProgress(Console(stderr=True)) if self.verbose else Silent()
        with in_parameters_words(recipe.method):
            fitted = fit_model(recipe, Splits(train, validation, test=train), device=device, progress=progress)

        first_layer = Normalize(scaler.mean_, scaler.scale_)  # in place of that for standardised inputs
        self.classes_ = classes
        self.scaler_ = scaler
        self.model_ = FeatureClassifier(fitted.model.backbone, fitted.model.head, first_layer).eval()
        self._description = replace(
            fitted.description,
            mean=tuple(scaler.mean_.tolist()),
            std=tuple(scaler.scale_.tolist()),
            feature_names=tuple(self.feature_names_in_) if hasattr(self, "feature_names_in_") else None,
        )
        self.loss_curve_ = [metrics["loss"] for metrics in fitted.metrics]
        scores = [metrics.get("validation_accuracy") for metrics in fitted.metrics]
        self.validation_scores_ = None if validation is None else scores
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of every row of X (N, F): (N,), of the labels' own type."""
        codes = self._logits(X).argmax(1)
        chosen: NDArray[Any] = self.classes_[codes]
        return chosen

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of every class, in the order of ``classes_``: (N, C)."""
        probabilities: NDArray[np.float64] = softmax(self._logits(X), axis=1)
        return probabilities

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the logits (N, C); of two classes the second's minus the first's, (N,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def robustness(
        self,
        X: ArrayLike,
        y: ArrayLike,
        perturbations: Sequence[str | View] = ("clean", "gaussian:0.25", "gaussian:0.5", "gaussian:1"),
        *,
        draws: int = 10,
        seed: int = 0,
    ) -> RobustnessReport:
        """Measure the accuracy under each perturbation, as :func:`noiseproof.evaluate` does.

        Args:
            X: (N, F) inputs.
            y: (N,) labels.
            perturbations: texts. Levels are in units of each feature's standard deviation in the training data.
            draws: independent draws of each perturbation that is random, ≥ 1.
            seed: of the noise.

        Returns:
            A report, by perturbation: ``report["gaussian:0.5"].mean``.

        Raises:
            DataError: a label that ``fit`` has not seen.
            UnknownNameError, InvalidArgumentError: a perturbation that does not exist, or is not for vectors.
        """
        inputs = self._validated(X)
        check_consistent_length(inputs, y)
        return self._measured(inputs, codes_of(y, self.classes_), perturbations, draws, seed)

    def predict_stability(
        self, X: ArrayLike, noise: float | str | Perturbation | None = None, *, draws: int = 100, seed: int = 0
    ) -> NDArray[np.float64]:
        """Return how often each prediction stays what it is when noise is added: (N,), from 0 to 1.

        Args:
            X: (N, F) inputs.
            noise: a standard deviation or a perturbation, in the units of the parameter ``noise``; None for that.
            draws: of the noise, ≥ 1.
            seed: of the noise.

        Raises:
            UnknownNameError, InvalidArgumentError: a perturbation that does not exist, or is not for vectors.
        """
        inputs = self._validated(X)
        text = noise_text(self.noise if noise is None else noise)
        report = self._measured(inputs, self._logits_of(inputs).argmax(1), [text], draws, seed)
        stays: NDArray[np.float64] = report[text].correct.mean(axis=0, dtype=np.float64)
        return stays

    def save(self, path: str | Path) -> None:
        """Write ``model_`` to ``path``, a safetensors file that holds weights, classes and scaling, and no code.

        ``noiseproof.models.files.load_model`` reads it, and so does ``noiseproof evaluate``. Noise that is added to
        the inputs of that model is in the features' own units.
        """
        check_is_fitted(self)
        save_model(Path(path), self.model_, self._description)

    def _validated(self, X: ArrayLike) -> NDArray[np.float64]:
        check_is_fitted(self)
        checked: NDArray[np.float64] = validate_data(self, X, dtype=np.float64, reset=False)
        return checked

    def _logits(self, X: ArrayLike) -> NDArray[np.float64]:
        return self._logits_of(self._validated(X))

    def _logits_of(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        batches = torch.from_numpy(standardised(self.scaler_, inputs)).split(_AT_ONCE)
        network = self._network()
        with torch.inference_mode():
            return np.concatenate([network(batch.double()).numpy() for batch in batches])

    def _measured(
        self, X: NDArray[np.float64], codes: Codes, perturbations: Sequence[str | View], draws: int, seed: int
    ) -> RobustnessReport:
        data = as_dataset(self.scaler_, X, codes, [str(label) for label in self.classes_])
        return evaluate(self._network(), data, perturbations, draws=draws, seed=seed)

    def _network(self) -> FeatureClassifier:
        """The model for standardised inputs, in float64: a row's logits then hardly depend on the rows beside it."""
        network = copy.deepcopy(FeatureClassifier(self.model_.backbone, self.model_.head))
        return network.to("cpu", torch.float64).eval()
