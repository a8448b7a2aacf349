"""``qfleet train`` and ``python -m pipelines.train``: a configuration in, a trained model out."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from orchestrator.config import TrainingConfig, actor_overrides
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.trainer import Trainer


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, or with ``--dry-run`` only say what would run. Returns what ``--json`` prints.

    Raises:
        ConfigError: ``--baselines`` without a test split, or of an autoencoder; nothing has been started.
    """
    actors = [] if options.actors is None else actor_overrides(options.actors)
    overrides = [*options.set, *actors]
    config = TrainingConfig.from_toml(options.config, overrides)
    if options.baselines and config.data.test_fraction == 0:
        raise ConfigError("data.test_fraction", 0.0, "--baselines are compared on the test split", "0.2")
    if options.baselines:
        from pipelines.baselines import check_predicts
        from pipelines.compose import build_loss

        check_predicts(config.loss.name, build_loss(config).task)
    if options.dry_run:
        from pipelines.report import print_sections, summary, summary_sections
        from pipelines.run_setup import prepare_run

        prepared = prepare_run(config)
        print_sections("dry run: nothing was started", summary_sections(prepared), to_stdout=not options.json)
        return summary(prepared)
    from pipelines.trainer import Trainer

    figures = finish(
        Trainer(config, yes_spend_usd=options.yes_spend, log_file=options.log_file),
        to_stdout=not options.json,
    )
    if options.baselines:
        from pipelines.evaluate import evaluate
        from pipelines.evaluate.command import show

        found = evaluate(figures["run_folder"], baselines=True)
        show(found, to_stdout=not options.json)
        figures["baselines"] = found.baselines
    return figures


def finish(trainer: Trainer, *, to_stdout: bool) -> dict[str, Any]:
    """Fit, print the result table, and return the figures."""
    from pipelines.report import print_result

    result = trainer.fit()
    print_result(result, to_stdout=to_stdout)
    return result.to_json()


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
