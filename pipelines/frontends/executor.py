"""Executor: where a frontend's circuits run. It is made of plain settings, and opens its fleet when the first plan is run.

Frontends live inside other people's programs, so an executor pickles and copies as its settings, may be used from any thread, and shares an
open fleet with all others of the process that have the same settings. Money: a target that costs some needs a folder, where every
submission is written before it is sent, and a cap; the consent to spend is never pickled.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import BackendConfig, FleetConfig, RunConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.protocols import Backend, Capabilities
from orchestrator.training.loop import used_by
from orchestrator.training.reports import Totals
from pipelines.compose import build_backend, build_coordinator, report_on_stderr, warming_up
from pipelines.run_folder import RunFolder
from pipelines.spending import Spending, spending_of, with_book

BackendSpec = str | Mapping[str, Any] | BackendConfig
"""Name of a backend, or its settings, as in the section ``[backend]`` of a configuration."""
FleetSpec = int | str | Mapping[str, Any] | FleetConfig | None
"""None: this process; a number of Ray actors; the name of a fleet of the cluster; or settings, as in the section ``[fleet]``."""


class Executor:
    """A backend and a fleet, opened on first use.

    Args:
        backend, fleet: see `BackendSpec` and `FleetSpec`.
        shots: of each circuit; None: as `backend` says, and exact if it says nothing.
        seed: of the shot noise.
        folder: that keeps the book of what is paid; needed where circuits cost money. The same folder again serves from it what it holds.
        yes_spend_usd: the most that may be spent, in US dollars, over all of the folder's life; needed where circuits cost money.

    Attributes:
        config: the settings as a configuration; of it only backend, fleet and ``run.seed`` matter.
        used: circuits, shots and dollars so far.

    Raises:
        ConfigError: a setting is refused, or money would be spent and there is no folder.
    """

    def __init__(
        self,
        backend: BackendSpec = "ideal",
        fleet: FleetSpec = None,
        *,
        shots: int | None = None,
        seed: int = 7,
        folder: str | Path | None = None,
        yes_spend_usd: float | None = None,
    ) -> None:
        section = _backend_config(backend)
        if shots is not None:
            section = BackendConfig(**{**section.model_dump(exclude_unset=True), "shots": shots})
        self.config = TrainingConfig(backend=section, fleet=_fleet_config(fleet), run=RunConfig(seed=seed))
        self._backend = build_backend(self.config)
        self._folder = None if folder is None else Path(folder).absolute()
        self._yes_spend_usd = yes_spend_usd
        if self._backend.capabilities.is_paid and not self.config.fleet.is_shared and folder is None:
            problem = "circuits cost money there: say where to keep the book of what is paid, so that nothing is paid twice"
            raise ConfigError("folder", None, problem, "runs/my-model")
        self.used = Totals()
        self._opened: _Opened | None = None
        self._let_go: weakref.finalize[Any, Any] | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()

    @property
    def capabilities(self) -> Capabilities:
        """Of the backend."""
        return self._backend.capabilities

    @property
    def shots(self) -> int | None:
        """Of each circuit; None: exact values."""
        return self.config.backend.shots

    @property
    def seed(self) -> int:
        """Of the shot noise."""
        return self.config.run.seed

    @property
    def has_jacobian(self) -> bool:
        """Whether derivatives can be asked for directly."""
        return self.shots is None and self.capabilities.has_jacobian

    def evaluate(self, plan: EvaluationPlan) -> Evaluation:
        """Run a plan, and wait for it.

        Raises:
            CapabilityError: the backend cannot do it. SpendingNotAllowedError: it costs money, and nobody has allowed that.
            BudgetError: it would cost more than is left. ExecutionError, FleetError: it could not be finished.
        """
        with self._lock:
            opened = self._open(plan.circuit)
            with opened.lock:
                evaluation = opened.coordinator.evaluate(plan)
            self.used = self.used.plus(*used_by(evaluation))
            return evaluation

    def spending(self) -> Spending | None:
        """What the book says; None where nothing costs money, or nothing was run yet."""
        if self._opened is None:
            return None
        read = spending_of(self._opened.backend)
        return None if read is None else read()

    def close(self) -> None:
        """Let go of the fleet; it ends with the last executor that holds it. Used again, the executor opens one anew."""
        with self._lock:
            self._opened = None
            if self._let_go is not None:
                self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Executor:
        return self  # a copy of a layer goes on with the same fleet and the same consent

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.config.to_dict(), None if self._folder is None else str(self._folder))

    def __repr__(self) -> str:
        where, fleet = self.config.backend.name, self.config.fleet
        actors = "this process" if fleet.dispatcher == "serial" else fleet.name or f"{fleet.n_actors} actors"
        return f"Executor({where!r}, {actors}, {'exact' if self.shots is None else f'{self.shots} shots'})"

    def _open(self, circuit: MeasuredCircuit) -> _Opened:
        if self._pid != os.getpid():  # forked: the fleet belongs to the parent
            self._opened, self._pid = None, os.getpid()
        if self._opened is None or self._opened.is_closed:
            key = _Key(os.getpid(), self.config.model_dump_json(), self._folder, self._yes_spend_usd)
            self._opened = _Opened.get(key, self.config, self._backend, circuit)
            self._let_go = weakref.finalize(self, self._opened.release)
        return self._opened


def _restored(config: dict[str, Any], folder: str | None) -> Executor:
    """What a pickle holds: settings, and no consent to spend."""
    checked = TrainingConfig.from_dict(config)
    return Executor(checked.backend, checked.fleet, seed=checked.run.seed, folder=folder)


def _backend_config(backend: BackendSpec) -> BackendConfig:
    if isinstance(backend, BackendConfig):
        return backend
    return BackendConfig(**({"name": backend} if isinstance(backend, str) else dict(backend)))


def _fleet_config(fleet: FleetSpec) -> FleetConfig:
    if isinstance(fleet, FleetConfig):
        return fleet
    if fleet is None:
        return FleetConfig(dispatcher="serial")
    if isinstance(fleet, int):
        return FleetConfig(dispatcher="ray", n_actors=fleet)
    if isinstance(fleet, str):
        return FleetConfig(dispatcher="ray", name=fleet)
    return FleetConfig(**dict(fleet))


class _Key(NamedTuple):
    pid: int
    config: str
    folder: Path | None
    yes_spend_usd: float | None


class _Opened:
    """An open fleet, and how many executors hold it."""

    _all: dict[_Key, _Opened] = {}  # noqa: RUF012 - of the process, which is the point
    _lock_of_all = threading.RLock()

    def __init__(self, key: _Key, config: TrainingConfig, backend: Backend, circuit: MeasuredCircuit) -> None:
        self._key = key
        self._n_holders = 0
        self.is_closed = False
        self.lock = threading.RLock()  # a coordinator is used by one thread at a time
        with ExitStack() as stack:
            if backend.capabilities.is_paid and key.folder is not None:
                key.folder.mkdir(parents=True, exist_ok=True)
                folder = RunFolder(key.folder)
                folder.lock()
                stack.callback(folder.unlock)
                backend = with_book(config, backend, folder, key.yes_spend_usd, stack)
            with warming_up(backend, circuit, config.backend.shots, report_on_stderr):
                self.coordinator: Coordinator = build_coordinator(config.fleet, backend)
            stack.callback(self.coordinator.dispatcher.close)
            self.backend = backend
            self._stack = stack.pop_all()

    @classmethod
    def get(cls, key: _Key, config: TrainingConfig, backend: Backend, circuit: MeasuredCircuit) -> _Opened:
        """The open fleet of `key`, opened if need be, with one holder more."""
        with cls._lock_of_all:
            found = cls._all.get(key)
            if found is None:
                found = cls._all[key] = cls(key, config, backend, circuit)
                atexit.register(found.close)  # after Ray's own, and so before it
            found._n_holders += 1
            return found

    def release(self) -> None:
        """One holder less; the last one closes it."""
        if self._key.pid != os.getpid():
            return
        with self._lock_of_all:
            self._n_holders -= 1
            if self._n_holders <= 0:
                self.close()

    def close(self) -> None:
        """Stop the fleet; close the book."""
        with self._lock_of_all:
            if self.is_closed or self._key.pid != os.getpid():
                return
            self.is_closed = True
            self._all.pop(self._key, None)
            self._stack.close()
