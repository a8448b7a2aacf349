"""The options of what is asked of runs that are there."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import (
    add_actors,
    add_address,
    add_overrides,
    add_run,
    add_spending,
    command,
)


def add_commands(commands: Any) -> None:
    """Add them to the command line."""
    _add_watching(commands)
    _add_reconcile(commands)
    _add_replay(commands)
    _add_reconstruct(commands)


def _add_watching(commands: Any) -> None:
    status = command(commands, "status", "how runs are: all of them, or one in detail")
    top = command(commands, "top", "the actors of a run, live")
    for parser, default in ((status, None), (top, "latest")):
        parser.add_argument(
            "run", nargs="?", default=default, help=f"as for resume (default: {default or 'all runs'})"
        )
        parser.add_argument("--directory", default="runs", help="where runs are looked up (default: runs)")
    top.add_argument("--once", action="store_true", help="print the table once")


def _add_reconcile(commands: Any) -> None:
    reconcile = command(commands, "reconcile", "what IonQ charged for a run, beside what was booked")
    add_run(reconcile)


def _add_replay(commands: Any) -> None:
    replay = command(commands, "replay", "train again on what a run has paid for, at no cost")
    add_run(replay)
    add_overrides(replay)
    replay.add_argument("--shots", type=int, help="of each circuit, at most what is recorded (default: all)")
    replay.add_argument(
        "--then",
        metavar="BACKEND",
        help="simulator for what is not recorded, e.g. noisy (default: stop there)",
    )
    replay.add_argument(
        "--along",
        action="store_true",
        help="keep to the recorded steps, and compare what is measured at each",
    )
    replay.add_argument(
        "--export", metavar="FILE", help="write the recorded circuits to this .parquet file; train nothing"
    )


def _add_reconstruct(commands: Any) -> None:
    reconstruct = command(commands, "reconstruct", "what a trained autoencoder gives back of its samples")
    add_run(reconstruct)
    reconstruct.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="default: test"
    )
    reconstruct.add_argument("--shots", type=int, help="repetitions of each circuit; default: as in training")
    reconstruct.add_argument("--backend", help="another backend than in training")
    reconstruct.add_argument(
        "--output",
        metavar="FILE",
        help=".parquet or .csv of the samples (default: among the run's artifacts)",
    )
    add_actors(reconstruct)
    add_address(reconstruct)
    add_spending(reconstruct)
