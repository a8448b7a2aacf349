"""The options of what begins or continues a training, and of what is asked before one."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import (
    add_actors,
    add_address,
    add_log_file,
    add_overrides,
    add_run,
    add_spending,
    command,
)


def add_commands(commands: Any) -> None:
    """Add them to the command line."""
    _add_train(commands)
    _add_doctor(commands)
    _add_quote(commands)
    _add_rehearse(commands)
    _add_resume(commands)
    _add_kernel(commands)


def _add_train(commands: Any) -> None:
    train = command(commands, "train", "train a model from a configuration file")
    train.add_argument("config", help="TOML file, e.g. pipelines/configs/breast_cancer.toml")
    add_overrides(train)
    add_actors(train)
    add_spending(train)
    add_log_file(train)
    train.add_argument(
        "--dry-run", action="store_true", help="check everything and print what would run; start nothing"
    )

    train.add_argument(
        "--baselines",
        action="store_true",
        help="then train the separable twin, a support vector machine and a neural network, and compare on the test split",
    )


def _add_doctor(commands: Any) -> None:
    doctor = command(commands, "doctor", "before training: cost, trainability and memory of a configuration")
    doctor.add_argument("config", help="TOML file, as for train")
    add_overrides(doctor)
    add_actors(doctor)
    doctor.add_argument(
        "--no-measure", dest="measure", action="store_false", help="skip what needs circuits to be run"
    )
    doctor.set_defaults(module="pipelines.doctor.command")


def _add_quote(commands: Any) -> None:
    quote = command(commands, "quote", "before a paid run: its cost by target and gradient rule")
    quote.add_argument("config", help="TOML file, as for train")
    add_overrides(quote)
    quote.add_argument(
        "--target", nargs="+", metavar="NAME", help="of the price catalogue, e.g. qpu.aria-1 (default: all)"
    )
    quote.add_argument("--rule", nargs="+", metavar="NAME", help="gradient rules (default: all)")


def _add_rehearse(commands: Any) -> None:
    rehearse = command(
        commands, "rehearse", "before a paid run: time, cost and scores of many runs against the emulator"
    )
    rehearse.add_argument("config", help="TOML file, as for train")
    add_overrides(rehearse)
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


def _add_resume(commands: Any) -> None:
    resume = command(commands, "resume", "continue a run from its last checkpoint")
    add_run(resume)
    add_actors(resume)
    add_address(resume)
    add_spending(resume)
    add_log_file(resume)


def _add_kernel(commands: Any) -> None:
    kernel = command(commands, "kernel", "a support vector machine on a quantum kernel")
    kernel.add_argument("config", help="TOML file, as for train; its feature map makes the kernel")
    kernel.add_argument(
        "--kernel", choices=("fidelity", "projected"), default="fidelity", help="default: fidelity"
    )
    add_overrides(kernel)
    add_actors(kernel)
