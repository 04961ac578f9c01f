"""Whether noiseproof can be left alone with a week of training: kills, disks that fill up, and the same numbers twice.

Each test does a little by itself, for ``make test``; with ``NOISEPROOF_TORTURE=50`` in the environment, as ``make
torture`` has it, the kills are many. What was done is told in figures on standard output, shown by ``pytest -rP``.
"""
