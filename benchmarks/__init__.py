"""Speed, as ratios taken in one run: ``python -m benchmarks.evaluation``. Absolute times mean little elsewhere."""
