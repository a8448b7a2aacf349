"""The options of ``qfleet benchmark``."""

from __future__ import annotations

from typing import Any

from pipelines.commands import tune
from pipelines.commands.common import EPILOG, add_overrides, command


def add_commands(commands: Any) -> None:
    """Add ``benchmark`` and all of them to the command line."""
    benchmark = commands.add_parser(
        "benchmark",
        help="measure this machine",
        description="measure this machine",
        epilog=EPILOG,
    )
    _add_benchmarks(benchmark.add_subparsers(title="benchmarks", dest="what", required=True, metavar="WHAT"))


def _add_benchmarks(benchmarks: Any) -> None:
    overhead = command(benchmarks, "overhead", "wall time of a training step less the engine's")
    overhead.add_argument("config", nargs="?", help="default: the job of `make train`")
    overhead.add_argument("--steps", type=int, default=200, help="steps to time (default: 200)")
    add_overrides(overhead)

    engine = command(benchmarks, "engine", "circuits a second, checked against cirq, beside other simulators")
    engine.add_argument(
        "--workload",
        nargs="+",
        metavar="NAME",
        help="W1 to W7 and others, see docs/performance.md (default: all)",
    )
    engine.add_argument("--precision", choices=("double", "single"), default="double", help="default: double")
    engine.add_argument("--seconds", type=float, default=3.0, help="budget of each measurement (default: 3)")
    engine.add_argument("--peers", action="store_true", help="time the other simulators that are installed")
    engine.add_argument(
        "--peers-python",
        metavar="PYTHON",
        help="interpreter that has them, if not this one (implies --peers)",
    )
    engine.add_argument("--explain", action="store_true", help="print the cost model's table")
    engine.add_argument(
        "--plot",
        metavar="PATH",
        help="measure and draw the scaling, into this folder or file; alone: nothing else",
    )
    engine.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    engine.add_argument(
        "--output", metavar="FOLDER", help="write the workloads as Markdown, JSON and a plot into this folder"
    )
    gradients = command(benchmarks, "gradients", "training loss over steps and circuits, rule by rule")
    gradients.add_argument("--rule", nargs="+", metavar="NAME", help="gradient rules (default: all)")
    gradients.add_argument(
        "--problem",
        choices=("energy", "classification"),
        default="energy",
        help="ground state of an Ising chain, or two kinds of iris (default: energy)",
    )
    gradients.add_argument("--steps", type=int, default=60, help="steps of each training (default: 60)")
    gradients.add_argument("--plot", metavar="PATH", help="draw the losses, into this folder or file")
    add_overrides(gradients)
    ionq = command(benchmarks, "ionq", "steps and jobs on IonQ's emulator beside the latency of its jobs")
    ionq.add_argument(
        "--latency", type=float, default=0.2, metavar="S", help="that every job takes (default: 0.2)"
    )
    staleness = command(benchmarks, "staleness", "when stale gradients pay, by queue and jobs in flight")
    staleness.add_argument("--seeds", type=int, default=8, help="trainings of each kind (default: 8)")
    staleness.add_argument(
        "--target-loss", type=float, default=0.55, help="of the training split, to be reached (default: 0.55)"
    )
    staleness.add_argument(
        "--steps", type=int, default=120, help="after which a training is given up (default: 120)"
    )
    staleness.add_argument("--plot", metavar="PATH", help="draw the figures, into this folder or file")
    _add_fleet_benchmark(benchmarks)
    for parser in (staleness, overhead, engine, gradients, ionq):
        parser.set_defaults(module="pipelines.benchmark.command")
    _add_scale(benchmarks)
    _add_tables(benchmarks)
    _add_source(benchmarks)
    _add_torch(benchmarks)
    tune.add_benchmark(benchmarks)


def _add_fleet_benchmark(benchmarks: Any) -> None:
    fleet = command(
        benchmarks, "fleet", "speed-up by more actors, their loss in the middle of a step, memory over time"
    )
    fleet.add_argument("--part", nargs="+", metavar="NAME", help="local latency churn soak (default: all)")
    fleet.add_argument("--seconds", type=float, default=3.0, help="local: the engine's work (default: 3)")
    fleet.add_argument("--actors", type=int, default=64, metavar="N", help="latency: actors (default: 64)")
    fleet.add_argument(
        "--latency", type=float, default=0.1, metavar="S", help="latency: time of a job (default: 0.1)"
    )
    fleet.add_argument("--batches", type=int, default=1000, metavar="N", help="soak: batches (default: 1000)")
    fleet.add_argument(
        "--circuits", type=int, default=10_000, metavar="N", help="soak: different circuits (default: 10000)"
    )
    fleet.add_argument(
        "--output", default="runs/fleet", metavar="FOLDER", help="churn: its timeline (default: runs/fleet)"
    )
    fleet.set_defaults(module="pipelines.benchmark.fleet")


