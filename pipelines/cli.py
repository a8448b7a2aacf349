"""The ``qfleet`` command. Thin: it reads arguments, calls one pipeline, prints, and turns errors into words and exit codes.

Exit codes: 0 done, 2 bad input (nothing was started), 1 failure, 130 interrupted (state saved). Heavy modules are
imported after the arguments are read, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import QfleetError
from pipelines.fleet_arguments import add_command as _add_fleets
from pipelines.launch.arguments import add_commands as _add_launching

_EPILOG = "Exit codes: 0 done, 1 failure, 2 bad input, 130 interrupted (state saved)."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the return value is its exit code."""
    options = _parser().parse_args(arguments)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # for a "module:attribute" of the user's own, as with `python -m`
    try:
        outcome: dict[str, Any] = importlib.import_module(options.module).run(options)
        if options.json:
            print(json.dumps(_as_json(outcome), allow_nan=False), flush=True)
        return 0
    except QfleetError as error:
        text = "\n".join([str(error), *getattr(error, "__notes__", [])])
        return _fail(options, error.exit_code, type(error).__name__, text)
    except KeyboardInterrupt as error:
        result = getattr(error, "result", None)
        if result is None:
            return _fail(options, 130, type(error).__name__, str(error) or "interrupted")
        print(f"\n{error}", file=sys.stderr)
        if options.json:
            print(json.dumps(_as_json(result.to_json()), allow_nan=False))
        return 130
    except BrokenPipeError:  # the reader of our output went away, e.g. `| head`
        sys.stderr.close()
        return 1
    except OSError as error:  # a full or read-only disk, a file that may not be read
        return _fail(options, 1, type(error).__name__, str(error))
    except Exception as error:  # a defect of ours, or of a user's module: the traceback is wanted
        traceback.print_exc()
        return _fail(options, 1, type(error).__name__, str(error))


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, as `main` gets them; SystemExit with code 2, and words on stderr, for a wrong one."""
    return _parser().parse_args(arguments)


def _as_json(value: Any) -> Any:
    """The same with null for numbers that are not finite, for which JSON has no words."""
    if isinstance(value, dict):
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fail(options: argparse.Namespace, code: int, kind: str, message: str) -> int:
    print(f"qfleet: {message}", file=sys.stderr)
    if options.json:
        print(json.dumps({"error": {"type": kind, "message": message}, "exit_code": code}))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qfleet",
        description="Train variational quantum models on a fleet of backends.",
        epilog=_EPILOG,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = _command(commands, "train", "train a model from a configuration file")
    train.add_argument("config", help="TOML file, e.g. pipelines/configs/breast_cancer.toml")
    _add_overrides(train)
    _add_actors(train)
    _add_spending(train)
    _add_log_file(train)
    train.add_argument(
        "--dry-run", action="store_true", help="check everything and print what would run; start nothing"
    )

    train.add_argument(
        "--baselines",
        action="store_true",
        help="then train the separable twin, a support vector machine and a neural network, and compare on the test split",
    )

    doctor = _command(commands, "doctor", "before training: cost, trainability and memory of a configuration")
    doctor.add_argument("config", help="TOML file, as for train")
    _add_overrides(doctor)
    _add_actors(doctor)
    doctor.add_argument(
        "--no-measure", dest="measure", action="store_false", help="skip what needs circuits to be run"
    )
    doctor.set_defaults(module="pipelines.doctor.command")

    quote = _command(commands, "quote", "before a paid run: its cost by target and gradient rule")
    quote.add_argument("config", help="TOML file, as for train")
    _add_overrides(quote)
    quote.add_argument(
        "--target", nargs="+", metavar="NAME", help="of the price catalogue, e.g. qpu.aria-1 (default: all)"
    )
    quote.add_argument("--rule", nargs="+", metavar="NAME", help="gradient rules (default: all)")

    _add_rehearse(commands)

    resume = _command(commands, "resume", "continue a run from its last checkpoint")
    _add_run(resume)
    _add_actors(resume)
    _add_address(resume)
    _add_spending(resume)
    _add_log_file(resume)

    _add_watching(commands)

    reconcile = _command(commands, "reconcile", "what IonQ charged for a run, beside what was booked")
    _add_run(reconcile)

    _add_replay(commands)

    evaluate = _command(commands, "evaluate", "score the best parameters of a run")
    _add_run(evaluate)
    evaluate.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="default: test"
    )
    evaluate.add_argument("--shots", type=int, help="repetitions of each circuit; default: as in training")
    evaluate.add_argument("--backend", help="another backend than in training")
    evaluate.add_argument(
        "--baselines",
        action="store_true",
        help="train the separable twin, a support vector machine and a neural network on the same split, and compare",
    )
    _add_actors(evaluate)
    _add_address(evaluate)
    _add_spending(evaluate)

    reconstruct = _command(commands, "reconstruct", "what a trained autoencoder gives back of its samples")
    _add_run(reconstruct)
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
    _add_actors(reconstruct)
    _add_address(reconstruct)
    _add_spending(reconstruct)

    kernel = _command(commands, "kernel", "a support vector machine on a quantum kernel")
    kernel.add_argument("config", help="TOML file, as for train; its feature map makes the kernel")
    kernel.add_argument(
        "--kernel", choices=("fidelity", "projected"), default="fidelity", help="default: fidelity"
    )
    _add_overrides(kernel)
    _add_actors(kernel)

    ui = _command(commands, "ui", "open a run in MLflow's pages")
    ui.add_argument("run", nargs="?", default="latest", help="as for resume (default: latest)")
    ui.add_argument("--directory", default="runs", help="where run names are looked up (default: runs)")
    ui.add_argument(
        "--port", type=int, default=5000, help="of the server started for a local store (default: 5000)"
    )

    _add_emulator(commands)
    _add_fleets(commands, _command)
    _add_launching(commands, _command)

    benchmark = commands.add_parser(
        "benchmark",
        help="measure this machine",
        description="measure this machine",
        epilog=_EPILOG,
    )
    _add_benchmarks(benchmark.add_subparsers(title="benchmarks", dest="what", required=True, metavar="WHAT"))
    return parser


def _add_replay(commands: Any) -> None:
    replay = _command(commands, "replay", "train again on what a run has paid for, at no cost")
    _add_run(replay)
    _add_overrides(replay)
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


def _add_rehearse(commands: Any) -> None:
    rehearse = _command(
        commands, "rehearse", "before a paid run: time, cost and scores of many runs against the emulator"
    )
    rehearse.add_argument("config", help="TOML file, as for train")
    _add_overrides(rehearse)
    rehearse.add_argument("--runs", type=int, default=20, metavar="N", help="rehearsals (default: 20)")
    rehearse.add_argument(
        "--seed", type=int, default=0, help="of queue times, failures and shots (default: 0)"
    )
    rehearse.add_argument(
        "--queue",
        default="0",
        metavar="S",
        help="of every job; or median and 90th percentile: 120,900 (default: 0)",
    )
    rehearse.add_argument(
        "--queue-from",
        metavar="RUN",
        help="queue times as an earlier run's jobs had them, in place of --queue",
    )
    rehearse.add_argument(
        "--directory", default="runs", help="where the name of that run is looked up (default: runs)"
    )
    rehearse.add_argument(
        "--execution", default="gates", metavar="S", help="of every job; or from its gates: gates (default)"
    )
    rehearse.add_argument(
        "--latency", type=float, default=0.1, metavar="S", help="of every request (default: 0.1)"
    )
    rehearse.add_argument(
        "--failures",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of jobs that fail, e.g. 0.02 (default: 0)",
    )
    rehearse.add_argument("--faults", metavar="TOML", help="what else goes wrong, see docs/emulator.md")


def _add_emulator(commands: Any) -> None:
    emulator = _command(commands, "emulator", "IonQ's cloud on this machine: API v0.4, prices, queue, faults")
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


def _add_benchmarks(benchmarks: Any) -> None:
    overhead = _command(benchmarks, "overhead", "wall time of a training step less the engine's")
    overhead.add_argument("config", nargs="?", help="default: the job of `make train`")
    overhead.add_argument("--steps", type=int, default=200, help="steps to time (default: 200)")
    _add_overrides(overhead)

    engine = _command(
        benchmarks, "engine", "circuits a second, checked against cirq, beside other simulators"
    )
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
    gradients = _command(benchmarks, "gradients", "training loss over steps and circuits, rule by rule")
    gradients.add_argument("--rule", nargs="+", metavar="NAME", help="gradient rules (default: all)")
    gradients.add_argument(
        "--problem",
        choices=("energy", "classification"),
        default="energy",
        help="ground state of an Ising chain, or two kinds of iris (default: energy)",
    )
    gradients.add_argument("--steps", type=int, default=60, help="steps of each training (default: 60)")
    gradients.add_argument("--plot", metavar="PATH", help="draw the losses, into this folder or file")
    _add_overrides(gradients)
    ionq = _command(benchmarks, "ionq", "steps and jobs on IonQ's emulator beside the latency of its jobs")
    ionq.add_argument(
        "--latency", type=float, default=0.2, metavar="S", help="that every job takes (default: 0.2)"
    )
    staleness = _command(benchmarks, "staleness", "when stale gradients pay, by queue and jobs in flight")
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


def _add_fleet_benchmark(benchmarks: Any) -> None:
    fleet = _command(
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
    scale = _command(benchmarks, "scale", "job completions a second of the driver, by number of actors")
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
    tables = _command(
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


def _command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=_EPILOG
    )
    parser.set_defaults(module=f"pipelines.{name}")
    parser.add_argument("--json", action="store_true", help="print one JSON object last, on stdout")
    return parser


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a key, e.g. run.epochs=5",
    )


def _add_actors(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--actors", type=int, metavar="N", help="number of Ray actors")


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        "--fleet-address",  # after `qfleet submit`, --address is that of the jobs API
        metavar="HOST:PORT",
        help="Ray cluster of the actors, in place of the run's fleet.address; none: RAY_ADDRESS, else a local one",
    )


def _add_spending(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--yes-spend",
        type=float,
        metavar="USD",
        help="allow a target that costs money: the most that the run may cost in all, see qfleet quote",
    )


def _add_log_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-file", metavar="PATH", help="append the run's log, JSON lines, to this file as well"
    )


def _add_watching(commands: Any) -> None:
    status = _command(commands, "status", "how runs are: all of them, or one in detail")
    top = _command(commands, "top", "the actors of a run, live")
    for parser, default in ((status, None), (top, "latest")):
        parser.add_argument(
            "run", nargs="?", default=default, help=f"as for resume (default: {default or 'all runs'})"
        )
        parser.add_argument("--directory", default="runs", help="where runs are looked up (default: runs)")
    top.add_argument("--once", action="store_true", help="print the table once")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run name, path of its folder, MLflow run id, or 'latest'")
    parser.add_argument("--directory", default="runs", help="where run names are looked up (default: runs)")


if __name__ == "__main__":
    sys.exit(main())
