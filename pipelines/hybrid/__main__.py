"""``python -m pipelines.hybrid``: as ``qfleet hybrid``."""

from __future__ import annotations

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main(["hybrid", *sys.argv[1:]]))
