"""Coordinator: a plan in, its assembled answer out, with every worker kept fed in between."""

from __future__ import annotations

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError, ExecutionError
from orchestrator.jobs import Job, JobResult, check_result
from orchestrator.planning.batching import jobs_for, n_jobs_for
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.protocols import Capabilities, Dispatcher

_SMOOTHING = 0.3
"""Weight of the newest measurement in the running estimate of a circuit's compute time."""


class Coordinator:
    """Cuts plans into jobs by measured speed, sends them out, checks and assembles what comes back.

    Args:
        dispatcher: where jobs go.
        capabilities: of the backend behind it.
        job_seconds: compute time a job aims at where there is that much work.

    Attributes:
        is_evaluating: jobs are out, and nothing but their answers is lost by an interrupt.
    """

    def __init__(self, dispatcher: Dispatcher, capabilities: Capabilities, job_seconds: float = 0.06) -> None:
        self.dispatcher = dispatcher
        self.capabilities = capabilities
        self._job_seconds = job_seconds
        self.is_evaluating = False
        self._known: set[str] = set()
        self._seconds_per_circuit: dict[tuple[str, bool, int | None], float] = {}

    def check(self, circuit: MeasuredCircuit, shots: int | None, needs_jacobian: bool) -> None:
        """Refuse what the backend cannot do, before anything is sent.

        Raises:
            CapabilityError: the text says what to change.
        """
        can = self.capabilities
        n_qubits = circuit.template.n_qubits
        if n_qubits > can.max_qubits:
            raise CapabilityError(
                f"the circuit has {n_qubits} qubits, the backend takes at most {can.max_qubits}"
            )
        if shots is None and not can.is_exact:
            raise CapabilityError("the backend only samples: set backend.shots, e.g. 1000")
        if shots is not None and not can.has_shots:
            raise CapabilityError("the backend is exact only: leave backend.shots out")
        if needs_jacobian and shots is not None:
            raise CapabilityError(
                "adjoint differentiation is exact and takes no shots: set gradient.rule = 'parameter_shift'"
            )
        if needs_jacobian and not can.has_jacobian:
            raise CapabilityError(
                "the backend cannot differentiate directly: set gradient.rule = 'parameter_shift'"
            )

    def evaluate(self, plan: EvaluationPlan) -> Evaluation:
        """Run the plan.

        Raises:
            CapabilityError: the backend cannot do it; ExecutionError, FleetError: it could not be finished.
        """
        direct = isinstance(plan.derivative, DirectDerivative)
        kind = (plan.circuit.key, direct, plan.shots)
        if kind not in self._seconds_per_circuit:
            self.check(plan.circuit, plan.shots, direct)
        if plan.circuit.key not in self._known:
            self.dispatcher.register(plan.circuit)
            self._known.add(plan.circuit.key)
        expected = self._seconds_per_circuit.get(kind, 0.0) * plan.n_circuits
        n_jobs = n_jobs_for(
            expected, self.dispatcher.n_workers, self.dispatcher.job_overhead_seconds, self._job_seconds
        )
        jobs = {job.job_id: job for job in jobs_for(plan, n_jobs)}
        n_paulis = len(plan.circuit.paulis)
        answers: list[tuple[Job, JobResult]] = []
        self.is_evaluating = True
        try:
            for result in self.dispatcher.run(list(jobs.values())):
                if result.job_id not in jobs:
                    raise ExecutionError(f"a worker answered for job {result.job_id}, which was not sent")
                job = jobs[result.job_id]
                answers.append((job, check_result(job, result, n_paulis)))
        finally:
            self.is_evaluating = False
        evaluation = plan.assemble(answers)
        self._learn(kind, evaluation.compute_seconds / max(plan.n_circuits, 1))
        return evaluation

    def _learn(self, kind: tuple[str, bool, int | None], seconds: float) -> None:
        known = self._seconds_per_circuit.get(kind, seconds)
        self._seconds_per_circuit[kind] = (1 - _SMOOTHING) * known + _SMOOTHING * seconds
