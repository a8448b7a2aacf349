"""This process's connection to Ray: made once, shared by its fleets, ended by the last of them if it was begun here."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from dataclasses import dataclass
from typing import Any

import ray

from actors.ray_fleet.head import HeadWatch
from actors.ray_fleet.versions import told_by_ray
from orchestrator.errors import FleetError

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Connection:
    """This process's connection to Ray, shared by its fleets."""

    is_ours: bool
    n_fleets: int = 0


_current: Connection | None = None


def connect(address: str | None) -> Connection:
    """Connect to Ray, or use the connection that is there.

    Raises:
        FleetError: Ray cannot be started or reached.
    """
    global _current
    if not ray.is_initialized():
        _init_ray(_reachable(address or os.environ.get("RAY_ADDRESS") or "local"))
        _current = Connection(is_ours=True)
    elif _current is None:
        _current = Connection(is_ours=False)
    _current.n_fleets += 1
    return _current


def release(connection: Connection) -> None:
    """The last fleet to go ends what was begun for it."""
    global _current
    connection.n_fleets -= 1
    if connection.n_fleets == 0 and connection is _current:
        _current = None
        # A head that is gone would be asked for leave, and waited for until Ray ends this process.
        if connection.is_ours and ray.is_initialized() and HeadWatch.of_this_cluster().may_be_asked():
            ray.shutdown()


def _reachable(address: str) -> str:
    """The address, unless it names a head that is not there: Ray would look for it for minutes.

    Raises:
        FleetError: nothing listens there.
    """
    if re.fullmatch(r"[^/]+:\d+", address) and not HeadWatch(address).answers():
        raise FleetError(
            f"cannot join the Ray cluster at {address!r}: nothing listens there; start a cluster, or name another by fleet.address "
            "or, where that is none, RAY_ADDRESS (resume: --address HOST:PORT)"
        )
    return address


def _init_ray(address: str) -> None:
    for name, value in (
        ("RAY_USAGE_STATS_ENABLED", "0"),
        # Under `uv run` Ray would build a virtual environment for the workers.
        ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"),
        # Ray's future default; without it every start warns about it.
        ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
        # Results up to this size come with the answer to the call; larger ones go through the object store, 1 ms slower. Ray's own limit,
        # 100 kB, is less than a step with a few observables returns. From 1 MB on the store is faster.
        ("RAY_max_direct_call_object_size", str(2**19)),
    ):
        os.environ.setdefault(name, value)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        # include_dashboard may only be given for a Ray that is started here.
        local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local)
    except Exception as error:  # Ray raises ConnectionError, ValueError, RuntimeError and others here
        what = "start Ray" if address == "local" else f"join the Ray cluster at {address!r}"
        raise FleetError(f"cannot {what}: {told_by_ray(str(error)) or error}") from error
    except SystemExit:  # Ray's handler, while Ray starts
        if callable(on_sigterm):
            on_sigterm(signal.SIGTERM, None)
        raise
    finally:
        # Ray sets a handler that exits at once; one that the program has set (to save its work) stands.
        if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)
    _keep_stdout_clean()


def _keep_stdout_clean() -> None:
    """Send Ray's reports of dead workers to the log.

    A thread of Ray's prints them to standard output, log_to_driver or not, where they would stand in the middle of ``--json`` output;
    Ray has no setting for it. Nothing depends on this: where a later Ray has no such function, the reports are printed.
    """
    from ray._private import worker as ray_worker

    def to_log(data: dict[str, Any], ignore_prefix: bool = False) -> None:
        for line in data.get("lines", ()):
            _log.info("Ray: %s", line)

    if hasattr(ray_worker, "print_to_stdstream"):
        ray_worker.print_to_stdstream = to_log
