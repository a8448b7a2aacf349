"""The options of what has to do with MLflow's pages: registering a model, and opening runs there."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import add_run, command


def add_commands(commands: Any) -> None:
    """Add them to the command line."""
    register = command(commands, "register", "make a run's model a version of a registered model at MLflow")
    add_run(register)
    register.add_argument("--name", required=True, help="of the registered model; made if it is not there")
    register.add_argument(
        "--alias",
        help="for this version, e.g. champion: models:/NAME@champion; the version that had it loses it",
    )

    ui = command(commands, "ui", "open a run in MLflow's pages, or compare several")
    ui.add_argument(
        "runs",
        nargs="*",
        default=["latest"],
        metavar="RUN",
        help="as for resume; several are compared (default: latest)",
    )
    ui.add_argument("--directory", default="runs", help="where run names are looked up (default: runs)")
    ui.add_argument(
        "--port", type=int, default=5000, help="of the server started for a local store (default: 5000)"
    )
