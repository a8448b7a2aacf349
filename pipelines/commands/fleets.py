"""The options of ``qfleet fleet``."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import command


def add_commands(commands: Any) -> None:
    """Add ``fleet`` and its actions to the command line."""
    fleet = commands.add_parser(
        "fleet", help="fleets that several runs share", description="fleets that several runs share"
    )
    actions = fleet.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    start = command(actions, "start", "start a fleet that lives on in the cluster")
    start.add_argument("name", metavar="NAME", help="of the fleet; runs use it with fleet.name")
    start.add_argument("config", help="TOML file, as for train; its backend and fleet are used")
    start.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a key, e.g. backend.noise=aria-1",
    )
    start.add_argument("--actors", type=int, metavar="N", help="number of Ray actors")
    start.add_argument(
        "--cache", type=float, default=256.0, metavar="MIB", help="of answers kept for later (default: 256)"
    )
    start.add_argument(
        "--yes-spend",
        type=float,
        metavar="USD",
        help="allow a target that costs money: the most that all runs of the fleet together may cost",
    )
    start.add_argument(
        "--folder", metavar="PATH", help="of the book of a fleet that costs money (default: runs/fleet-NAME)"
    )
    status = command(actions, "status", "clients, jobs and actors of a fleet, or all fleets")
    status.add_argument("name", nargs="?", metavar="NAME", help="default: all fleets of the cluster")
    stop = command(actions, "stop", "end a fleet; runs that use it stop, and can be resumed")
    stop.add_argument("name", metavar="NAME")
    for parser in (start, status, stop):
        parser.add_argument(
            "--address", metavar="HOST:PORT", help="Ray cluster (default: fleet.address, RAY_ADDRESS)"
        )
        parser.set_defaults(module="pipelines.fleet")
