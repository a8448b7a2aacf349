"""``qfleet compare``, and how ``qfleet resume`` continues one."""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator.config import TrainingConfig, actor_overrides
from pipelines.studies.folder import StudyFolder


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Compare as the command line says; with ``--dry-run`` only say what would be trained. Returns what ``--json`` prints.

    Raises:
        InputError: anything that cannot work; nothing has been started.
    """
    from pipelines.compare import settings as asked
    from pipelines.compare.sweep import DEFAULT_SEEDS, begin, planned

    actors = [] if options.actors is None else actor_overrides(options.actors)
    config = TrainingConfig.from_toml(options.config, [*options.set, *actors])
    vary = asked.read_vary(options.vary)
    varied_seeds = vary.pop(asked.SEED, None)
    settings = asked.settings_of(config, vary, asked.read_named(options.setting))
    seeds = asked.seeds_of(config, options.seeds, varied_seeds, DEFAULT_SEEDS)
    if len(settings) * len(seeds) < 2:
        from orchestrator.errors import InputError

        raise InputError(
            "one training is nothing to compare: add --vary SECTION.KEY=A,B, --setting LABEL SECTION.KEY=VALUE, or --seeds 5"
        )
    plan = planned(config, settings, seeds, against=options.against)
    if options.dry_run:
        return _said(plan, to_stdout=not options.json)
    outcome = begin(
        plan,
        directory=options.directory,
        name=options.name,
        yes_spend_usd=options.yes_spend,
        at_once=options.at_once,
    )
    return _shown(outcome, to_stdout=not options.json)


def resume(folder: StudyFolder, options: argparse.Namespace) -> dict[str, Any]:
    """Go on with a comparison: what has ended is read, what was interrupted or failed is trained on. Returns what ``--json`` prints."""
    from pipelines.compare.sweep import carry_out, plan_in
    from pipelines.studies.options import fleet_overrides

    plan = plan_in(folder, fleet_overrides(folder.config, options.actors, options.address))
    plan.check_allowed(options.yes_spend, folder.members)
    outcome = carry_out(folder, plan, yes_spend_usd=options.yes_spend, at_once=folder.asks["at_once"])
    return _shown(outcome, to_stdout=not options.json)


def _said(plan: Any, *, to_stdout: bool) -> dict[str, Any]:
    """What would be trained."""
    from pipelines.report import print_sections

    rows = {s.label: one.text for s, one in zip(plan.settings, plan.expected, strict=True)}
    whole = {"trainings": f"{plan.n_members} ({len(plan.settings)} settings, {len(plan.seeds)} seeds)"}
    whole["in all"] = plan.whole.text
    print_sections(
        "dry run: nothing was started", {"A training": rows, "The comparison": whole}, to_stdout=to_stdout
    )
    return {"dry_run": True, **plan.to_json()}


def _shown(outcome: dict[str, Any], *, to_stdout: bool) -> dict[str, Any]:
    """The outcome as tables."""
    from pathlib import Path

    from pipelines.compare.report import footer, sections
    from pipelines.display.formatting import from_here
    from pipelines.report import print_sections

    folder = Path(outcome["study_folder"])
    lines = [
        *footer(outcome),
        f"report   {from_here(folder / 'report.md')}",
        f"plots    {from_here(folder / 'artifacts')}",
    ]
    print_sections(outcome["study"], sections(outcome), lines, to_stdout=to_stdout)
    return outcome
