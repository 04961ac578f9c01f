"""All that is looked at, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from noiseproof.doctor.devices import devices
from noiseproof.doctor.findings import Finding
from noiseproof.doctor.places import data, disk
from noiseproof.doctor.selftest import selftest
from noiseproof.doctor.versions import versions

__all__ = ["examine"]


def examine(runs: str | Path = "runs", *, self_test: bool = True) -> Iterator[Finding]:
    """Look at the installation, one finding after another. Nothing is left behind and nothing is downloaded.

    Args:
        runs: the folder that runs are to go to; it is not made.
        self_test: whether to train each method for a few steps on digits, which takes some seconds.

    Yields:
        Findings; where torch cannot be imported, those alone that need no torch.
    """
    usable = True
    for found in versions():
        usable = usable and not (found.section == "versions" and found.status == "failed")
        yield found
    yield from disk(Path(runs))
    if not usable:
        return
    yield from devices()
    yield from data()
    if self_test:
        yield from selftest()
