"""``qfleet ui``: open runs in MLflow's pages, starting a server for them where the store is a file."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from orchestrator.errors import InputError
from pipelines.run_folder import RunFolder
from pipelines.studies.folder import StudyFolder
from pipelines.tracking.journal import Spool, SpoolState
from pipelines.tracking.uri import complete_uri, without_mask


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Say where the page of the run is, or the one that compares several, and serve it until Ctrl-C. Returns what ``--json`` prints.

    Raises:
        InputError: a run was not logged to MLflow, or not where the others were, or the server does not start.
    """
    by_id = {
        state.run_id: (name, state) for name, state in (_tracked(n, options.directory) for n in options.runs)
    }
    names, states = [name for name, _ in by_id.values()], [state for _, state in by_id.values()]
    uri = states[0].uri
    assert uri is not None
    for name, state in by_id.values():
        if state.uri != uri:
            raise InputError(
                f"{names[0]} was logged to {uri} and {name} to {state.uri}: runs of two stores cannot be compared"
            )
    page = _page(states)
    is_server = uri.startswith(("http://", "https://"))
    address = without_mask(uri).rstrip("/") + page if is_server else f"http://127.0.0.1:{options.port}{page}"
    print(address, file=sys.stderr if options.json else sys.stdout, flush=True)
    if not is_server and not options.json:
        _serve(complete_uri(uri), options.port)
    first = {"run_name": names[0], "run_id": states[0].run_id}
    every = {"run_names": names, "run_ids": [state.run_id for state in states]}
    return first | every | {"tracking_uri": uri, "address": address}


def _tracked(name: str, directory: str) -> tuple[str, SpoolState]:
    """Name of a run or study, and where MLflow has it."""
    folder = StudyFolder.find(name, directory) or RunFolder.find(name, directory)
    state = Spool(folder.path).state if (folder.path / "tracking.json").is_file() else SpoolState()
    if not state.uri or not state.run_id:
        raise InputError(
            f"run {folder.name} has not been logged to MLflow; 'qfleet resume {folder.name}' logs what is missing"
        )
    return state.run_name or folder.name, state


def _page(states: Sequence[SpoolState]) -> str:
    """Path of the page of one run, or of the comparison of several."""
    if len(states) == 1:
        return f"/#/experiments/{states[0].experiment_id}/runs/{states[0].run_id}"
    runs = [state.run_id for state in states]
    experiments = list(dict.fromkeys(state.experiment_id for state in states))
    return f"/#/compare-runs?runs={_plain(runs)}&experiments={_plain(experiments)}"


def _plain(values: Sequence[str | None]) -> str:
    return quote(json.dumps(values, separators=(",", ":")))


def _serve(uri: str, port: int) -> None:
    print("MLflow answers there in some seconds; Ctrl-C stops it.", file=sys.stderr, flush=True)
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # The store goes through the environment, not the command line: it may hold a password, and anyone can list processes.
    quiet["MLFLOW_BACKEND_STORE_URI"] = uri
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    code = subprocess.run(command, env=dict(os.environ) | quiet, check=False).returncode
    if code > 0:
        raise InputError(f"MLflow's server ended with code {code}; is port {port} taken? Try --port")


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["ui", *sys.argv[1:]]))
