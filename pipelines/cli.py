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
from pipelines.commands import benchmarks, emulator, fleets, runs, training, tune
from pipelines.commands.circuits import add_commands as _add_circuits
from pipelines.commands.common import EPILOG, command
from pipelines.commands.compare import add_commands as _add_compare
from pipelines.commands.continual import add_commands as _add_continual
from pipelines.commands.evaluate import add_commands as _add_evaluate
from pipelines.commands.examples import add_commands as _add_examples
from pipelines.commands.federated import add_commands as _add_federated
from pipelines.commands.hybrid import add_commands as _add_hybrid
from pipelines.commands.register import add_commands as _add_register
from pipelines.commands.simplify import add_commands as _add_simplify
from pipelines.launch.arguments import add_commands as _add_launching


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
        epilog=EPILOG,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    training.add_commands(commands)
    runs.add_commands(commands)
    _add_evaluate(commands)
    _add_register(commands)
    emulator.add_command(commands)
    fleets.add_commands(commands)
    _add_launching(commands, command)
    _add_compare(commands)
    _add_simplify(commands)
    _add_examples(commands)
    _add_federated(commands)
    _add_continual(commands)
    _add_hybrid(commands)
    tune.add_commands(commands)
    benchmarks.add_commands(commands)
    _add_circuits(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
