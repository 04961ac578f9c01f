"""``python -m noiseproof``."""

from noiseproof.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
