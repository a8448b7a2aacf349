"""``python -m pipelines.federated``: as ``qfleet federated``."""

from __future__ import annotations

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main(["federated", *sys.argv[1:]]))
