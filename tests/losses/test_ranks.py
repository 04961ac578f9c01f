"""Under data parallelism R ranks with a batch of B/R are one process with a batch of B."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from noiseproof.methods import Views, build_method
from noiseproof.models import FeatureClassifier

STEPS, BATCH, WORLD = 3, 12, 2


def _problem(num_classes: int) -> tuple[FeatureClassifier, list[Views]]:
    torch.manual_seed(1)
    model = FeatureClassifier(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)), nn.Linear(4, num_classes))
    batches = [
        Views(torch.randint(num_classes, (BATCH,)), torch.randn(BATCH, 6), torch.randn(BATCH, 6)) for _ in range(STEPS)
    ]
    return model.double(), [Views(b.labels, b.clean.double(), b.noisy.double()) for b in batches]


def _train(num_classes: int, centroids: str, rank: int | None) -> dict[str, Tensor]:
    """Three steps of SGD; on one process where ``rank`` is None, else on this rank's share of every batch."""
    model, batches = _problem(num_classes)
    method = build_method("discriminative", model, {"centroids": centroids, "delta_v": 0.1}).double()
    trained: nn.Module = method if rank is None else DistributedDataParallel(method)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    losses = []
    for views in batches:
        mine = views if rank is None else Views(*(part.chunk(WORLD)[rank] for part in views))
        result = trained(mine)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(torch.stack([part.detach() for name, part in result.parts.items() if name != "softmax"]))
    return {**method.state_dict(), "losses": torch.stack(losses)}


def _rank(rank: int, folder: str, num_classes: int, centroids: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    try:
        torch.save(_train(num_classes, centroids, rank), Path(folder, f"{rank}.pt"))
        gc.collect()  # the reducer of DistributedDataParallel must be gone before its process group is
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("num_classes", "centroids"), [(3, "partial"), (40, "partial"), (3, "momentum"), (5, "naive")]
)
def test_two_ranks_are_one_process(tmp_path: Path, num_classes: int, centroids: str) -> None:
    expected = _train(num_classes, centroids, None)
    mp.spawn(_rank, (str(tmp_path), num_classes, centroids), nprocs=WORLD)
    for rank in range(WORLD):
        got = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in expected.items():
            torch.testing.assert_close(
                got[name], value, rtol=1e-9, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}"
            )
