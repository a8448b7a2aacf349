"""Options that several commands have."""

from __future__ import annotations

import argparse
from typing import Any

EPILOG = "Exit codes: 0 done, 1 failure, 2 bad input, 130 interrupted (state saved)."


def command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    """A command of one pipeline, ``pipelines.NAME``, with what all commands have."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=EPILOG
    )
    parser.set_defaults(module=f"pipelines.{name}")
    parser.add_argument("--json", action="store_true", help="print one JSON object last, on stdout")
    return parser


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Keys of the configuration, set on the command line."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a key, e.g. run.epochs=5",
    )


def add_actors(parser: argparse.ArgumentParser) -> None:
    """The number of actors."""
    parser.add_argument("--actors", type=int, metavar="N", help="number of Ray actors")


def add_address(parser: argparse.ArgumentParser) -> None:
    """The Ray cluster of the actors."""
    parser.add_argument(
        "--address",
        "--fleet-address",  # after `qfleet submit`, --address is that of the jobs API
        metavar="HOST:PORT",
        help="Ray cluster of the actors, in place of the run's fleet.address; none: RAY_ADDRESS, else a local one",
    )


def add_spending(parser: argparse.ArgumentParser) -> None:
    """How much money may be spent."""
    parser.add_argument(
        "--yes-spend",
        type=float,
        metavar="USD",
        help="allow a target that costs money: the most that the run may cost in all, see qfleet quote",
    )


def add_log_file(parser: argparse.ArgumentParser) -> None:
    """A second place for the log."""
    parser.add_argument(
        "--log-file", metavar="PATH", help="append the run's log, JSON lines, to this file as well"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", help="run name, path of its folder, MLflow run id, or 'latest'")
    parser.add_argument("--directory", default="runs", help="where run names are looked up (default: runs)")
