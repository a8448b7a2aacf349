"""The options of ``qfleet simplify``."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import add_overrides, command


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    simplify = command(
        commands, "simplify", "before training: gates, circuits and dollars that a simplified circuit saves"
    )
    simplify.add_argument("config", help="TOML file, as for train")
    add_overrides(simplify)
    simplify.add_argument(
        "--target",
        default="qpu.aria-1",
        metavar="NAME",
        help="whose prices are used, of the price catalogue (default: qpu.aria-1)",
    )
    simplify.add_argument("--circuits", action="store_true", help="print both circuits as text")
    simplify.add_argument("--plot", metavar="FOLDER", help="draw both circuits into this folder")
