"""``qfleet resume``: continue a run from its last checkpoint, to the bits of an undisturbed one."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Resume the run. Returns what ``--json`` prints."""
    from pipelines.train import finish
    from pipelines.trainer import Trainer

    trainer = Trainer.resume(
        options.run,
        directory=options.directory,
        n_actors=options.actors,
        address=options.address,
        yes_spend_usd=options.yes_spend,
        log_file=options.log_file,
    )
    return finish(trainer, to_stdout=not options.json)


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["resume", *sys.argv[1:]]))
