"""``qfleet top [RUN]``: the actors of a run, live, from its status file; on any machine that sees the run's folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pipelines.display.actors import print_actors, show_actors
from pipelines.run_folder import RunFolder
from pipelines.watching.runs import UNKNOWN, run_status, state_text
from pipelines.watching.status_file import ENDED


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Draw the table until the run ends; once with ``--once``, with ``--json``, and where stdout is no terminal. Returns what ``--json``
    prints.

    Raises:
        InputError: there is no such run.
    """
    folder = RunFolder.find(options.run, options.directory)

    def read() -> tuple[Mapping[str, Any], str, bool]:
        status = run_status(folder)
        return status, state_text(status), status["state"] in (*ENDED, UNKNOWN)

    status, words, _ = read()
    if options.json:
        return dict(status)
    if options.once or not sys.stdout.isatty():
        print_actors(status, words)
        return dict(status)
    try:
        show_actors(read)
    except KeyboardInterrupt:  # how a person leaves it
        print()
    return run_status(folder)
