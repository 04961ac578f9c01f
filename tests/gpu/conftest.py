"""Here the GPU is used, where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from accelerate import PartialState


@pytest.fixture(autouse=True)
def _on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Accelerate keeps the device that it first chose, so it is made to choose again, before and after."""
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    PartialState._reset_state()
    yield
    PartialState._reset_state()
