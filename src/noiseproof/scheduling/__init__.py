"""Many runs, planned in advance and done as far as time allows, by one process or several."""

from noiseproof.scheduling.execution import Divergence, check_folders, work
from noiseproof.scheduling.planned import EVALUATION_SEED, PlannedRun, measured_so_far

__all__ = ["EVALUATION_SEED", "Divergence", "PlannedRun", "check_folders", "measured_so_far", "work"]
