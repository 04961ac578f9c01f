"""The loss as accelerators want it: one graph, no look at the data from the host, no shape that depends on it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import noiseproof as npf

SIZES = [(7, 12, 5), (12, 7, 5)]  # fewer classes than samples, and more


def problem(num_classes: int, samples: int, width: int) -> tuple[Tensor, nn.Linear, list[Tensor]]:
    torch.manual_seed(0)
    views = [torch.randn(samples, width, requires_grad=True) for _ in range(2)]
    return torch.randint(num_classes, (samples,)), nn.Linear(width, num_classes), views


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("centroids", ["naive", "momentum", "partial"])
@pytest.mark.parametrize("size", SIZES)
def test_the_loss_never_looks_at_a_number_from_the_host(
    size: tuple[int, int, int], centroids: Any, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        FakeTensorMode()
    ):  # tensors without values, also of a GPU that is not there: to copy one to the host is an error
        if (
            device == "cpu"
        ):  # there the range of the labels is looked at, and there alone backward runs on fake tensors
            monkeypatch.setattr("noiseproof.losses.discriminative.check_labels", lambda *_: None)
        labels = torch.zeros(size[1], dtype=torch.long, device=device)
        clean, noisy = (torch.zeros(size[1], size[2], device=device, requires_grad=True) for _ in range(2))
        head = nn.Linear(size[2], size[0], device=device)
        loss = npf.DiscriminativeLoss(size[0], size[2], centroids=centroids).to(device)
        with pytest.raises(DataDependentOutputException):
            labels.sum().item()
        terms = loss(clean, labels, head, noisy_embeddings=noisy)
        assert terms.total.shape == ()
        assert terms.total.device.type == device
        if device == "cpu":
            terms.total.backward()
            assert clean.grad is not None
            assert clean.grad.shape == clean.shape


@pytest.mark.parametrize("centroids", ["naive", "momentum", "partial"])
@pytest.mark.parametrize("size", SIZES)
def test_compiled_in_one_graph_it_gives_the_same(size: tuple[int, int, int], centroids: Any) -> None:
    labels, head, views = problem(*size)
    loss = npf.DiscriminativeLoss(size[0], size[2], centroids=centroids)
    other = copy.deepcopy(loss)
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    for _ in range(2):  # the second batch meets centroids that are stored
        found = []
        for function in (loss, compiled):
            for tensor in (*views, head.weight):
                tensor.grad = None
            total = function(views[0], labels, head, noisy_embeddings=views[1]).total
            total.backward()
            found.append([total.detach(), *(tensor.grad for tensor in (*views, head.weight))])
        torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(other.centroids, loss.centroids)
    assert bool((other.initialised == loss.initialised).all())


def test_no_tensor_is_as_large_as_classes_squared_or_samples_times_classes_times_width() -> None:
    classes, samples, width = 300, 40, 30
    labels, head, (clean, noisy) = problem(classes, samples, width)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            for each in torch.utils._pytree.tree_leaves(out):
                if isinstance(each, Tensor):
                    largest = max(largest, each.numel())
            return out

    with Watch():
        npf.DiscriminativeLoss(classes, width)(clean, labels, head, noisy_embeddings=noisy).total.backward()
    assert 0 < largest <= max(samples * classes, classes * width)
