"""Proposition 5.3 and Corollary 5.1 on networks in float64, where they are exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from noiseproof.analysis.theory import rescaling
from noiseproof.errors import DataError, InvalidArgumentError, ModelSplitError
from noiseproof.models import FeatureClassifier

NUS = (0.25, 0.7, 1.9, 3.0)


def data(n: int = 60) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(4)
    return torch.rand(n, 1, 8, 8, generator=g), torch.randint(3, (n,), generator=g)


def network(*, relu: bool = False, convolution: bool = False, bias: bool = True) -> FeatureClassifier:
    torch.manual_seed(5)
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
    layers += [nn.Conv2d(4, 5, 6)] if convolution else [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)]
    layers[-1].bias.data.add_(0.5)  # so that no feature vector is all zero behind a ReLU
    layers += [nn.ReLU()] if relu else []
    layers += [nn.Flatten()] if convolution else []
    return FeatureClassifier(nn.Sequential(*layers), nn.Linear(5, 3, bias=bias)).double()


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("convolution", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_margins_and_dispersions_are_multiplied_by_nu(relu: bool, convolution: bool, bias: bool) -> None:
    found = rescaling(network(relu=relu, convolution=convolution, bias=bias), data(), nus=NUS)
    np.testing.assert_allclose(found.margin_ratios, NUS, rtol=1e-7)
    np.testing.assert_allclose(found.dispersion_ratios, NUS, rtol=1e-10)
    np.testing.assert_allclose(found.margins, np.outer(NUS, found.margin), rtol=1e-6)
    np.testing.assert_allclose(found.dispersions, np.outer(NUS, found.dispersion), rtol=1e-10)
    assert found.changed.tolist() == [0] * 4
    assert (found.logit_errors < 1e-12).all()
    assert found.moved[-1] == ("head.bias" if bias else found.moved[-1])
    assert len(found.moved) == (3 if bias else 2)
    assert "head.weight" not in found.moved


def test_movements_are_opposite_across_one_and_of_length_nu_minus_one() -> None:
    found = rescaling(network(), data(), nus=NUS)
    signs = np.sign(np.array(NUS) - 1)
    np.testing.assert_allclose(found.cosines, np.outer(signs, signs), rtol=1e-12)
    np.testing.assert_allclose(found.opposite, -1, rtol=1e-12)
    assert len(found.opposite) == 4
    np.testing.assert_allclose(found.movements, np.abs(np.array(NUS) - 1), rtol=1e-12)


def test_movements_against_the_parameters_themselves() -> None:
    model = network()
    found = rescaling(model, data(), nus=(0.5, 4.0))
    layer = "backbone.5."
    moved = (layer + "weight", layer + "bias", "head.bias")
    vectors = []
    for nu in (0.5, 4.0):
        changes = [(nu if name in moved else 1) * value - value for name, value in model.named_parameters()]
        vectors.append(torch.cat([change.detach().flatten() for change in changes]).numpy())
    cosine = vectors[0] @ vectors[1] / math.sqrt((vectors[0] @ vectors[0]) * (vectors[1] @ vectors[1]))
    assert found.cosines[0, 1] == pytest.approx(cosine, rel=1e-12)
    assert found.moved == moved


def test_in_single_precision_it_holds_up_to_rounding() -> None:
    found = rescaling(network().float(), data(), nus=(1 / 3, 3.0))
    np.testing.assert_allclose(found.dispersion_ratios, [1 / 3, 3], rtol=1e-5)
    np.testing.assert_allclose(found.opposite, -1, rtol=1e-10)
    assert (found.logit_errors < 1e-5).all()


def test_probabilities_and_the_softmax_loss_do_change() -> None:
    model, (x, y) = network(), data()
    found = rescaling(model, (x, y), nus=NUS)
    with torch.no_grad():
        z = model.eval()(x.double())
    for nu, loss, change in zip(NUS, found.losses, found.probability_changes, strict=True):
        p = [[math.exp(nu * v) / sum(math.exp(nu * u) for u in row) for v in row] for row in z.tolist()]
        before = [[math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in z.tolist()]
        assert loss == pytest.approx(-sum(math.log(row[c]) for row, c in zip(p, y.tolist(), strict=True)) / len(y))
        largest = max(
            abs(a - b) for one, other in zip(p, before, strict=True) for a, b in zip(one, other, strict=True)
        )
        assert change == pytest.approx(largest)
        assert change > 1e-3
    assert found.loss != pytest.approx(found.losses[0])


def test_classes_without_samples_do_not_matter() -> None:
    x, y = data()
    found = rescaling(network(), (x[y != 1], y[y != 1]), nus=(2.0,))
    assert np.isnan(found.margin).tolist() == [False, True, False]
    assert found.margin_ratios == pytest.approx([2.0])
    assert found.opposite.size == 0
    assert ("Cosine of movements with ν > 1 and ν < 1 (Corollary 5.1: −1)", "not looked at") in found.summary()


def test_nothing_to_multiply_gives_nan() -> None:
    x, y = data(1)
    found = rescaling(network(), (x, y), nus=(0.5, 2.0))
    assert np.isnan(found.dispersion_ratios).all()  # a single sample has dispersion 0
    assert found.margin_ratios == pytest.approx([0.5, 2.0])


def test_the_model_stays_as_it_is() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rescaling(model, data())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_limit_takes_samples_evenly() -> None:
    x, y = data(60)
    few, chosen = rescaling(network(), (x, y), limit=20), rescaling(network(), (x[::3], y[::3]))
    np.testing.assert_allclose(few.dispersions, chosen.dispersions, rtol=1e-12)


def test_wrong_arguments_are_named() -> None:
    for nus in ((0.0,), (2.0, -1.0), (math.inf,)):
        with pytest.raises(InvalidArgumentError, match="nu must be > 0"):
            rescaling(network(), data(), nus=nus)
    with pytest.raises(InvalidArgumentError, match="nus is empty"):
        rescaling(network(), data(), nus=())
    with pytest.raises(InvalidArgumentError, match="so close to 1 that no parameter moves"):
        rescaling(network(), data(), nus=(1.0,))
    with pytest.raises(InvalidArgumentError, match="model must be a FeatureClassifier"):
        rescaling(nn.Linear(2, 2), data())  # type: ignore[arg-type]
    x, y = data()
    with pytest.raises(DataError, match="label 3"):
        rescaling(network(), (x, y + 1))
    smooth = FeatureClassifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Tanh()), nn.Linear(5, 3))
    with pytest.raises(ModelSplitError, match=r"Proposition 5\.3"):
        rescaling(smooth, data())
