"""The options of ``qfleet circuits``."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import add_run, command


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    circuits = command(commands, "circuits", "what a run's circuits were, cost, took and gave")
    add_run(circuits)
    circuits.add_argument(
        "--by",
        choices=("step", "purpose", "target", "group", "job"),
        default="purpose",
        help="what to count circuits and dollars by (default: purpose)",
    )
    circuits.add_argument(
        "--where",
        metavar="FILTER",
        help="circuits to look at, e.g. \"step > 10 and purpose == 'train'\"; columns: docs/data.md",
    )
    circuits.add_argument(
        "--top", type=int, default=10, metavar="N", help="lines of each table (default: 10)"
    )
    circuits.add_argument(
        "--sample", type=int, metavar="I", help="values of sample I of the validation split over the training"
    )
    circuits.add_argument(
        "--split", choices=("validation", "train"), default="validation", help="split of --sample"
    )
    circuits.add_argument(
        "--output", metavar="FILE", help="write the circuits to this .parquet or .csv file as well"
    )
