"""The options of ``qfleet submit`` and ``qfleet jobs``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

SUBMITTABLE = (
    "train", "resume", "evaluate", "reconstruct", "kernel", "replay", "reconcile", "rehearse", "doctor", "quote",
    "compare", "finetune", "simplify", "federated", "continual", "hybrid", "circuits", "similar", "register", "tune", "benchmark",
)  # fmt: skip
"""Commands that make sense as jobs: they end by themselves and need nobody at a keyboard."""

Command = Callable[[Any, str, str], argparse.ArgumentParser]


def add_commands(commands: Any, command: Command) -> None:
    """Add ``submit`` and ``jobs``; `command` adds one with what all commands have."""
    submit = command(commands, "submit", "run a command as a job of a Ray cluster")
    _add_submit_options(submit)
    submit.add_argument("command", metavar="COMMAND", help=f"one of {', '.join(SUBMITTABLE)}")
    submit.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments and options"
    )
    submit.set_defaults(module="pipelines.launch.submit")

    jobs = commands.add_parser("jobs", help="jobs of a Ray cluster", description="jobs of a Ray cluster")
    actions = jobs.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    _action(actions, command, "list", "all jobs that the cluster remembers")
    _add_job(_action(actions, command, "status", "one job: state, run, times, exit code"))
    logs = _action(actions, command, "logs", "what a job has printed so far")
    _add_job(logs)
    logs.add_argument("--last", type=int, metavar="N", help="only the last N lines")
    stop = _action(actions, command, "stop", "have a job save its state and end")
    _add_job(stop)
    stop.add_argument(
        "--wait", type=float, default=150.0, metavar="S", help="seconds to wait for its end (default: 150)"
    )
    attach = _action(
        actions, command, "attach", "follow a job to its end, from here on or again from the start"
    )
    _add_job(attach)
    attach.add_argument("--from-now", action="store_true", help="leave out what it has printed so far")
    _add_pending(attach)


def split(command: str, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options of ``submit`` that stand after the command, and the command line of the job itself.

    ``qfleet submit train run.toml --follow --set run.epochs=3`` means the same wherever ``--follow`` stands.
    """
    parser = argparse.ArgumentParser(prog="qfleet submit", allow_abbrev=False, add_help=False)
    _add_submit_options(parser, default=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    own, rest = parser.parse_known_args([*arguments])
    return own, [command, *rest]


def _add_submit_options(parser: argparse.ArgumentParser, **default: Any) -> None:
    _add_address(parser, **default)
    parser.add_argument(
        "--follow",
        action="store_true",
        help="print the job's log until it ends; its exit code is ours",
        **default,
    )
    parser.add_argument("--wait", action="store_true", help="as --follow, without the log", **default)
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be sent; ask no cluster", **default
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="once more, where the same job was submitted and has ended",
        **default,
    )
    _add_pending(parser, **default)
    parser.add_argument(
        "--working-dir",
        metavar="FOLDER",
        **({"default": "."} | default),
        help="that the job gets a copy of (default: .)",
    )
    parser.add_argument(
        "--exclude", action="append", metavar="PATTERN", **({"default": []} | default),
        help="of files to leave out, as in .gitignore",
    )  # fmt: skip
    parser.add_argument(
        "--env", action="append", metavar="NAME", **({"default": []} | default),
        help="environment variable to hand over, by name; its value is never printed",
    )  # fmt: skip
    parser.add_argument(
        "--stop-seconds", type=int, metavar="S", **({"default": 120} | default),
        help="that a stopped job may take to save its state (default: 120)",
    )  # fmt: skip


def _add_address(parser: argparse.ArgumentParser, **default: Any) -> None:
    parser.add_argument(
        "--address", metavar="URL", **default,
        help="of the cluster's jobs API (default: RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265)",
    )  # fmt: skip


def _add_pending(parser: argparse.ArgumentParser, **default: Any) -> None:
    parser.add_argument(
        "--pending-seconds", type=float, metavar="S", **({"default": 600.0} | default),
        help="that the job may wait for its start while we wait for it (default: 600)",
    )  # fmt: skip


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", help="its id or the beginning of it, the name of its run, or 'latest'")


def _action(actions: Any, command: Command, name: str, summary: str) -> argparse.ArgumentParser:
    parser = command(actions, name, summary)
    _add_address(parser)
    parser.set_defaults(module="pipelines.launch.jobs")
    return parser
