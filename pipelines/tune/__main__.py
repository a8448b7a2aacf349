"""``python -m pipelines.tune``: as ``qfleet tune``."""

from __future__ import annotations

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
