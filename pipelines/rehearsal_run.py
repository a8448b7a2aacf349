"""One rehearsal: the whole training, validation and test included, against an emulator in virtual time. Nothing is paid."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.backends.ionq import SIMULATOR, IonQBackend
from actors.ionq.emulator.faults import Fault, FaultPlan
from actors.ionq.emulator.timing import Execution, GateTimes, Queue
from orchestrator.coordinator import Coordinator
from orchestrator.costs.money import micro_down
from orchestrator.errors import BudgetError, CapabilityError, ConfigError, QfleetError
from orchestrator.planning.failures import GivenUpInMemory
from orchestrator.training.loop import initial_state, train
from orchestrator.training.reports import StepReport
from pipelines.compose import build_backend, failure_policy
from pipelines.evaluate import score
from pipelines.quote import catalogue_of
from pipelines.transfer import starting_params

if TYPE_CHECKING:
    from actors.ionq.book import Book
    from actors.ionq.emulator import EmulatorSettings
    from actors.ionq.rehearsal import Stage
    from pipelines.run_setup import PreparedRun


@dataclass(frozen=True)
class Conditions:
    """What is assumed of the service.

    Attributes:
        queue: seconds that a job waits before its turn. execution: how long it then runs. latency_seconds: of every request.
        failures: the share of jobs that fail. faults: what else goes wrong.

    Raises:
        ConfigError: a value is out of range.
    """

    queue: Queue = 0.0
    execution: Execution = field(default_factory=GateTimes)
    latency_seconds: float = 0.1
    failures: float = 0.0
    faults: FaultPlan = field(default_factory=FaultPlan)

    def __post_init__(self) -> None:
        if not 0.0 <= self.failures < 1.0:
            close = "0.0" if not self.failures >= 1.0 else "0.9"
            raise ConfigError("failures", self.failures, "is the share of jobs that fail", close)
        if not 0.0 <= self.latency_seconds < float("inf"):
            raise ConfigError("latency", self.latency_seconds, "must be a number of seconds from 0 on", "0")


@dataclass(frozen=True)
class Rehearsed:
    """What one rehearsal came to.

    Attributes:
        seconds: in all, until nothing was under way. step_ends: when each step was done, from the start.
        billed_micro: by the emulator's ledger. circuits: in all accepted jobs.
        jobs, failed, resent, duplicates: accepted; failed or canceled; sent in the place of such a one; accepted twice.
        skipped, simulated: samples left out, and jobs answered by a simulator, where the failure policy has it so.
        metrics: final figures by tracking name.
        ended_by: ``budget`` or ``failure`` where the training did not come to its end, and why.
    """

    seconds: float
    step_ends: tuple[float, ...]
    billed_micro: int
    circuits: int
    jobs: int
    failed: int
    resent: int
    duplicates: int
    skipped: int
    simulated: int
    metrics: dict[str, float]
    ended_by: str | None = None
    reason: str | None = None


def rehearsed_backend(run: PreparedRun) -> IonQBackend:
    """The backend to rehearse, with the jobs in flight of all its actors.

    Raises:
        ConfigError: it is not IonQ's, or there is something around it that cannot be rehearsed. CapabilityError: the emulator cannot
            simulate circuits as large.
    """
    from actors.ionq.emulator.simulation import MAX_IDEAL_QUBITS, MAX_NOISY_QUBITS

    asked, fleet = run.config.backend, run.config.fleet
    if asked.name != IonQBackend.name:
        raise ConfigError("backend.name", asked.name, "only IonQ's cloud can be rehearsed", IonQBackend.name)
    staleness = run.config.training.max_staleness
    if staleness:
        problem = "a rehearsal's virtual time carries one step at a time; see qfleet benchmark staleness"
        raise ConfigError("training.max_staleness", staleness, problem, "0")
    if asked.targets:
        problem = "which target gets a job is a matter of this machine's clock; rehearse each alone, as backend.target"
        raise ConfigError("backend.targets", list(asked.targets), problem, "()")
    backend: Any = build_backend(run.config)
    if not isinstance(backend, IonQBackend):
        name, value = (
            ("readout_mitigation", True) if asked.readout_mitigation else ("noise_scales", asked.noise_scales)
        )
        problem = "circuits that error mitigation adds are not rehearsed; see qfleet quote for their cost"
        raise ConfigError(f"backend.{name}", value, problem, "none")
    is_ideal = backend.target == SIMULATOR and backend.noise is None
    limit, n_qubits = MAX_IDEAL_QUBITS if is_ideal else MAX_NOISY_QUBITS, run.task.model.template.n_qubits
    if n_qubits > limit:
        raise CapabilityError(
            f"the emulator simulates {'ideal' if is_ideal else 'noisy'} circuits of up to {limit} qubits, and the model has {n_qubits}; "
            f"nearest valid: {limit}, or see qfleet quote for the cost alone"
        )
    n_actors = fleet.most_actors if fleet.dispatcher == "ray" else 1
    return replace(backend, jobs_in_flight=n_actors * backend.jobs_in_flight)


def rehearse_once(run: PreparedRun, backend: IonQBackend, conditions: Conditions, seed: int) -> Rehearsed:
    """Train once, from the configuration's own seed.

    Args:
        backend: see `rehearsed_backend`.
        seed: of queue times, failures, the machine's shots and the jitter of pauses; the same seed gives the same result to the bit.
    """
    from actors.ionq.rehearsal import Stage

    with ExitStack() as stack:
        stage = stack.enter_context(Stage(backend, _settings(run, conditions, seed), seed))
        told = _trained(run, backend, stage, stack)
        totals, n_resent = stage.totals(), stage.n_resent()
    return replace(
        told,
        billed_micro=totals["billed_micro_usd"],
        circuits=totals["circuits"],
        jobs=totals["jobs_accepted"],
        failed=totals["jobs"]["failed"] + totals["jobs"]["canceled"],
        resent=n_resent,
        duplicates=totals["duplicates"],
    )


def _settings(run: PreparedRun, conditions: Conditions, seed: int) -> EmulatorSettings:
    from actors.ionq.emulator import EmulatorSettings

    failing = Fault(
        "submit", "fail", probability=conditions.failures, code="QuantumComputerError", message="rehearsed"
    )
    rules = (*conditions.faults.rules, *((failing,) if conditions.failures else ()))
    return EmulatorSettings(
        seed=seed,
        latency_seconds=conditions.latency_seconds,
        queue_seconds=conditions.queue,
        execution=conditions.execution,
        faults=FaultPlan(seed_of(conditions.faults.seed, seed), rules),
        prices=catalogue_of(run.config),
    )


def _trained(run: PreparedRun, backend: IonQBackend, stage: Stage, stack: ExitStack) -> Rehearsed:
    """The training on `stage`, as ``qfleet train`` does it; what the ledger knows is left at nothing."""
    from actors.ionq.rehearsal import RehearsalDispatcher

    on_stage: Any = stage.backend(_book(run, backend, stack))
    dispatcher = RehearsalDispatcher(on_stage, stage.time)
    stack.callback(dispatcher.close)
    failures = failure_policy(run.config, GivenUpInMemory())
    if failures.fallback is not None:
        stack.callback(failures.fallback.close)
    coordinator = Coordinator(dispatcher, on_stage.capabilities, run.config.fleet.job_seconds, failures)
    state = initial_state(run.task, starting_params(run))
    step_ends: list[float] = []
    tested: dict[str, float] = {}
    ended_by = reason = None
    try:
        for report in train(run.task, state, coordinator):
            if not isinstance(report, StepReport):
                continue
            step_ends.append(stage.time.seconds)
        if len(run.data.test.targets):
            tested = score(run, run.config, state.best_params, coordinator, "test").metrics
    except BudgetError as error:
        ended_by, reason = "budget", str(error)
    except QfleetError as error:
        ended_by, reason = "failure", str(error)
    stage.time.wind_down()
    stage.time.wait_until_idle()
    best = dict(state.history[state.best_epoch - 1].metrics) if state.best_epoch else {}
    nothing = dict.fromkeys(("billed_micro", "circuits", "jobs", "failed", "resent", "duplicates"), 0)
    return Rehearsed(
        seconds=stage.time.seconds,
        step_ends=tuple(step_ends),
        skipped=state.totals.samples_skipped,
        simulated=state.totals.jobs_simulated,
        metrics=best | tested,
        ended_by=ended_by,
        reason=reason,
        **nothing,
    )


def _book(run: PreparedRun, backend: IonQBackend, stack: ExitStack) -> Book | None:
    """The run's book, capped as the run's budget is, in a folder that goes with the rehearsal."""
    if not backend.capabilities.is_paid:
        return None
    from actors.ionq.book import SubmissionBook

    folder = stack.enter_context(
        tempfile.TemporaryDirectory(prefix="qfleet-rehearsal-", ignore_cleanup_errors=True)
    )
    cap = run.config.budget.max_usd
    return stack.enter_context(SubmissionBook(Path(folder), None if cap is None else micro_down(cap)))


def seed_of(*parts: int) -> int:
    """A seed of its own for each sequence of numbers, below 2**53."""
    digest = hashlib.blake2b(" ".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 11
