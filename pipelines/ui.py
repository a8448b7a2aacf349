"""``qfleet ui``: open a run in MLflow's pages, starting a server for them where the store is a file."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any

from orchestrator.errors import InputError
from pipelines.run_folder import RunFolder
from pipelines.tracking.uri import complete_uri


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Say where the run's page is, and serve it until Ctrl-C. Returns what ``--json`` prints.

    Raises:
        InputError: the run was not logged to MLflow, or the server does not start.
    """
    folder = RunFolder.find(options.run, options.directory)
    where = folder.read_json("tracking.json") if (folder.path / "tracking.json").is_file() else {}
    uri, run_id = where.get("uri"), where.get("run_id")
    if not uri or not run_id:
        raise InputError(
            f"run {folder.name} has not been logged to MLflow; 'qfleet resume {folder.name}' logs what is missing"
        )
    page = f"/#/experiments/{where['experiment_id']}/runs/{run_id}"
    is_server = uri.startswith(("http://", "https://"))
    address = uri.rstrip("/") + page if is_server else f"http://127.0.0.1:{options.port}{page}"
    print(address, file=sys.stderr if options.json else sys.stdout, flush=True)
    if not is_server and not options.json:
        _serve(complete_uri(uri), options.port)
    return {"run_name": folder.name, "run_id": run_id, "tracking_uri": uri, "address": address}


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
