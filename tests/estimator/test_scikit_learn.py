"""The estimator among scikit-learn's tools: its own checks, pipelines, searches, copies."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from noiseproof import NoiseRobustClassifier
from tests.estimator.problems import small, wine


@parametrize_with_checks([NoiseRobustClassifier(hidden_layer_sizes=(16,), epochs=5)])
def test_scikit_learns_own_checks(estimator: NoiseRobustClassifier, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_in_a_pipeline_and_cross_validated() -> None:
    X, y = wine()
    X[::7, 3] = np.nan
    pipeline = make_pipeline(SimpleImputer(), small(epochs=30, batch_size=32))
    scores = cross_val_score(pipeline, X, y, cv=3)
    assert scores.mean() > 0.93
    np.testing.assert_array_equal(scores, cross_val_score(clone(pipeline), X, y, cv=3))


def test_a_grid_over_options_and_noise_made_of_numpy_numbers() -> None:
    X, y = wine()
    grid = {
        "method_options": [{"delta_d": np.float64(3.0)}, {"delta_d": np.float32(6.0)}],
        "noise": np.array([0.25, 1.0], dtype=np.float32),
        "epochs": np.array([2]),
    }
    search = GridSearchCV(small(), grid, cv=2, error_score="raise").fit(X, y)
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    assert search.best_params_["method_options"]["delta_d"] in (3.0, 6.0)
    assert search.predict(X).shape == y.shape


def test_wrapped_in_calibration_and_in_a_vote() -> None:
    X, y = wine()
    calibrated = CalibratedClassifierCV(small(), cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(1), 1)
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    vote = VotingClassifier([("own", small()), ("logistic", logistic)], voting="soft").fit(X, y)
    assert vote.score(X, y) > 0.9


def test_clone_takes_the_parameters_and_not_what_was_learnt() -> None:
    X, y = wine()
    fitted = small(noise="uniform:0.3", method="mixed", epochs=1).fit(X, y)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "model_")


def test_threads_that_fit_at_once_get_what_one_alone_gets() -> None:
    X, y = wine()
    alone = [small(random_state=seed).fit(X, y).predict_proba(X) for seed in range(4)]
    with joblib.parallel_config(backend="threading"):
        together = joblib.Parallel(n_jobs=4)(
            joblib.delayed(lambda seed: small(random_state=seed).fit(X, y).predict_proba(X))(seed) for seed in range(4)
        )
    for expected, got in zip(alone, together, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("copied", ["pickle", "joblib"])
def test_copies_of_a_fitted_estimator_answer_alike(copied: str) -> None:
    X, y = wine()
    fitted = small().fit(X, y)
    if copied == "pickle":
        copy = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    else:
        file = io.BytesIO()
        joblib.dump(fitted, file)
        file.seek(0)
        copy = joblib.load(file)
    np.testing.assert_array_equal(copy.predict_proba(X), fitted.predict_proba(X))
    assert torch.equal(copy.model_.head.weight, fitted.model_.head.weight)


def test_columns_of_a_data_frame_are_known_by_name() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = wine()
    frame = pandas.DataFrame(X, columns=[f"m{column}" for column in range(X.shape[1])])
    labels = pandas.Series(y).map({0: "a", 1: "b", 2: "c"}).astype("category")
    fitted = small().fit(frame, labels)
    assert list(fitted.feature_names_in_) == list(frame.columns)
    assert list(fitted.classes_) == ["a", "b", "c"]
    np.testing.assert_allclose(fitted.predict_proba(frame), small().fit(X, y).predict_proba(X), rtol=1e-6)
    assert fitted.robustness(frame, labels, ["clean"])["clean"].mean == fitted.score(frame, labels)
    assert fitted.predict_stability(frame, draws=2).shape == y.shape
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame.rename(columns={"m0": "other"}))
