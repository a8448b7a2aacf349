"""``qfleet tune``: what the command line asks for, and what it prints."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config import TrainingConfig, read_toml
from orchestrator.errors import ConfigError
from pipelines.display.formatting import format_count, format_usd
from pipelines.tracking.provenance import ray_submission_id

if TYPE_CHECKING:
    from pipelines.studies.folder import StudyFolder
    from pipelines.tune.settings import Settings


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Search, or with ``--dry-run`` only say what would be searched. Returns what ``--json`` prints.

    Raises:
        InputError: something cannot work; nothing has been started.
    """
    from pipelines.tune.study import begin, carry_on

    config = TrainingConfig.from_toml(options.config, options.set)
    if ray_submission_id():
        config = _that_outlives_the_job(config)
    settings = settings_of(options)
    if options.dry_run:
        return _dry_run(config, settings, options)
    folder = begin(config, settings, name=options.name, yes_spend_usd=options.yes_spend)
    return _printed(carry_on(folder, yes_spend_usd=options.yes_spend), options)


def _that_outlives_the_job(config: TrainingConfig) -> TrainingConfig:
    """`config` of a job, which runs in a copy of the working directory: with the tracking store beside the runs where none is named.

    Raises:
        ConfigError: the runs themselves would be lost with that copy.
    """
    directory = config.run.directory
    if not Path(directory).is_absolute():
        problem = "a job runs in a copy of the working directory that goes with it; what should stay needs an absolute path on the cluster"
        raise ConfigError("run.directory", directory, problem)
    if not config.tracking.enabled or config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI"):
        return config
    return config.with_overrides([f"tracking.uri=sqlite:///{directory.rstrip('/')}/mlflow.db"])


def resume(folder: StudyFolder, options: argparse.Namespace) -> dict[str, Any]:
    """Do what is left of a study."""
    from pipelines.tune.study import carry_on

    return _printed(carry_on(folder, yes_spend_usd=options.yes_spend), options)


def settings_of(options: argparse.Namespace) -> Settings:
    """What the command line asks for.

    Raises:
        ConfigError: the space cannot be read, or --rungs is no number.
    """
    from pipelines.tune.settings import Settings

    return Settings(
        space=read_toml(options.space),
        method=options.method,
        seed=options.seed,
        metric=options.metric,
        n_trials=options.trials,
        max_circuits=options.max_circuits,
        max_usd=options.max_usd,
        first_rung=_first_rung(options.rungs),
        reduction=options.reduction,
        at_once=options.at_once,
        n_actors=options.actors,
        address=options.address,
        against=tuple(options.against or ()),
        repeats=options.repeats,
    )


def _first_rung(text: str) -> float | None:
    if text in ("auto", "none"):
        return None if text == "auto" else 0.0
    try:
        first = float(text)
    except ValueError:
        first = -1.0
    if not first > 0:
        problem = (
            "circuits, or dollars with --max-usd, that a trial has spent at the first rung; or auto, or none"
        )
        raise ConfigError("--rungs", text, problem, "auto")
    return first


def _dry_run(config: TrainingConfig, settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from pipelines.report import print_sections
    from pipelines.tune.settings import checked
    from pipelines.tune.study import base_of

    settings, space = checked(settings, base_of(config, settings), options.yes_spend)
    terms = settings.terms()
    combinations = "" if space.size == float("inf") else f" ({format_count(space.size)} combinations at most)"
    budget = "none" if terms.budget is None else _amount(terms.budget, settings)
    rungs = (
        "none"
        if terms.rungs is None
        else ", ".join(_amount(terms.rungs.at(k), settings) for k in range(3)) + ", ..."
    )
    print_sections(
        "dry run: nothing was started",
        {
            f"Space{combinations}": {one.key: one.text for one in space.dimensions},
            "Search": {
                "method": settings.method,
                "compared by": settings.metric,
                "budget": budget,
                "trials": "as the budget pays for" if terms.n_trials is None else f"at most {terms.n_trials}",
                "rungs": rungs,
                "side by side": str(terms.at_once),
            },
        },
        to_stdout=not options.json,
    )
    return {
        "dry_run": True,
        "settings": settings.to_json(),
        "space": {one.key: one.text for one in space.dimensions},
    }


def _amount(amount: float, settings: Settings) -> str:
    return format_count(amount, "circuits") if settings.unit == "circuits" else format_usd(amount / 1e6)


def _printed(found: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    from pipelines.report import print_sections
    from pipelines.tune.report import answer, sections

    footer = [answer(found), *(comparison["in_words"] for comparison in found["comparisons"])]
    if found["best"]:
        footer.append(f"best configuration: {found['best_config']}")
    footer.append(f"report: {found['study_folder']}/report.md")
    print_sections(found["study"], sections(found), footer, to_stdout=not options.json)
    return found
