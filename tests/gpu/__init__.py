"""What can only be seen on a CUDA GPU; skipped where there is none."""
