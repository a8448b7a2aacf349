"""The options of ``qfleet emulator``."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import command


def add_command(commands: Any) -> None:
    """Add it to the command line."""
    emulator = command(commands, "emulator", "IonQ's cloud on this machine: API v0.4, prices, queue, faults")
    emulator.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: a free one)")
    emulator.add_argument("--seed", type=int, default=0, help="of the shots of machines (default: 0)")
    emulator.add_argument("--noise", metavar="NAME", help="of simulator jobs that name none, e.g. aria-1")
    emulator.add_argument(
        "--noiseless", action="store_true", help="machines without their noise, to time what asks them"
    )
    emulator.add_argument("--latency", type=float, default=0.0, metavar="S", help="of every request")
    emulator.add_argument("--queue", type=float, default=0.0, metavar="S", help="that every job dwells")
    emulator.add_argument("--rate", type=float, metavar="N", help="requests a second (default: no limit)")
    emulator.add_argument("--burst", type=int, default=10, metavar="N", help="requests at once (default: 10)")
    emulator.add_argument("--speed", type=float, default=1.0, help="of its clock (default: 1)")
    emulator.add_argument(
        "--virtual-clock",
        action="store_true",
        help="moved by POST /emulator/clock alone, see docs/emulator.md",
    )
    emulator.add_argument("--faults", metavar="TOML", help="what goes wrong, see docs/emulator.md")
    emulator.add_argument("--ledger", metavar="FILE", help="append every job and its end as JSON lines")
    emulator.add_argument("--prices", metavar="TOML", help="price catalogue, see docs/costs.md")
    emulator.add_argument(
        "--key", metavar="VARIABLE", help="environment variable with the API key to demand (default: any key)"
    )
