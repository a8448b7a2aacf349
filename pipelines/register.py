"""``qfleet register``: a run's model as a version of a registered model at MLflow, with an alias."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from orchestrator.errors import CheckpointError, InputError, TrackingError
from pipelines.display.formatting import qfleet_command
from pipelines.report import print_sections
from pipelines.run_folder import RunFolder
from pipelines.run_setup import load_run
from pipelines.tracking.registered_names import check_names
from pipelines.tracking.tracker import Tracker, ship_pending


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Register the model of a run that has come to its end. The same model is registered under a name once, however often it is asked.

    Returns what ``--json`` prints.

    Raises:
        InputError: a name that MLflow would not take, a run that has not ended or was not tracked; nothing has been asked.
        TrackingError: the server did not take it, or not yet; what is asked is kept in the run's folder.
    """
    check_names(options.name, options.alias)
    folder = RunFolder.find(options.run, options.directory)
    if not folder.is_finished:
        raise InputError(
            f"run {folder.name} has not come to its end; first: {qfleet_command('resume', folder.handle)}"
        )
    config = folder.read_config()
    if not config.tracking.enabled:
        raise InputError(
            f"run {folder.name} was trained with tracking.enabled = false; MLflow does not know it, and has nothing to register"
        )
    folder.lock()
    try:
        _ask(folder, options.name, options.alias)
        report = ship_pending(folder.path, config.tracking)
    finally:
        folder.unlock()
    asked = folder.read_json("tracking.json")
    found = next(
        r for r in asked["registrations"] if (r["name"], r["alias"]) == (options.name, options.alias)
    )
    if found["version"] is None or found["model_id"] != asked["model_id"]:
        refused = "; ".join(report.refused)
        raise TrackingError(f"not registered: {refused or report.message}")
    by = f"{options.name}@{options.alias}" if options.alias else f"{options.name}/{found['version']}"
    outcome = {
        "run_name": folder.name, "run_id": report.run_id, "tracking_uri": report.tracking_uri, "registered_model": options.name,
        "version": found["version"], "alias": options.alias, "model_uri": f"models:/{by}",
    }  # fmt: skip
    _print(outcome, to_stdout=not options.json)
    return outcome


def _ask(folder: RunFolder, name: str, alias: str | None) -> None:
    """Note in the run's folder what is to be registered, and the model too where it has not been logged."""
    config = folder.read_config()
    tracker = Tracker(folder.path, config.tracking, folder.read_json("tracking.json")["run_name"])
    try:
        if tracker.spool.state.model is None:
            _log_model(tracker, folder)
        tracker.register_model(name, alias)
    finally:
        tracker.journal.close()


def _log_model(tracker: Tracker, folder: RunFolder) -> None:
    """Of a run with tracking.log_model = false."""
    prepared, _ = load_run(folder)
    from pipelines.predictor import Predictor

    try:
        predictor = Predictor.load(folder.model)
    except CheckpointError as error:
        raise InputError(f"run {folder.name} has no model to register: {error}") from error
    tracker.log_model(
        folder.model,
        feature_names=prepared.data.feature_names,
        example_features=prepared.data.raw_example,
        example_predictions=predictor.predict_table(prepared.data.raw_example),
    )


def _print(outcome: dict[str, Any], *, to_stdout: bool) -> None:
    uri = outcome["model_uri"]
    rows = {"model": f"{outcome['registered_model']}, version {outcome['version']}", "loads as": uri}
    if outcome["alias"]:
        rows["alias"] = outcome["alias"]
    where = f"MLFLOW_TRACKING_URI={outcome['tracking_uri']} "
    footer = [f"predict  {where}mlflow models predict -m {uri} -i rows.csv -t csv --env-manager uv"]
    print_sections(f"{outcome['run_name']} is registered", {"MLflow": rows}, footer, to_stdout=to_stdout)


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["register", *sys.argv[1:]]))
