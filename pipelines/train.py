"""``qfleet train`` and ``python -m pipelines.train``: a configuration in, a trained model out."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from orchestrator.config import TrainingConfig

if TYPE_CHECKING:
    from pipelines.trainer import Trainer


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, or with ``--dry-run`` only say what would run. Returns what ``--json`` prints."""
    actors = [] if options.actors is None else ["fleet.dispatcher=ray", f"fleet.n_actors={options.actors}"]
    overrides = [*options.set, *actors]
    config = TrainingConfig.from_toml(options.config, overrides)
    if options.dry_run:
        from pipelines.report import print_sections, summary, summary_sections
        from pipelines.run_setup import prepare_run

        prepared = prepare_run(config)
        print_sections("dry run: nothing was started", summary_sections(prepared), to_stdout=not options.json)
        return summary(prepared)
    from pipelines.trainer import Trainer

    return finish(Trainer(config), to_stdout=not options.json)


def finish(trainer: Trainer, *, to_stdout: bool) -> dict[str, Any]:
    """Fit, print the result table, and return the figures."""
    from pipelines.report import print_result

    result = trainer.fit()
    print_result(result, to_stdout=to_stdout)
    return result.to_json()


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
