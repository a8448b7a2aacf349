"""``qfleet resume``: continue a run from its last checkpoint, to the bits of an undisturbed one; or a study with all its runs."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Resume the run or the study. Returns what ``--json`` prints."""
    from pipelines.studies.folder import KINDS, StudyFolder
    from pipelines.train import finish
    from pipelines.trainer import Trainer

    study = StudyFolder.find(options.run, options.directory)
    if study is not None:
        outcome: dict[str, Any] = importlib.import_module(KINDS[study.kind]).resume(study, options)
        return outcome
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
