"""What a training or a comparison would do and how long it may take, told without doing it or writing anything."""

from noiseproof.rehearsing.plan import RehearsedRun
from noiseproof.rehearsing.rehearsal import MethodCost, Rehearsal, rehearse
from noiseproof.rehearsing.timing import Span, Timing

__all__ = ["MethodCost", "Rehearsal", "RehearsedRun", "Span", "Timing", "rehearse"]
