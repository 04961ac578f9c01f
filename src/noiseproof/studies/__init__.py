"""Studies: which settings are best, chosen on the validation split, and what each of them is worth."""

from noiseproof.studies.declaration import Study, load_study
from noiseproof.studies.study import StudyResult, sweep

__all__ = ["Study", "StudyResult", "load_study", "sweep"]
