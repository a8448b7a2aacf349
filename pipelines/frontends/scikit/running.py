"""Where estimators run circuits: an `Executor` of this process, kept from one estimator to the next.

A search over parameters makes an estimator for every fit, and drops it. So that actors are not started for each of them anew, the executor
that was used last, of those with actors and of those without, stays open until one with other settings is asked for, or the process ends.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import FleetError
from pipelines.frontends.executor import BackendSpec, Executor, FleetSpec
from pipelines.frontends.scikit.money import check_consent
from pipelines.frontends.scikit.refusals import ParameterError
from pipelines.spending import Spending


class _Settings(NamedTuple):
    config: str
    folder: str | None
    yes_spend_usd: float | None


@dataclass
class _Kept:
    """An executor, how many use it at this moment, and whether it is to be closed when the last of them is done."""

    settings: _Settings
    executor: Executor
    n_users: int = 0
    is_dropped: bool = False


_lock = threading.RLock()
_kept: dict[str, _Kept] = {}
"""By dispatcher."""


@contextmanager
def executor_for(
    backend: BackendSpec,
    fleet: FleetSpec,
    shots: int | None,
    folder: str | Path | None,
    yes_spend_usd: float | None,
) -> Iterator[Executor]:
    """The executor of these settings, for the block; the one that is kept, where it has the same. Plans bring their own keys of shot noise.

    Raises:
        ConfigError: a setting is refused; or this is a worker process that would start actors of its own.
        SpendingNotAllowedError: circuits cost money, and nobody has allowed that.
    """
    if folder is not None and not isinstance(folder, str | os.PathLike):
        raise ParameterError("folder", folder, "the path of a folder", "runs/my-model")
    made = Executor(backend, fleet, shots=shots, folder=folder, yes_spend_usd=yes_spend_usd)
    check_consent(made, yes_spend_usd)
    _check_not_in_worker(made)
    found = _taken(_Settings(made.config.model_dump_json(), _where(folder), yes_spend_usd), made)
    try:
        yield found.executor
    except FleetError:
        with _lock:  # its actors are gone: the next one is to open its own
            if _kept.get(found.executor.config.fleet.dispatcher) is found:
                _drop(found.executor.config.fleet.dispatcher)
        raise
    finally:
        with _lock:
            found.n_users -= 1
            _close_if_idle(found)


def close_fleet() -> None:
    """Let go of what the estimators of this process run on; the next one opens its own."""
    with _lock:
        for dispatcher in list(_kept):
            _drop(dispatcher)


def spending_of_kept(folder: str | Path) -> Spending | None:
    """What the book of `folder` says, where an executor of this process has it open; else None."""
    with _lock:
        kept = [one.executor for one in _kept.values() if one.settings.folder == _where(folder)]
    found = [spending for spending in (executor.spending() for executor in kept) if spending is not None]
    return found[0] if found else None


def _where(folder: str | Path | None) -> str | None:
    return None if folder is None else str(Path(folder).absolute())


def _taken(settings: _Settings, made: Executor) -> _Kept:
    dispatcher = made.config.fleet.dispatcher
    with _lock:
        for name, kept in list(_kept.items()):
            has_its_folder = settings.folder is not None and kept.settings.folder == settings.folder
            if (name == dispatcher or has_its_folder) and kept.settings != settings:
                _drop(name)  # a folder is open once
        found = _kept.setdefault(dispatcher, _Kept(settings, made))
        found.n_users += 1
        return found


def _drop(dispatcher: str) -> None:
    dropped = _kept.pop(dispatcher)
    dropped.is_dropped = True
    _close_if_idle(dropped)


def _close_if_idle(kept: _Kept) -> None:
    if kept.is_dropped and not kept.n_users:
        kept.executor.close()


def _check_not_in_worker(executor: Executor) -> None:
    """Refuse to start a Ray in each worker process of joblib; a cluster that is named is there already."""
    fleet = executor.config.fleet
    is_local = fleet.dispatcher == "ray" and not fleet.is_shared and fleet.address is None
    if is_local and "RAY_ADDRESS" not in os.environ and multiprocessing.parent_process() is not None:
        problem = (
            f"this is a worker process (n_jobs), and each of them would start a Ray with {fleet.size} actors: leave n_jobs at 1, the "
            "actors are what runs at once; or fleet=None, and the workers are; or name a fleet of the cluster"
        )
        raise ParameterError("fleet", fleet.n_actors, problem, "None")


def _forget_parent() -> None:
    """In a forked process: what is kept is the parent's, and nobody here holds the lock."""
    global _lock
    _lock = threading.RLock()
    _kept.clear()


os.register_at_fork(after_in_child=_forget_parent)
