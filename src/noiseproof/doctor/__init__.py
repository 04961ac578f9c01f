"""Whether this installation can do what it is for: versions, devices, data, disk, and a training in small.

Nothing here imports torch before it is looked for, so that a broken installation is told instead of a traceback.
"""

from noiseproof.doctor.examination import examine
from noiseproof.doctor.findings import Finding, Status

__all__ = ["Finding", "Status", "examine"]
