"""The options of ``qfleet tune`` and ``qfleet benchmark tune``."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import add_actors, add_address, add_overrides, add_spending, command


def add_commands(commands: Any) -> None:
    """Add ``tune`` to the command line."""
    tune = command(commands, "tune", "search hyperparameters within a budget of circuits or dollars")
    tune.add_argument("config", help="TOML file, as for train: what is not searched")
    tune.add_argument(
        "--space",
        required=True,
        metavar="TOML",
        help="keys to search, e.g. pipelines/configs/spaces/learning.toml",
    )
    tune.add_argument("--method", default="tpe", help="tpe random annealing basin_hopping (default: tpe)")
    tune.add_argument("--metric", default="val/loss", help="that trials are compared by (default: val/loss)")
    tune.add_argument(
        "--trials", type=int, metavar="N", help="at most (default: 20, or as the budget pays for)"
    )
    tune.add_argument("--max-circuits", type=int, metavar="N", help="that all trials together may run")
    tune.add_argument("--max-usd", type=float, metavar="USD", help="that all trials together may cost")
    tune.add_argument(
        "--rungs",
        default="auto",
        metavar="N",
        help="circuits (dollars with --max-usd) of a trial where it is compared first; auto: a ninth of a whole one; none (default: auto)",
    )
    tune.add_argument(
        "--reduction",
        type=int,
        default=3,
        metavar="N",
        help="one in so many goes on from a rung (default: 3)",
    )
    tune.add_argument(
        "--at-once", type=int, default=1, metavar="N", help="trials side by side, by Ray Tune (default: 1)"
    )
    tune.add_argument("--seed", type=int, default=0, help="of what is tried (default: 0)")
    tune.add_argument("--name", help="of the study (default: after the time)")
    tune.add_argument(
        "--against",
        nargs="+",
        metavar="METHOD",
        help="then compare at equal budget: random, random-rungs, tpe, ...",
    )
    tune.add_argument(
        "--repeats", type=int, default=10, metavar="N", help="seeds of that comparison (default: 10)"
    )
    tune.add_argument(
        "--dry-run", action="store_true", help="check everything and print what would be searched"
    )
    add_overrides(tune)
    add_actors(tune)
    add_address(tune)
    add_spending(tune)
    tune.set_defaults(module="pipelines.tune.command")


def add_benchmark(benchmarks: Any) -> None:
    """Add ``benchmark tune``."""
    tune = command(benchmarks, "tune", "search methods at equal circuits on two data sets, paired over seeds")
    tune.add_argument(
        "--seeds", type=int, default=10, metavar="N", help="searches of each kind (default: 10)"
    )
    tune.add_argument("--method", default="tpe", help="tpe annealing basin_hopping (default: tpe)")
    tune.add_argument(
        "--against",
        nargs="+",
        default=["random", "random-rungs"],
        metavar="METHOD",
        help="default: random random-rungs",
    )
    tune.add_argument("--data", nargs="+", metavar="NAME", help="data sets (default: all, see docs/tune.md)")
    tune.add_argument("--max-circuits", type=int, metavar="N", help="of each search (default: by data set)")
    tune.add_argument(
        "--processes", type=int, metavar="N", help="searches side by side (default: one a core)"
    )
    tune.add_argument(
        "--output", default="runs/tune-benchmark", metavar="FOLDER", help="default: runs/tune-benchmark"
    )
    tune.set_defaults(module="pipelines.benchmark.tuning")
