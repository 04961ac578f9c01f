"""What wrong arguments of the loss get: one line naming the argument, the value and what is allowed."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, UnknownNameError

GOOD = {"embeddings": torch.ones(4, 5), "labels": torch.tensor([0, 1, 2, 2]), "noisy": torch.ones(4, 5)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delta_v": -0.1}, "delta_v must be >= 0, got -0.1"),
        ({"delta_d": -1}, "delta_d must be >= 0, got -1"),
        ({"delta_d": float("nan")}, "delta_d must be >= 0, got nan"),
        ({"momentum": 1.0}, "momentum must be >= 0 and < 1, got 1.0"),
        ({"momentum": -0.1}, "momentum must be >= 0 and < 1, got -0.1"),
        ({"alpha": -1}, "alpha must be >= 0, got -1"),
        ({"beta": "1"}, "beta must be a number, got '1'"),
        ({"num_classes": 1}, "num_classes must be >= 2, got 1"),
        ({"embedding_dim": 0}, "embedding_dim must be >= 1, got 0"),
        ({"centroids": "partail"}, "did you mean 'partial'"),
    ],
)
def test_constructor_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        npf.DiscriminativeLoss(**{"num_classes": 3, "embedding_dim": 5, **arguments})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": torch.tensor([0, 1, 2, 3])}, "labels must lie in [0, 3), got 3"),
        ({"labels": torch.tensor([0, -1, 2, 2])}, "labels must lie in [0, 3), got -1"),
        ({"labels": torch.tensor([0.0, 1.0, 2.0, 2.0])}, "labels must be integers (torch.long), got torch.float32"),
        ({"labels": torch.eye(4, 3)}, "argmax"),
        ({"labels": torch.tensor([0, 1])}, "labels has 2 entries for 4 samples"),
        ({"embeddings": torch.ones(4, 6)}, "embeddings has width 6, but embedding_dim is 5"),
        ({"embeddings": torch.ones(4, 5, 1)}, "embeddings must have shape (N, embedding_dim), got (4, 5, 1)"),
        ({"embeddings": torch.ones(0, 5), "labels": torch.ones(0, dtype=torch.long)}, "empty batch"),
        ({"embeddings": torch.ones(4, 5, dtype=torch.long)}, "floating type, got torch.int64"),
        ({"noisy": torch.ones(3, 5)}, "noisy_embeddings must have the shape of embeddings, (4, 5), got (3, 5)"),
    ],
)
def test_forward_refuses(changes: dict[str, Tensor], message: str) -> None:
    batch = {**GOOD, **changes}
    loss_fn = npf.DiscriminativeLoss(3, 5)
    with pytest.raises(InvalidArgumentError) as error:
        loss_fn(batch["embeddings"], batch["labels"], nn.Linear(5, 3), noisy_embeddings=batch["noisy"])
    assert message in str(error.value)
    assert not loss_fn.initialised.any()


def test_forward_refuses_another_head() -> None:
    with pytest.raises(InvalidArgumentError, match="head must map 5 features to 3 classes"):
        npf.DiscriminativeLoss(3, 5)(GOOD["embeddings"], GOOD["labels"], nn.Linear(5, 4))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_labels_of_any_integer_type_mean_the_same(dtype: torch.dtype) -> None:
    head = nn.Linear(5, 3)
    x = torch.randn(4, 5)
    expected = npf.DiscriminativeLoss(3, 5)(x, GOOD["labels"], head, noisy_embeddings=x + 1)
    got = npf.DiscriminativeLoss(3, 5)(x, GOOD["labels"].to(dtype), head, noisy_embeddings=x + 1)
    assert torch.equal(torch.stack(expected), torch.stack(got))


def test_narrow_margin_is_warned_about_once_with_the_proposition() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            npf.DiscriminativeLoss(3, 5, delta_v=0.5, delta_d=1.0)
    assert len(caught) == 1
    assert "Proposition 5.2" in str(caught[0].message)
    assert "delta_d = 1" in str(caught[0].message)


def test_presets_are_the_paper_the_published_code_and_our_own() -> None:
    paper = npf.DiscriminativeLoss.from_preset("paper", 3, 5)
    code = npf.DiscriminativeLoss.from_preset("authors-code", 3, 5, delta_d=3.0)
    default = npf.DiscriminativeLoss(3, 5)
    assert paper.extra_repr() == default.extra_repr()
    assert (code.momentum, code.alpha, code.lambda_noisy, code.beta, code.delta_d) == (0.99, 0.5, 0.5, 1.0, 3.0)
    best = npf.DiscriminativeLoss.from_preset("best", 3, 5, beta=2.0)
    assert (best.strategy, best.delta_v, best.delta_d, best.alpha, best.beta) == ("naive", 2.0, 5.0, 1.0, 2.0)
    with pytest.raises(UnknownNameError, match="did you mean 'paper'"):
        npf.DiscriminativeLoss.from_preset("papr", 3, 5)


def test_authors_code_preset_averages_clean_and_noisy_of_a_class_together() -> None:
    """The published code's joint term: per class the mean over its clean and noisy samples in one set."""
    loss_fn = npf.DiscriminativeLoss.from_preset("authors-code", 3, 5, delta_v=0.1, beta=0, gamma_reg=0)
    clean, noisy, labels = torch.randn(9, 5), torch.randn(9, 5), torch.arange(9) % 3
    total = loss_fn(clean, labels, nn.Linear(5, 3), noisy_embeddings=noisy).total
    per_class = []
    for c in range(3):
        centroid = clean[labels == c].mean(0)
        together = torch.cat([clean[labels == c], noisy[labels == c]])
        per_class.append(((together - centroid).norm(dim=1) - 0.1).clamp(min=0).square().mean())
    torch.testing.assert_close(total, torch.stack(per_class).mean())
