"""What ``qfleet federated`` does: read the options, train and compare, print; and the same for a study that is resumed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from orchestrator.config import TrainingConfig, actor_overrides

if TYPE_CHECKING:
    from pipelines.federated.settings import FederatedSettings
    from pipelines.federated.study import Federation
    from pipelines.studies.folder import StudyFolder


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train as the command line says. Returns what ``--json`` prints.

    Raises:
        InputError: refused before anything is written. FleetError: too few clients answer.
    """
    from pipelines.federated.settings import FederatedSettings

    actors = [] if options.actors is None else actor_overrides(options.actors)
    config = TrainingConfig.from_toml(options.config, [*options.set, *actors])
    settings = FederatedSettings(
        clients=options.clients,
        rounds=options.rounds,
        local_epochs=options.local_epochs,
        split=options.split,
        fraction=options.fraction,
        min_clients=options.min_clients,
        clip=options.clip,
        noise_multiplier=options.noise_multiplier,
        compare=options.compare,
    )
    return federated(config, settings, to_stdout=not options.json)


def federated(
    config: TrainingConfig, settings: FederatedSettings, *, to_stdout: bool = False
) -> dict[str, Any]:
    """Train federatedly, in a new study named ``run.name`` below ``run.directory``; the figures of it.

    Args:
        to_stdout: print the table there in place of stderr.

    Raises:
        InputError: refused before anything is written. FleetError: too few clients answer; the last round is saved.
    """
    from pipelines.federated.settings import check_config
    from pipelines.federated.study import KIND, open_federation
    from pipelines.studies.folder import StudyFolder

    check_config(config, settings)
    federation = open_federation(config, settings)
    try:
        folder = StudyFolder.create(
            KIND, config, settings.to_json(), directory=config.run.directory, name=config.run.name
        )
        found = _finished(folder, settings, config, federation)
    finally:
        federation.clients.close()
    _show(folder, found, to_stdout=to_stdout)
    return found


def resume(folder: StudyFolder, options: argparse.Namespace) -> dict[str, Any]:
    """Continue a study after its last round; one that has ended is printed again.

    Raises:
        CheckpointError: its data source has changed, or its rounds cannot be read.
    """
    from pipelines.federated.settings import FederatedSettings
    from pipelines.studies.reporting import resumed

    settings = FederatedSettings(**folder.asks)
    found = resumed(folder, options, lambda config: _finished(folder, settings, config, None))
    _show(folder, found, to_stdout=not options.json)
    return found


def _finished(
    folder: StudyFolder, settings: FederatedSettings, config: TrainingConfig, federation: Federation | None
) -> dict[str, Any]:
    """Do what is left, on the fleet of `config`, and report."""
    from pipelines.federated.report import figures, final_metrics, markdown
    from pipelines.federated.study import FederatedStudy
    from pipelines.plots.federated import federated_rounds
    from pipelines.studies.reporting import Reported, carried_out
    from pipelines.studies.study import Study

    def work(study: Study) -> Reported:
        outcome = FederatedStudy(study, settings, federation).run()
        found = figures(settings, outcome, folder.config.run.seed)
        plot = folder.artifacts / "federated.png"
        federated_rounds(found, plot, title=folder.name)
        study.tracker.log_artifact(folder.path / "model", "model")
        return Reported(markdown(folder.name, found, folder.handle), found, final_metrics(found), [plot])

    about = f"federated averaging over {settings.clients} clients, {settings.rounds} rounds, split {settings.split}"
    return carried_out(folder, config, settings.to_json(), about, work)


def _show(folder: StudyFolder, found: dict[str, Any], *, to_stdout: bool) -> None:
    from pipelines.display.formatting import from_here
    from pipelines.federated.report import COLUMNS, sections
    from pipelines.report import print_sections

    footer = [
        COLUMNS,
        "intervals: 95 %, bootstrap over the test rows; they say nothing of other seeds or deals",
        f"report, plot and model: {from_here(folder.path)}",
    ]
    print_sections(f"{folder.name}: federated averaging", sections(found), footer, to_stdout=to_stdout)
