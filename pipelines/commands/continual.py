"""The options of ``qfleet continual``."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import add_actors, add_overrides, command


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    continual = command(commands, "continual", "learn a stream of tasks with replay, and what is forgotten")
    continual.set_defaults(module="pipelines.continual.command")
    continual.add_argument("config", help="TOML file, as for train; optimizer.schedule must be constant")
    add_overrides(continual)
    continual.add_argument(
        "--stream",
        default="rotated:45",
        help="classes:K (K new classes a task), rotated:DEGREES, shifted:SD (more with each task), or time: rows in file order "
        "(default: rotated:45)",
    )
    continual.add_argument(
        "--tasks", type=int, default=3, metavar="T", help="of streams other than classes (default: 3)"
    )
    continual.add_argument("--chunk", type=int, default=64, metavar="ROWS", help="at a time (default: 64)")
    continual.add_argument(
        "--passes", type=int, default=5, metavar="P", help="over each chunk before the next (default: 5)"
    )
    continual.add_argument(
        "--buffer", type=int, default=200, metavar="ROWS", help="kept for replay (default: 200)"
    )
    continual.add_argument(
        "--replayed", type=int, metavar="ROWS", help="in each batch (default: as many as new ones)"
    )
    continual.add_argument(
        "--no-compare", dest="compare", action="store_false", help="do not train on everything at once"
    )
    add_actors(continual)
