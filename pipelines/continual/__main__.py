"""``python -m pipelines.continual``: as ``qfleet continual``."""

from __future__ import annotations

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main(["continual", *sys.argv[1:]]))
