"""``python -m pipelines.evaluate``: the same as ``qfleet evaluate``."""

from __future__ import annotations

import sys

from pipelines.cli import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
