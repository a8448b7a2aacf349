"""What the commands of studies that are not sweeps have in common: carry out and report, or continue, or show what there is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.config import TrainingConfig
from pipelines.studies.folder import StudyFolder
from pipelines.studies.options import fleet_overrides
from pipelines.studies.study import Study
from pipelines.tracking.tracker import ship_pending

Figures = dict[str, Any]


class Reported(NamedTuple):
    """What `Study.finish` takes."""

    report: str
    figures: Mapping[str, Any]
    metrics: Mapping[str, float]
    files: Sequence[Path]


def carried_out(
    folder: StudyFolder,
    config: TrainingConfig,
    asks: Mapping[str, Any],
    about: str,
    work: Callable[[Study], Reported],
) -> Figures:
    """Do what is left of a study, on the fleet of `config`, and report. Returns its figures.

    Args:
        asks: parameters of the parent run at MLflow, beside the configuration. about: its description until there is a report.
        work: does it, in the study.
    """
    params = {f"{folder.kind}.{name}": value for name, value in asks.items()} | folder.config.flattened()
    with Study(folder, params=params, description=about) as study:
        study.config = study.config.model_copy(update={"fleet": config.fleet})
        return study.finish(*work(study))


def resumed(
    folder: StudyFolder, options: argparse.Namespace, go_on: Callable[[TrainingConfig], Figures]
) -> Figures:
    """The figures of a study that has ended, of which MLflow is sent what it has not got; else what `go_on` comes to.

    Args:
        go_on: does what is left, on the fleet of the configuration that it is given.

    Raises:
        ConfigError: an address where there are no actors.
    """
    found = folder.report()
    if found is None:
        overrides = fleet_overrides(folder.config, options.actors, options.address)
        return go_on(folder.config.with_overrides(overrides))
    _ship(folder)
    return found


def _ship(folder: StudyFolder) -> None:
    """Send MLflow what it has not got of the study and its members."""
    tracking = folder.config.tracking
    for path in (folder.path, *sorted(folder.members.iterdir())) if tracking.enabled else ():
        if (path / "tracking.json").is_file():
            shipped = ship_pending(path, tracking, timeout_seconds=20.0)
            if not shipped.is_complete:  # the others would wait in vain, too
                print(shipped.message, file=sys.stderr)
                return
