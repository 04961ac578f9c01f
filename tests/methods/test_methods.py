"""Each method's loss against its formula of §7.1, written out again here."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.methods import METHODS, Method, StepResult, Views, build_method, register
from noiseproof.models import FeatureClassifier

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture
def views() -> Views:
    clean = torch.rand(6, 1, 8, 8)
    return Views(LABELS, clean, (clean + 0.2 * torch.randn_like(clean)).clamp(0, 1))


def cross_entropy(logits: Tensor) -> Tensor:
    return -torch.stack([logits[n].log_softmax(0)[c] for n, c in enumerate(LABELS.tolist())]).mean()


def test_normal_is_the_softmax_loss_on_clean_inputs(tiny_model: FeatureClassifier, views: Views) -> None:
    tiny_model.eval()
    result = build_method("normal", tiny_model)(Views(views.labels, views.clean))
    torch.testing.assert_close(result.loss, cross_entropy(tiny_model(views.clean)))


def test_noisy_is_the_softmax_loss_on_noisy_inputs(tiny_model: FeatureClassifier, views: Views) -> None:
    tiny_model.eval()
    result = build_method("noisy", tiny_model)(Views(views.labels, noisy=views.noisy))
    torch.testing.assert_close(result.loss, cross_entropy(tiny_model(views.noisy)))


@pytest.mark.parametrize("passes", ["joint", "separate", "split"])
def test_mixed_is_the_mean_of_both(tiny_model: FeatureClassifier, views: Views, passes: str) -> None:
    tiny_model.eval()  # without batch statistics the three ways through the network agree
    result = build_method("mixed", tiny_model, {"passes": passes})(views)
    expected = (cross_entropy(tiny_model(views.clean)) + cross_entropy(tiny_model(views.noisy))) / 2
    torch.testing.assert_close(result.loss, expected)
    assert result.logits.shape == (12, 3)
    assert torch.equal(result.labels, torch.cat([LABELS, LABELS]))


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_stability_adds_the_distance_of_paired_features(
    tiny_model: FeatureClassifier, views: Views, weight: float
) -> None:
    tiny_model.eval()
    result = build_method("stability", tiny_model, {"weight": weight})(views)
    pairs = zip(tiny_model.embed(views.clean), tiny_model.embed(views.noisy), strict=True)
    distance = torch.stack([(a - b).square().sum().sqrt() for a, b in pairs]).mean()
    torch.testing.assert_close(result.loss, cross_entropy(tiny_model(views.clean)) + weight * distance)


def test_stability_has_no_gradient_where_the_features_coincide(tiny_model: FeatureClassifier, views: Views) -> None:
    tiny_model.eval()
    method = build_method("stability", tiny_model)
    result = method(Views(views.labels, views.clean, views.clean.clone()))
    assert result.parts["stability"] == 0
    weights = list(tiny_model.backbone.parameters())
    softmax = torch.autograd.grad(cross_entropy(tiny_model(views.clean)), weights)
    torch.testing.assert_close(torch.autograd.grad(result.loss, weights), softmax)


def test_discriminative_is_softmax_on_clean_plus_eq_13(tiny_model: FeatureClassifier, views: Views) -> None:
    tiny_model.eval()
    options = {"delta_v": 0.1, "delta_d": 2.0, "alpha": 0.7, "beta": 0.4, "gamma_reg": 0.01, "lambda_noisy": 0.9}
    result = build_method("discriminative", tiny_model, options)(views)
    loss_fn = npf.DiscriminativeLoss(3, 5, **options)
    terms = loss_fn(
        tiny_model.embed(views.clean), LABELS, tiny_model.head, noisy_embeddings=tiny_model.embed(views.noisy)
    )
    torch.testing.assert_close(result.loss, cross_entropy(tiny_model(views.clean)) + terms.total)
    assert set(result.parts) == {"softmax", "compactness", "margin", "regularisation", "alignment"}


@pytest.mark.parametrize("passes", ["joint", "separate", "split"])
def test_discriminative_may_take_the_softmax_loss_of_both_views(
    tiny_model: FeatureClassifier, views: Views, passes: str
) -> None:
    tiny_model.eval()
    once, both = (
        build_method("discriminative", tiny_model, {"passes": passes, "softmax_on": which})(views)
        for which in ("clean", "both")
    )
    on_noisy = F.cross_entropy(tiny_model(views.noisy), views.labels)
    torch.testing.assert_close(both.parts["softmax_noisy"], on_noisy)
    torch.testing.assert_close(both.loss - once.loss, (on_noisy - once.parts["softmax"]) / 2)


def _divergence(clean: Tensor, noisy: Tensor) -> float:
    """Mean of Σ_c p_c ln(p_c / q_c), class by class in float64."""
    total = 0.0
    for z, w in zip(clean.detach().double().tolist(), noisy.detach().double().tolist(), strict=True):
        p, q = ([math.exp(value) / sum(map(math.exp, logits)) for value in logits] for logits in (z, w))
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(clean)


@pytest.mark.parametrize("softmax_on", ["clean", "both"])
def test_discriminative_may_draw_noisy_answers_to_clean_ones(
    tiny_model: FeatureClassifier, views: Views, softmax_on: str
) -> None:
    tiny_model.eval()
    with torch.no_grad():
        tiny_model.head.weight.mul_(20)  # an untrained network answers all inputs almost alike
    without, drawn = (
        build_method("discriminative", tiny_model, {"softmax_on": softmax_on, "consistency": weight})(views)
        for weight in (0.0, 2.5)
    )
    divergence = _divergence(tiny_model(views.clean), tiny_model(views.noisy))
    assert divergence > 1e-3
    assert "consistency" not in without.parts
    assert float(drawn.parts["consistency"]) == pytest.approx(divergence, rel=1e-3)
    assert (drawn.loss - without.loss).item() == pytest.approx(2.5 * divergence, rel=1e-2)


def test_consistency_is_the_divergence_and_leaves_clean_answers_where_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noisy = (torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    value = npf.functional.consistency(clean, noisy)
    assert value.item() == pytest.approx(_divergence(clean, noisy), rel=1e-12)
    value.backward()
    assert clean.grad is None
    torch.testing.assert_close(noisy.grad, (noisy.softmax(1) - clean.softmax(1)).detach() / 5)  # its closed form
    assert npf.functional.consistency(clean, clean).item() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_consistency_is_computed_in_float32(dtype: torch.dtype) -> None:
    clean, noisy = (torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        value = npf.functional.consistency(clean, noisy)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(_divergence(clean, noisy), rel=1e-5)


def test_consistency_of_sure_answers_is_finite() -> None:
    sure = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    value = npf.functional.consistency(torch.tensor([[200.0, 0.0], [200.0, 0.0]]), sure)
    value.backward()
    assert value.item() == pytest.approx(100)  # (0 + 200) / 2
    assert sure.grad is not None
    assert bool(sure.grad.isfinite().all())


@pytest.mark.parametrize(
    ("shape", "message"), [((3, 5), "noisy_logits must have the shape of logits"), ((3,), "shape")]
)
def test_consistency_refuses_what_does_not_pair(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        npf.functional.consistency(torch.zeros(3, 4), torch.zeros(shape))
    with pytest.raises(InvalidArgumentError, match="logits"):
        npf.functional.consistency(torch.zeros(0, 4), torch.zeros(0, 4))


def test_state_dict_of_the_method_holds_the_centroids(tiny_model: FeatureClassifier, views: Views) -> None:
    method = build_method("discriminative", tiny_model)
    method(views)
    state = method.state_dict()
    assert bool(state["discriminative.initialised"].all())
    assert float(state["discriminative.centroids"].abs().sum()) > 0


def _batch_statistics(model: FeatureClassifier, x: Tensor) -> tuple[Tensor, Tensor]:
    convolved = model.backbone[0](x)
    return convolved.mean((0, 2, 3)), convolved.var((0, 2, 3), unbiased=True)


@pytest.mark.parametrize("name", ["mixed", "stability", "discriminative"])
@pytest.mark.parametrize("passes", ["separate", "joint", "split"])
def test_running_statistics_follow_the_mode_of_the_passes(
    tiny_model: FeatureClassifier, views: Views, name: str, passes: str
) -> None:
    norm = tiny_model.backbone[1]
    seen = {
        "separate": [views.clean, views.noisy],
        "joint": [torch.cat([views.clean, views.noisy])],
        "split": [views.clean],
    }[passes]
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    for x in seen:
        batch_mean, batch_var = _batch_statistics(tiny_model, x)
        mean, var = 0.9 * mean + 0.1 * batch_mean, 0.9 * var + 0.1 * batch_var
    build_method(name, tiny_model, {"passes": passes}).train()(views)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    assert int(norm.num_batches_tracked) == len(seen)
    assert norm.track_running_stats


def test_split_normalises_the_noisy_view_by_its_own_batch(tiny_model: FeatureClassifier, views: Views) -> None:
    """Split and separate differ in the running statistics alone, never in the loss of a training step."""
    losses = [build_method("stability", tiny_model, {"passes": p}).train()(views).loss for p in ("split", "separate")]
    torch.testing.assert_close(losses[0], losses[1])
    joint = build_method("stability", tiny_model, {"passes": "joint"}).train()(views).loss
    assert not torch.allclose(losses[0], joint)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_learns_and_reports_finite_parts(tiny_model: FeatureClassifier, views: Views, name: str) -> None:
    method = build_method(name, tiny_model)
    wanted = Views(views.labels, *(getattr(views, v) if v in method.views else None for v in ("clean", "noisy")))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        result = method(wanted)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(float(result.loss.detach()))
    assert losses[-1] < losses[0]
    assert all(bool(part.isfinite()) and part.ndim == 0 for part in result.parts.values())


def test_missing_view_is_told(tiny_model: FeatureClassifier, views: Views) -> None:
    with pytest.raises(InvalidArgumentError, match=r"views\.clean and views\.noisy"):
        build_method("discriminative", tiny_model)(Views(views.labels, views.clean))


def test_unknown_method_suggests_the_nearest(tiny_model: FeatureClassifier) -> None:
    with pytest.raises(UnknownNameError, match="unknown method 'discriminativ'; did you mean 'discriminative'"):
        build_method("discriminativ", tiny_model)


def test_softmax_losses_agree_with_torch(tiny_model: FeatureClassifier, views: Views) -> None:
    logits = tiny_model.eval()(views.clean)
    torch.testing.assert_close(cross_entropy(logits), F.cross_entropy(logits, LABELS))


def test_a_sixth_method_is_one_class(tiny_model: FeatureClassifier, views: Views, monkeypatch) -> None:
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))

    @register
    class Doubled(Method):
        name, title, views = "doubled", "Doubled", ("clean",)

        def forward(self, views: Views) -> StepResult:
            logits = self.model(views.clean)
            loss = 2 * F.cross_entropy(logits, views.labels)
            return StepResult(loss, {"softmax": loss}, logits, views.labels)

    tiny_model.eval()
    torch.testing.assert_close(
        build_method("doubled", tiny_model)(views).loss, 2 * build_method("normal", tiny_model)(views).loss
    )


@pytest.mark.parametrize("name", sorted(METHODS))
def test_only_the_loss_has_a_gradient(name: str, tiny_model: FeatureClassifier, views: Views) -> None:
    result = build_method(name, tiny_model, {}).train()(views)
    assert result.loss.requires_grad
    assert not result.logits.requires_grad
    assert not any(part.requires_grad for part in result.parts.values())