def _add_scale(benchmarks: Any) -> None:
    scale = command(benchmarks, "scale", "job completions a second of the driver, by number of actors")
    scale.add_argument(
        "--actors",
        type=int,
        nargs="+",
        default=[1, 10, 100, 1_000, 10_000],
        metavar="N",
        help="virtual actors (default: 1 to 10000)",
    )
    scale.add_argument(
        "--jobs",
        type=int,
        default=1_000_000,
        metavar="N",
        help="of the most actors; a tenth of them with fewer (default: 1000000)",
    )
    scale.add_argument(
        "--trace",
        metavar="FILE",
        help="CSV of a run's jobs, with started_at and finished_at (default: one that comes with qfleet)",
    )
    scale.add_argument("--no-ray", dest="ray", action="store_false", help="leave Ray's own calls out")
    scale.add_argument("--plot", metavar="PATH", help="draw the figures, into this folder or file")
    scale.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    scale.set_defaults(module="pipelines.benchmark.scale")


def _add_tables(benchmarks: Any) -> None:
    tables = command(
        benchmarks, "tables", "published test accuracies beside those of the same models trained here"
    )
    tables.add_argument("--model", nargs="+", metavar="NAME", help="reuploading, dressed, ... (default: all)")
    tables.add_argument("--quick", action="store_true", help="data sets of two features, one seed")
    tables.add_argument("--seeds", type=int, metavar="N", help="trainings of each model (default: 5)")
    tables.add_argument(
        "--processes", type=int, metavar="N", help="trainings side by side (default: one a core)"
    )
    tables.add_argument(
        "--actors", type=int, metavar="N", help="trainings side by side on Ray actors in place of processes"
    )
    tables.add_argument(
        "--address", metavar="HOST:PORT", help="Ray cluster of the actors (default: a local Ray)"
    )
    tables.add_argument("--output", default="runs/tables", metavar="FOLDER", help="default: runs/tables")
    tables.add_argument("--no-tracking", action="store_true", help="log nothing to MLflow")
    tables.add_argument(
        "--search", action="store_true", help="search the hyperparameters again, and print them"
    )
    tables.set_defaults(module="pipelines.benchmark.tables")


def _add_source(benchmarks: Any) -> None:
    source = command(
        benchmarks, "source", "the source documents' configurations, trained, beside the times they claim"
    )
    source.add_argument(
        "--configuration", nargs="+", metavar="NAME", help="4q-2l, 8q-3l, after, ... (default: all)"
    )
    source.add_argument(
        "--emulator-latency",
        type=float,
        nargs="+",
        metavar="S",
        help="train the quick start through IonQ's emulator, too, whose jobs take so long: 0.1 0.5",
    )
    source.add_argument(
        "--no-cold", action="store_true", help="leave out the commands in processes of their own"
    )
    source.add_argument(
        "--output", metavar="FOLDER", help="copy Markdown, JSON and the plot into this folder"
    )
    source.add_argument("--name", metavar="NAME", help="of the study (default: after the time)")
    source.add_argument("--directory", default="runs", help="folder of studies and runs (default: runs)")
    add_overrides(source)
    source.set_defaults(module="pipelines.benchmark.source_configs")


def _add_torch(benchmarks: Any) -> None:
    torch = command(
        benchmarks, "torch", "the backend torch beside the backend ideal, by qubits, on every device there is"
    )
    torch.add_argument(
        "--qubits",
        type=int,
        nargs="+",
        default=[4, 8, 12, 16, 20],
        metavar="N",
        help="default: 4 8 12 16 20",
    )
    torch.add_argument("--layers", type=int, default=2, metavar="L", help="default: 2")
    torch.add_argument(
        "--samples", type=int, metavar="S", help="of a job (default: 2**19 amplitudes, at most 64)"
    )
    torch.add_argument(
        "--entanglement",
        choices=("linear", "full"),
        default="full",
        help="linear: a shallow chain, which ideal contracts; full: ideal has state vectors too (default: full)",
    )
    torch.add_argument("--precision", choices=("double", "single"), default="double", help="default: double")
    torch.add_argument("--threads", type=int, default=1, metavar="N", help="of both backends (default: 1)")
    torch.add_argument(
        "--seconds", type=float, default=1.0, help="of each measurement, at least 3 repeats (default: 1)"
    )
    torch.set_defaults(module="pipelines.benchmark.torch_engine")
