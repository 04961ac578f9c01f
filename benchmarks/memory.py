"""Peak resident memory of a piece of work, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

__all__ = ["forget_high_water", "high_water", "peak_of", "resident"]


def peak_of(call: str) -> float:
    """Return the peak in MiB of a new process that makes a call, such as ``package.module:function(3)``."""
    module, _, expression = call.partition(":")
    code = f"import {module} as m; m.{expression}; from benchmarks.memory import high_water; print(high_water())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    return float(done.stdout.splitlines()[-1])


def forget_high_water() -> None:
    """Let the peak of this process count from now on (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def high_water() -> float:
    """The peak of this process, in MiB (Linux)."""
    return _status("VmHWM")


def resident() -> float:
    """What this process holds now, in MiB (Linux)."""
    return _status("VmRSS")


def _status(key: str) -> float:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {key}")
    return int(found[1]) / 1024
