"""``qfleet emulator``: IonQ's cloud on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from orchestrator.costs.catalogue import Catalogue
from orchestrator.errors import ConfigError


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Serve until SIGINT or SIGTERM. Returns the ledger's totals, which ``--json`` prints.

    Raises:
        ConfigError: an option, a file or a port that cannot be used.
    """
    from actors.ionq.emulator import Emulator

    out = sys.stderr if options.json else sys.stdout
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    with Emulator(settings_of(options)) as emulator:
        _greet(emulator.url, options.key, out)
        stop.wait()
    totals = emulator.totals()
    print(_farewell(totals), file=out, flush=True)
    return totals


def settings_of(options: argparse.Namespace) -> Any:
    """The EmulatorSettings that the command line asks for.

    Raises:
        ConfigError: an option or a file that cannot be used.
    """
    from actors.ionq.emulator.clock import RealClock, VirtualClock
    from actors.ionq.emulator.faults import FaultPlan
    from actors.ionq.emulator.settings import EmulatorSettings

    return EmulatorSettings(
        port=options.port,
        seed=options.seed,
        latency_seconds=options.latency,
        queue_seconds=options.queue,
        noise=options.noise,
        is_noiseless=options.noiseless,
        faults=FaultPlan.load(options.faults) if options.faults else FaultPlan(),
        ledger=_writable(options.ledger),
        prices=Catalogue.load(options.prices) if options.prices else Catalogue.default(),
        key=_key(options.key),
        rate=options.rate,
        burst=options.burst,
        clock=VirtualClock() if options.virtual_clock else RealClock(options.speed),
    )


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise ConfigError(
            "key", variable, "is the name of an environment variable, and that one is not set", "IONQ_API_KEY"
        )
    return key


def _writable(path: str | None) -> Path | None:
    if path is None:
        return None
    try:
        with Path(path).open("a"):
            return Path(path)
    except OSError as error:
        raise ConfigError("ledger", path, f"cannot be written ({error.strerror})") from None


def _greet(url: str, key: str | None, out: TextIO) -> None:
    value = f"${key}" if key else "anything"
    print(
        f"{url}\n\n"
        "IonQ's API v0.4 answers there. In the shell that trains:\n\n"
        f"  export IONQ_REMOTE_HOST={url} IONQ_API_KEY={value} NO_PROXY=127.0.0.1\n\n"
        f"What was accepted and billed: {url}/emulator/ledger. Ctrl-C stops it.",
        file=out,
        flush=True,
    )


def _farewell(totals: dict[str, Any]) -> str:
    jobs = totals["jobs"]
    return (
        f"\n{totals['jobs_accepted']} jobs accepted ({totals['duplicates']} duplicates), {jobs['completed']} completed, "
        f"{jobs['failed']} failed, {jobs['canceled']} canceled; ${totals['billed_usd']:,.2f} billed"
    )


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["emulator", *sys.argv[1:]]))
