"""What plans take on a target that is paid: circuits, shots, jobs and micro-dollars. Nothing is run.

A plan is cut into jobs as it will be sent (`planning.batching.jobs_of_at_most`), and every job is priced as it will be billed
(`costs.bill.job_price`), so a quote is no estimate: where it is known what a run asks for, it is the bill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.preparation import preparation_circuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.costs.bill import job_price
from orchestrator.costs.catalogue import Flat, PriceEntry, TaskShot
from orchestrator.costs.gate_counts import GateCounts
from orchestrator.errors import CapabilityError
from orchestrator.planning.batching import cuts_of_at_most, jobs_of_at_most
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.plan import EvaluationPlan

Gateset = Literal["qis", "native"]
GateCounter = Callable[[CircuitTemplate, str, Gateset], GateCounts]
"""Billing counts of a template measured in a basis (one letter of IXYZ a qubit), as it is sent in a gate set."""


class Work(NamedTuple):
    """What something takes.

    Attributes:
        circuits: as they are sent, one for each measurement group.
        shots: in all.
        jobs: of the provider, each of one or many circuits; where a circuit is a task of its own, tasks.
        micro: micro-dollars.
    """

    circuits: int = 0
    shots: int = 0
    jobs: int = 0
    micro: int = 0

    def plus(self, other: Work) -> Work:
        """Both together."""
        return Work(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, n: int) -> Work:
        """`n` times this."""
        return Work(*(n * a for a in self))


def together(works: Iterable[Work]) -> Work:
    """The sum."""
    total = Work()
    for work in works:
        total = total.plus(work)
    return total


class Bounds(NamedTuple):
    """The least and the most that something takes; equal where it is known."""

    low: Work = Work()
    high: Work = Work()

    @classmethod
    def exactly(cls, work: Work) -> Bounds:
        """Known."""
        return cls(work, work)

    @property
    def is_exact(self) -> bool:
        """The least is the most."""
        return self.low == self.high

    def plus(self, other: Bounds) -> Bounds:
        """Both together."""
        return Bounds(self.low.plus(other.low), self.high.plus(other.high))

    def times(self, n: int) -> Bounds:
        """`n` times this."""
        return Bounds(self.low.times(n), self.high.times(n))

    def or_else(self, other: Bounds) -> Bounds:
        """One of both, field by field: the least of the two least, the most of the two most."""
        low = Work(*map(min, self.low, other.low))
        return Bounds(low, Work(*map(max, self.high, other.high)))


@dataclass(frozen=True)
class QuoteSettings:
    """How circuits are sent.

    Attributes:
        target: key of the catalogue.
        gateset: circuits as written, or compiled to the ions' own gates; it decides the billing counts.
        is_mitigated: the provider's error mitigation is on.
        circuits_per_job: at most so many in one job.
        shots: of each circuit, None for exact values.
        calibration_shots: of each of the two circuits that measure readout errors; None: that is not done.
        by_sample: jobs are cut so that few samples are in one, see `jobs_of_at_most`.
    """

    target: str
    gateset: Gateset
    is_mitigated: bool
    circuits_per_job: int
    shots: int | None
    calibration_shots: int | None = None
    by_sample: bool = False


@dataclass(frozen=True, eq=False)
class PlanPricer:
    """Prices plans on one target; equal plans are counted once.

    Args:
        entry: of the target.
        settings: how circuits are sent.
        count_gates: billing counts.
        run_for: the circuits that are run in place of one, each in jobs of its own: several where noise is extrapolated.
    """

    entry: PriceEntry
    settings: QuoteSettings
    count_gates: GateCounter
    run_for: Callable[[MeasuredCircuit], Sequence[MeasuredCircuit]] = lambda circuit: (circuit,)
    _run: dict[str, tuple[MeasuredCircuit, ...]] = field(default_factory=dict, init=False)
    _counts: dict[str, tuple[GateCounts, ...]] = field(default_factory=dict, init=False)
    _known: dict[tuple[str, int, int, int | None], Work] = field(default_factory=dict, init=False)

    def work(self, plan: EvaluationPlan) -> Work:
        """What `plan` takes.

        Raises:
            CapabilityError: the target does not take it; the text says what it takes.
        """
        key = plan.circuit.key, plan.n_samples, len(plan.displacements), plan.shots
        if key not in self._known:
            self._check(plan)
            self._known[key] = self._work(plan)
        return self._known[key]

    def counts(self, circuit: MeasuredCircuit) -> tuple[GateCounts, ...]:
        """Billing counts of its circuits, one for each measurement group."""
        if circuit.key not in self._counts:
            self._counts[circuit.key] = tuple(
                self.count_gates(circuit.template, group.basis, self.settings.gateset)
                for group in circuit.groups
            )
        return self._counts[circuit.key]

    def counts_of_point(self, circuit: MeasuredCircuit) -> tuple[tuple[GateCounts, ...], ...]:
        """As `counts`, of each circuit that is run in place of `circuit`."""
        if circuit.key not in self._run:
            self._run[circuit.key] = tuple(self.run_for(circuit))
        return tuple(self.counts(one) for one in self._run[circuit.key])

    def calibration(self, n_qubits: int) -> Work:
        """What it takes to measure the readout errors of `n_qubits` qubits, once a run.

        Raises:
            CapabilityError: the target does not take it.
        """
        settings = self.settings
        if settings.calibration_shots is None:
            return Work()
        circuit = preparation_circuit(n_qubits)
        shots = None if settings.shots is None else settings.calibration_shots
        self._check_shots(shots, "backend.calibration_shots")
        return self._in_jobs(self.counts(circuit) * 2, shots)

    def job_price(self, counts: tuple[GateCounts, ...], shots: int | None) -> int:
        """Of one job of the provider, in micro-dollars."""
        return job_price(self.entry, counts, shots, self.settings.is_mitigated)

    def _work(self, plan: EvaluationPlan) -> Work:
        """The circuits of a job go out point by point, the groups of a point together."""
        return together(
            self._in_jobs(of_circuit * (job.n_samples * job.n_displacements), plan.shots)
            for job in jobs_of_at_most(
                plan, self.settings.circuits_per_job, by_sample=self.settings.by_sample
            )
            for of_circuit in self.counts_of_point(plan.circuit)
        )

    def _in_jobs(self, circuits: tuple[GateCounts, ...], shots: int | None) -> Work:
        """Circuits with these counts, in as few jobs as the settings allow."""
        total = Work()
        for cut in cuts_of_at_most(len(circuits), self.settings.circuits_per_job):
            sent = circuits[cut]
            price = self.job_price(sent, shots)
            n_jobs = len(sent) if isinstance(self.entry, TaskShot) else 1
            total = total.plus(Work(len(sent), len(sent) * (shots or 0), n_jobs, price))
        return total

    def _check(self, plan: EvaluationPlan) -> None:
        entry, n_qubits = self.entry, plan.circuit.template.n_qubits
        if isinstance(plan.derivative, DirectDerivative):
            raise CapabilityError(
                f"{entry.target} does not differentiate; nearest valid: gradient.rule = 'parameter_shift'"
            )
        if entry.max_qubits is not None and n_qubits > entry.max_qubits:
            raise CapabilityError(f"{entry.target} takes at most {entry.max_qubits} qubits, not {n_qubits}")
        self._check_shots(plan.shots, "backend.shots")

    def _check_shots(self, shots: int | None, key: str) -> None:
        entry = self.entry
        if shots is None:
            if not isinstance(entry, Flat):
                raise CapabilityError(f"{entry.target} draws shots: set backend.shots, e.g. 1024")
            return
        if entry.max_shots is not None and shots > entry.max_shots:
            raise CapabilityError(
                f"{entry.target} takes at most {entry.max_shots} shots a circuit, not {key} = {shots}"
            )
        least = entry.min_shots_mitigated
        if self.settings.is_mitigated and least is not None and shots < least:
            raise CapabilityError(
                f"error mitigation on {entry.target} needs {least} shots a circuit, not {shots}: more of them, or "
                "backend.error_mitigation = false"
            )
