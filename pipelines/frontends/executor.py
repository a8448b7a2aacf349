"""Executor: where a frontend's circuits run. It is made of plain settings, and opens its fleet when the first plan is run.

Frontends live inside other people's programs, so an executor pickles and copies as its settings, may be used from any thread, and shares an
open fleet with all others of the process that have the same settings. A forked process opens its own: what the parent has open is the
parent's. Money: a target that costs some needs a folder, where every submission is written before it is sent, and a cap; the consent to
spend is never pickled.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import BackendConfig, FleetConfig, RunConfig, TrainingConfig
from orchestrator.coordinator import Coordinator, PendingEvaluation
from orchestrator.errors import ConfigError
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.protocols import Capabilities
from orchestrator.training.loop import used_by
from orchestrator.training.reports import Totals
from pipelines.compose import build_backend
from pipelines.frontends.open_fleets import FleetKey, OpenFleet
from pipelines.spending import Spending, spending_of

BackendSpec = str | Mapping[str, Any] | BackendConfig
"""Name of a backend, or its settings, as in the section ``[backend]`` of a configuration."""
FleetSpec = int | str | Mapping[str, Any] | FleetConfig | None
"""None: this process; a number of Ray actors; the name of a fleet of the cluster; or settings, as in the section ``[fleet]``."""

_PLANS_AT_ONCE = 64
"""Plans under way together: enough to keep a fleet busy, and far fewer than the circuits that a dispatcher remembers."""


class Executor:
    """A backend and a fleet, opened on first use.

    Args:
        backend, fleet: see `BackendSpec` and `FleetSpec`.
        shots: of each circuit; None: as `backend` says, and exact if it says nothing.
        seed: of the shot noise.
        folder: that keeps the book of what is paid; needed where circuits cost money. The same folder again serves from it what it holds.
            Executors of one process may share it if they differ in nothing but shots and seed.
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
        self._opened: OpenFleet | None = None
        self._let_go: weakref.finalize[Any, Any] | None = None
        self._lock = threading.RLock()
        _executors.add(self)

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
            ConfigError: another executor of this process has the folder open, with other settings.
        """
        with self.coordinator(plan.circuit) as coordinator:
            evaluation = coordinator.evaluate(plan)
        self._count([evaluation])
        return evaluation

    def evaluate_all(self, plans: Sequence[EvaluationPlan]) -> list[Evaluation]:
        """Run several plans, so many at a time as a fleet needs to be kept busy, and wait for all of them.

        Raises:
            As `evaluate`; what was not sent by then is not sent.
        """
        found: list[Evaluation] = []
        for start in range(0, len(plans), _PLANS_AT_ONCE):
            some = plans[start : start + _PLANS_AT_ONCE]
            with self.coordinator(some[0].circuit) as coordinator:
                evaluations = _evaluated(coordinator, some)
            self._count(evaluations)
            found += evaluations
        return found

    @contextmanager
    def coordinator(self, circuit: MeasuredCircuit) -> Iterator[Coordinator]:
        """The fleet's coordinator, for what drives it by itself, such as the training loop; no other thread uses it meanwhile.

        What is run that way is not counted in `used`: whoever drives it knows. Closed by another thread meanwhile, the fleet stays open
        until the end of the block.

        Args:
            circuit: the first to be run.
        """
        with self._lock:
            opened = self._open(circuit)
            opened.hold()
        try:
            with opened.lock:  # not under self._lock, which whoever has this one may ask for
                yield opened.coordinator
        finally:
            opened.release()

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

    def _count(self, evaluations: Sequence[Evaluation]) -> None:
        with self._lock:
            for evaluation in evaluations:
                self.used = self.used.plus(*used_by(evaluation))

    def _forget(self) -> None:
        """In a forked process: what is open is the parent's, and nobody here holds the lock."""
        self._opened, self._lock = None, threading.RLock()
        if self._let_go is not None:
            self._let_go.detach()

    def _open(self, circuit: MeasuredCircuit) -> OpenFleet:
        if self._opened is None or self._opened.is_closed:
            is_paid, has_book = self.capabilities.is_paid, not self.config.fleet.is_shared
            key = FleetKey(
                os.getpid(),
                self.config.model_dump_json(),
                self._folder if is_paid and has_book else None,
                self._yes_spend_usd if is_paid else None,
            )
            self._opened = OpenFleet.get(key, self.config, self._backend, circuit)
            self._let_go = weakref.finalize(self, self._opened.release)
        return self._opened


def _evaluated(coordinator: Coordinator, plans: Sequence[EvaluationPlan]) -> list[Evaluation]:
    """Answers of plans that are under way together."""
    pending: list[PendingEvaluation] = []
    try:
        pending.extend(coordinator.submit(plan) for plan in plans)
        return [one.result() for one in pending]
    except BaseException:
        for one in pending:
            one.cancel()
        raise


def _restored(config: dict[str, Any], folder: str | None) -> Executor:
    """What a pickle holds: settings, and no consent to spend."""
    checked = TrainingConfig.from_dict(config)
    return Executor(checked.backend, checked.fleet, seed=checked.run.seed, folder=folder)


def _backend_config(backend: BackendSpec) -> BackendConfig:
    if isinstance(backend, BackendConfig):
        return backend
    if not isinstance(backend, str | Mapping):
        raise ConfigError("backend", backend, "the name of a backend, or its settings", "ideal")
    return BackendConfig(**({"name": backend} if isinstance(backend, str) else dict(backend)))


def _fleet_config(fleet: FleetSpec) -> FleetConfig:
    if isinstance(fleet, FleetConfig):
        return fleet
    if fleet is None:
        return FleetConfig(dispatcher="serial")
    if isinstance(fleet, int) and not isinstance(fleet, bool):
        return FleetConfig(dispatcher="ray", n_actors=fleet)
    if isinstance(fleet, str):
        return FleetConfig(dispatcher="ray", name=fleet)
    if not isinstance(fleet, Mapping):
        raise ConfigError("fleet", fleet, "None, a number of actors, the name of a fleet, or settings", "2")
    return FleetConfig(**dict(fleet))


_executors: weakref.WeakSet[Executor] = weakref.WeakSet()
"""Of this process."""


def _forget_parent() -> None:
    OpenFleet.forget()
    for executor in list(_executors):
        executor._forget()


os.register_at_fork(after_in_child=_forget_parent)
