"""How long it takes until the package is there: importing it, and the command line's help, against importing torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from benchmarks.ratios import arguments, measure, save


def starting(*command: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *command], check=True, capture_output=True)  # noqa: S603


def main() -> None:
    options = arguments(__doc__ or "")
    torch = starting("-c", "import torch")
    every = "import torch, noiseproof; [getattr(noiseproof, name) for name in noiseproof.__all__]"
    ratios = [
        measure("import noiseproof, against import torch", starting("-c", "import noiseproof"), torch,
                rounds=options.rounds, aim=1.1),
        measure("noiseproof and every public name, against import torch", starting("-c", every), torch,
                rounds=options.rounds),
        measure("noiseproof --help, against import torch", starting("-m", "noiseproof", "--help"), torch,
                rounds=options.rounds),
    ]  # fmt: skip
    save(options.json, ratios)


if __name__ == "__main__":
    main()
