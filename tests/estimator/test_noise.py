"""What noise does: in training, in reports, to single predictions, and in which units."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from noiseproof import NoiseRobustClassifier, RobustnessReport
from noiseproof.errors import DataError, InvalidArgumentError, UnknownNameError
from noiseproof.methods import METHODS
from tests.estimator.problems import a_fine_difference_and_vague_hints, small, wine


def test_training_on_noise_is_what_makes_it_robust() -> None:
    """Without noise the fine difference decides, and noise hides it; 62 % and 87 % are what theory allows."""
    X, y = a_fine_difference_and_vague_hints(400, seed=0)
    clean, labels = a_fine_difference_and_vague_hints(2000, seed=1)
    noisy = clean + np.random.default_rng(2).normal(scale=0.7, size=clean.shape)
    common = {"noise": 0.7, "hidden_layer_sizes": (32,), "epochs": 40, "batch_size": 64, "random_state": 0}
    methods = ("normal", "mixed", "discriminative")
    fitted = {method: NoiseRobustClassifier(method, **common).fit(X, y) for method in methods}
    accuracy = {method: classifier.score(noisy, labels) for method, classifier in fitted.items()}
    assert accuracy["normal"] < 0.7
    assert 0.8 < accuracy["mixed"] < 0.88
    assert 0.8 < accuracy["discriminative"] < 0.88
    assert fitted["normal"].score(clean, labels) > 0.99


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_learns(method: str) -> None:
    X, y = wine()
    fitted = small(method=method, epochs=12).fit(X, y)
    assert fitted.score(X, y) > 0.93
    assert fitted.loss_curve_[-1] < 0.8 * fitted.loss_curve_[0]
    assert len(fitted.loss_curve_) == 12


def test_noise_is_in_units_of_each_features_standard_deviation() -> None:
    """Noise that is added by hand, as much as each feature varies, costs as much accuracy as the report says."""
    X, y = wine()
    fitted = small(epochs=12).fit(X, y)
    report = fitted.robustness(X, y, ["gaussian:1.5"], draws=30)
    generator = np.random.default_rng(0)
    by_hand = [fitted.score(X + generator.normal(scale=1.5 * X.std(0), size=X.shape), y) for _ in range(30)]
    assert report["gaussian:1.5"].mean == pytest.approx(np.mean(by_hand), abs=0.02)
    assert report["gaussian:1.5"].mean < fitted.score(X, y) - 0.1


def test_the_noise_of_training_is_in_those_units_too() -> None:
    """Training in other units of measurement, and far from 0, gives the same classifier."""
    X, y = wine()
    scale, shift = np.logspace(-12, 12, X.shape[1]), np.linspace(-1e3, 1e3, X.shape[1])
    there = (StandardScaler().fit_transform(X) + shift) * scale
    expected = small(noise=1.0).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(small(noise=1.0).fit(there, y).predict_proba(there), expected, atol=2e-3)
    assert np.abs(small(noise=0.1).fit(X, y).predict_proba(X) - expected).max() > 0.05


def test_a_number_is_the_std_of_gaussian_noise() -> None:
    X, y = wine()
    expected = small(noise=0.5).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(small(noise="gaussian:1/2").fit(X, y).predict_proba(X), expected)
    assert not np.array_equal(small(noise="uniform:0.5").fit(X, y).predict_proba(X), expected)


def test_a_report_is_of_the_labels_as_they_are_called() -> None:
    X, y = wine()
    names = np.array(["barbera", "grignolino", "barolo"])[y]
    fitted = small().fit(X, names)
    report = fitted.robustness(X, names, ["clean", "gaussian:0.5"], draws=3, seed=5)
    assert isinstance(report, RobustnessReport)
    assert report.class_names == ("barbera", "barolo", "grignolino")
    np.testing.assert_array_equal(report["clean"].correct[0], fitted.predict(X) == names)
    assert report["gaussian:0.5"].correct.shape == (3, len(X))
    assert report == fitted.robustness(X, list(names), ["clean", "gaussian:0.5"], draws=3, seed=5)
    part = fitted.robustness(X[names == "barolo"], names[names == "barolo"], ["clean"])
    assert part["clean"].mean == fitted.score(X[names == "barolo"], names[names == "barolo"])


def test_a_report_needs_labels_that_were_learnt_and_noise_for_vectors() -> None:
    X, y = wine()
    fitted = small().fit(X, y)
    with pytest.raises(DataError, match="y holds 'barolo', which the classifier was not trained on; it knows 0, 1, 2"):
        fitted.robustness(X, ["barolo"] * len(X))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.robustness(X, y[1:])
    with pytest.raises(InvalidArgumentError, match="takes images"):
        fitted.robustness(X, y, ["jpeg:20"])
    with pytest.raises(UnknownNameError, match="did you mean 'gaussian'"):
        fitted.robustness(X, y, ["gausian:1"])


def test_stability_is_the_share_of_noisy_inputs_that_get_the_same_answer() -> None:
    X, y = a_fine_difference_and_vague_hints(300, seed=0)
    fitted = small(epochs=12, noise=0.7).fit(X, y)
    stability = fitted.predict_stability(X, draws=200)
    generator = np.random.default_rng(0)
    answers = fitted.predict(X)
    scale = 0.7 * X.std(0)
    by_hand = np.mean(
        [fitted.predict(X + generator.normal(scale=scale, size=X.shape)) == answers for _ in range(200)], 0
    )
    assert np.abs(stability - by_hand).max() < 0.2  # each has a std of at most 0.035
    assert stability.mean() == pytest.approx(by_hand.mean(), abs=0.01)
    assert fitted.predict_stability(X, 0.0, draws=2).tolist() == [1.0] * len(X)
    assert fitted.predict_stability(X, "uniform:0.1", draws=20).mean() > stability.mean()
    sure = np.abs(fitted.decision_function(X))
    assert stability[sure > np.quantile(sure, 0.8)].min() > stability[sure < np.quantile(sure, 0.2)].mean()
