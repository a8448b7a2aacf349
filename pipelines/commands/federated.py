"""The options of ``qfleet federated``."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import add_actors, add_overrides, command


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    federated = command(commands, "federated", "federated averaging over data shards that stay on actors")
    federated.set_defaults(module="pipelines.federated.command")
    federated.add_argument("config", help="TOML file, as for train")
    add_overrides(federated)
    federated.add_argument(
        "--clients", type=int, default=4, metavar="N", help="that hold the data (default: 4)"
    )
    federated.add_argument("--rounds", type=int, default=10, metavar="R", help="of averaging (default: 10)")
    federated.add_argument(
        "--local-epochs", type=int, default=1, metavar="E", help="a client's passes in a round (default: 1)"
    )
    federated.add_argument(
        "--split",
        default="iid",
        help="how rows are dealt: iid, by-class or dirichlet:ALPHA, e.g. dirichlet:0.3 (default: iid)",
    )
    federated.add_argument(
        "--fraction",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="of clients asked in a round (default: 1)",
    )
    federated.add_argument(
        "--min-clients",
        type=int,
        default=1,
        metavar="N",
        help="a round goes on without lost clients while so many answer (default: 1)",
    )
    federated.add_argument(
        "--clip", type=float, metavar="C", help="largest Euclidean norm of a client's update (default: none)"
    )
    federated.add_argument(
        "--noise-multiplier",
        type=float,
        metavar="Z",
        help="normal noise on each clipped update, standard deviation Z times C; it guarantees nothing, see docs/federated.md",
    )
    federated.add_argument(
        "--no-compare",
        dest="compare",
        action="store_false",
        help="train neither centrally nor each client alone; with clients on actors the driver then reads no row",
    )
    add_actors(federated)
