"""The training methods of §7.1, one file each. A new file that registers itself is a new method everywhere."""

from noiseproof.methods.base import (
    METHODS,
    PAPER_METHODS,
    Method,
    MethodOptions,
    StepResult,
    Views,
    build_method,
    register,
)

__all__ = ["METHODS", "PAPER_METHODS", "Method", "MethodOptions", "StepResult", "Views", "build_method", "register"]
