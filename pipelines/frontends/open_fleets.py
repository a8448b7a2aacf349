"""Open fleets of this process, shared by all executors that ask for the same.

Each counts who holds it, and ends with the last of them, at the end of the process, or when the process that opened it is asked to close
it; a forked child never touches its parent's.
"""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from actors.mitigation.backend import Mitigated
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError, FleetError
from orchestrator.protocols import Backend
from pipelines.compose import build_coordinator, report_on_stderr, warming_up
from pipelines.run_folder import RunFolder
from pipelines.spending import check_allowed, with_book


class FleetKey(NamedTuple):
    """What executors must have alike to share a fleet."""

    pid: int
    config: str
    folder: Path | None
    yes_spend_usd: float | None


class OpenFleet:
    """An open fleet, and how many executors hold it."""

    _all: dict[FleetKey, OpenFleet] = {}  # noqa: RUF012 - of the process, which is the point
    _lock_of_all = threading.RLock()
    _is_cut_off = False  # forked from a process whose actors cannot be reached from here

    def __init__(
        self, key: FleetKey, config: TrainingConfig, backend: Backend, circuit: MeasuredCircuit
    ) -> None:
        self._key, self._config = key, config
        self._n_holders = 0
        self._counting = threading.RLock()  # not the lock of all, which whoever opens one has for long
        self.is_closed = False
        self.is_of_ray = config.fleet.dispatcher == "ray"
        self.lock = threading.RLock()  # a coordinator is used by one thread at a time
        with ExitStack() as stack:
            check_allowed(config, backend, key.yes_spend_usd)
            if key.folder is not None:
                backend = self._with_book(key.folder, backend, stack)
            with warming_up(backend, circuit, config.backend.shots, report_on_stderr):
                self.coordinator: Coordinator = build_coordinator(config.fleet, backend)
            stack.callback(self.coordinator.dispatcher.close)
            self.backend = backend
            self._stack = stack.pop_all()

    @classmethod
    def get(
        cls, key: FleetKey, config: TrainingConfig, backend: Backend, circuit: MeasuredCircuit
    ) -> OpenFleet:
        """The open fleet of `key`, opened if need be, with one holder more."""
        with cls._lock_of_all:
            found = cls._all.get(key)
            if found is None:
                if cls._is_cut_off and config.fleet.dispatcher == "ray":
                    raise FleetError(
                        "this process was forked from one with open Ray actors, which do not outlive a fork: start it otherwise "
                        "(multiprocessing_context='spawn'), or use fleet=None here"
                    )
                found = cls._all[key] = cls(key, config, backend, circuit)
                atexit.register(found.close)  # after Ray's own, and so before it
            found.hold()
            return found

    def _with_book(self, folder: Path, backend: Backend, stack: ExitStack) -> Backend:
        """`backend` with the book in `folder`, which may be open already.

        Raises:
            ConfigError: it is, with other settings.
        """
        other = next((one for one in list(self._all.values()) if one._key.folder == folder), None)
        if other is None:
            folder.mkdir(parents=True, exist_ok=True)
            run_folder = RunFolder(folder)
            run_folder.lock()
            stack.callback(run_folder.unlock)
            return with_book(self._config, backend, run_folder, self._key.yes_spend_usd, stack)
        if self._keeps_the_book_of(other):
            other.hold()
            stack.callback(other.release)
            return _with(other.book, backend)
        problem = "is open in this process with another backend, fleet or cap: use the same (shots may differ), or another folder"
        raise ConfigError("folder", str(folder), problem)

    def _keeps_the_book_of(self, other: OpenFleet) -> bool:
        """Whether both submit to the same target with the same consent."""
        mine, its = (
            (one._config.backend.model_dump(exclude={"shots"}), one._config.fleet) for one in (self, other)
        )
        return mine == its and self._key.yes_spend_usd == other._key.yes_spend_usd

    @property
    def book(self) -> Any:
        """Of what is paid, None where nothing is."""
        return getattr(self.backend, "book", None)

    def hold(self) -> None:
        """One holder more."""
        with self._counting:
            self._n_holders += 1

    @classmethod
    def forget(cls) -> None:
        """In a forked process: what is open is the parent's."""
        cls._is_cut_off |= any(one.is_of_ray for one in cls._all.values())
        cls._all, cls._lock_of_all = {}, threading.RLock()

    def release(self) -> None:
        """One holder less; the last one closes it."""
        if self._key.pid != os.getpid():
            return
        with self._counting:
            self._n_holders -= 1
            if self._n_holders > 0:
                return
        with self._lock_of_all:
            if self._n_holders <= 0:  # else somebody took it meanwhile
                self.close()

    def close(self) -> None:
        """Stop the fleet; close the book."""
        with self._lock_of_all:
            if self.is_closed or self._key.pid != os.getpid():
                return
            self.is_closed = True
            self._all.pop(self._key, None)
            atexit.unregister(self.close)
            self._stack.close()


def _with(book: Any, backend: Backend) -> Backend:
    """`backend` with a book that is open already."""
    if isinstance(backend, Mitigated):
        return Mitigated(_with(book, backend.inner), backend.mitigation, backend.seed)
    changes: dict[str, Any] = {"book": book}
    return replace(backend, **changes)  # type: ignore[type-var]
