"""``qfleet finetune``, and how ``qfleet resume`` continues one."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config import TrainingConfig, actor_overrides
from pipelines.studies.folder import StudyFolder

if TYPE_CHECKING:
    from pipelines.finetune.stages import Quote


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Carry out the recipe that the command line describes; with ``--dry-run`` only quote it. Returns what ``--json`` prints.

    Raises:
        InputError: anything that cannot work; nothing has been started.
    """
    from pipelines.finetune.recipe import finetune
    from pipelines.finetune.stages import quoted, stages_of

    actors = [] if options.actors is None else actor_overrides(options.actors)
    config = TrainingConfig.from_toml(options.config, [*options.set, *actors])
    stages = stages_of(
        config,
        options.then,
        options.then_set,
        freeze=options.freeze,
        epochs=options.then_epochs,
        from_scratch=options.from_scratch,
    )
    if options.dry_run:
        return _said(quoted(stages), to_stdout=not options.json)
    outcome = finetune(
        stages, directory=options.directory, name=options.name, yes_spend_usd=options.yes_spend
    )
    return _shown(outcome, quoted(stages), to_stdout=not options.json)


def resume(folder: StudyFolder, options: argparse.Namespace) -> dict[str, Any]:
    """Go on with a recipe: what has been done is read. Returns what ``--json`` prints."""
    from pipelines.finetune.recipe import carry_out, is_done
    from pipelines.finetune.stages import Stages, check_spending, quoted
    from pipelines.studies.options import fleet_overrides

    first = folder.config
    overrides = fleet_overrides(first, options.actors, options.address)
    stages = Stages.from_json(first, folder.asks, overrides)
    if not is_done(folder, stages):
        check_spending(stages, options.yes_spend)
    quote = quoted(stages)
    return _shown(
        carry_out(folder, stages, quote, yes_spend_usd=options.yes_spend), quote, to_stdout=not options.json
    )


def _said(quote: Quote, *, to_stdout: bool) -> dict[str, Any]:
    """The quote alone."""
    from pipelines.finetune.report import quote_rows, quote_text
    from pipelines.report import print_sections

    sections: dict[str, dict[str, Any]] = {
        "It would take": quote_rows(quote),
        "Saved": {"on the second backend": quote_text(quote)},
    }
    print_sections("dry run: nothing was started", sections, to_stdout=to_stdout)
    return {"dry_run": True, "quote": quote.to_json()}


def _shown(outcome: dict[str, Any], quote: Quote, *, to_stdout: bool) -> dict[str, Any]:
    """The outcome as tables."""
    from pipelines.display.formatting import from_here
    from pipelines.finetune.report import METHOD, sections
    from pipelines.report import print_sections

    folder = Path(outcome["study_folder"])
    lines = [*textwrap.wrap(f"{METHOD}; ! differs", 100), f"report   {from_here(folder / 'report.md')}"]
    print_sections(outcome["study"], sections(outcome, quote), lines, to_stdout=to_stdout)
    return outcome
