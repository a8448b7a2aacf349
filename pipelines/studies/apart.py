"""Trainings of a study side by side, each in a process of its own on Ray, its circuits simulated there.

For small models: there a step is mostly the work of the driver, which more actors do not speed up, and several drivers do. A training
in a process dies with it and is done again from its last checkpoint, by `actors.ray_fleet.tasks`. All processes write below the study's
folder, so on a cluster of several machines that has to be shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, QfleetError
from pipelines.compose import build_backend
from pipelines.run_folder import RunFolder
from pipelines.tracking.uri import given_uri, resolve_uri


class Apart(NamedTuple):
    """A training for another process.

    Attributes:
        config: as `Study.member_config` gives it, with where it is logged in full. path: of its folder.
    """

    config: TrainingConfig
    path: str


class Ended(NamedTuple):
    """What came of it: what `TrainingResult.to_json` says, and whether it came to its end; or why it failed."""

    result: dict[str, Any] | None
    error: str


def apart(config: TrainingConfig, folder: Path) -> Apart:
    """A training that is sent to another process, where neither this one's working directory nor its environment is known."""
    tracking = config.tracking
    if tracking.enabled:
        tracking = tracking.model_copy(update={"uri": resolve_uri(given_uri(tracking))})
    fleet = config.fleet.model_copy(update={"dispatcher": "serial", "name": None})
    absolute = str(Path(config.run.directory).absolute())
    run = config.run.model_copy(update={"directory": absolute})
    return Apart(
        config.model_copy(update={"fleet": fleet, "run": run, "tracking": tracking}), str(folder.absolute())
    )


def check_apart(configs: Sequence[TrainingConfig], at_once: int) -> None:
    """Refuse what cannot go on side by side.

    Raises:
        ConfigError: fewer than one at once, or trainings that cost money: what one of them may spend depends on the others.
    """
    if at_once < 1:
        raise ConfigError("--at-once", at_once, "must be at least 1", "1")
    for config in configs if at_once > 1 else ():
        if build_backend(config).capabilities.is_paid:
            raise ConfigError("--at-once", at_once, "trainings that cost money go one after the other", "1")


def trained_apart(
    trainings: Sequence[Apart], at_once: int, address: str | None = None
) -> Iterator[tuple[int, Ended]]:
    """Each training's number with what came of it, as they end.

    Args:
        address: Ray cluster to join; None: ``RAY_ADDRESS``, else a local one.

    Raises:
        FleetError: Ray cannot be reached, or has not the CPUs.
    """
    from actors.ray_fleet.tasks import RayTasks

    if trainings:
        with RayTasks(min(at_once, len(trainings)), address=address) as tasks:
            yield from tasks.run(train_here, trainings)


def train_here(training: Apart) -> Ended:
    """Train to the end in this process, from the last checkpoint where there is one."""
    from pipelines.trainer import Trainer

    folder = RunFolder(Path(training.path))
    try:
        if (folder.path / "config.toml").is_file():
            fleet = training.config.fleet
            trainer = Trainer.resume(training.path, progress=False, fleet=fleet)
            # the folder's copy names the store without what its URI may have of credentials
            trainer.config = trainer.config.model_copy(update={"tracking": training.config.tracking})
        else:
            trainer = Trainer(training.config, progress=False)
        result = trainer.fit().to_json()
    except QfleetError as error:
        return Ended(None, str(error))
    return Ended(result, "" if folder.is_finished else str(result.get("stop_reason")))
