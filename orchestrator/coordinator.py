"""Coordinator: a plan in, its assembled answer out, with every worker kept fed in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError, ExecutionError
from orchestrator.jobs import FailedJob, Job, JobResult, check_result
from orchestrator.phases import PhaseClock
from orchestrator.planning.batching import jobs_for, jobs_of_at_most
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.failures import FailurePolicy, mark_lost, without_lost
from orchestrator.planning.pace import Pace
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.protocols import Capabilities, Dispatcher

_Answers = list[tuple[Job, JobResult]]


class Coordinator:
    """Cuts plans into jobs, sends them out, checks and assembles what comes back.

    They are cut by measured speed; or by the plan alone where the backend limits the circuits of a job (`Capabilities.circuits_per_job`),
    because such a job has a price, and a resumed run must make the same ones.

    Args:
        dispatcher: where jobs go.
        capabilities: of the backend behind it.
        job_seconds: compute time a job aims at where there is that much work.
        failures: what follows when jobs fail for good; None: the first such job ends the evaluation.

    Attributes:
        is_evaluating: jobs are out, and nothing but their answers is lost by an interrupt.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        capabilities: Capabilities,
        job_seconds: float = 0.06,
        failures: FailurePolicy | None = None,
    ) -> None:
        self.dispatcher = dispatcher
        self._failures = failures or FailurePolicy()
        self.capabilities = capabilities
        self._job_seconds = job_seconds
        self.is_evaluating = False
        self._known: set[str] = set()
        self._paces: dict[Hashable, Pace] = {}

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

    def evaluate(
        self, plan: EvaluationPlan, clock: PhaseClock | None = None, lost: np.ndarray | None = None
    ) -> Evaluation:
        """Run the plan.

        Args:
            clock: told where the time goes, from its last lap on.
            lost: bool [S] of the batch that the plan's samples belong to, given by callers that can do without some of them: samples that
                are marked are not asked for, and where the failure policy leaves samples out, these are marked. What the answer holds in
                their places means nothing.

        Raises:
            CapabilityError: the backend cannot do it; ExecutionError, FleetError: it could not be finished.
        """
        clock = clock or PhaseClock()
        pace = self._prepare(plan)
        n_jobs, jobs = self._cut(plan, pace)
        clock.lap("plan")
        began_at = time.time()
        answers, simulated, left_out = self._answers(plan, jobs, lost)
        wall = clock.lap_jobs(began_at, time.time(), [result for _, result in answers])
        evaluation = plan.assemble([*answers, *simulated], left_out)
        by_target = evaluation.jobs_by_target if self.capabilities.circuits_per_job is not None else {}
        evaluation = replace(evaluation, n_simulated=len(simulated), jobs_by_target=by_target)
        pace.note(plan.n_circuits, n_jobs, evaluation.compute_seconds, wall)
        clock.lap("assemble")
        return evaluation

    def _prepare(self, plan: EvaluationPlan) -> Pace:
        """Check what is asked for the first time, and make the circuit known."""
        pace = self._paces.get(plan.kind)
        if pace is None:
            self.check(plan.circuit, plan.shots, isinstance(plan.derivative, DirectDerivative))
            pace = self._paces[plan.kind] = Pace(self._job_seconds)
        if plan.circuit.key not in self._known:
            self.dispatcher.register(plan.circuit)
            self._known.add(plan.circuit.key)
        return pace

    def _cut(self, plan: EvaluationPlan, pace: Pace) -> tuple[int, list[Job]]:
        """The plan's jobs, and how many were asked for, which is what the pace is kept by."""
        if self.capabilities.circuits_per_job is not None:
            most, by_sample = self.capabilities.circuits_per_job, self._failures.action == "skip_samples"
            jobs = jobs_of_at_most(plan, most, by_sample=by_sample)
            return len(jobs), jobs
        dispatcher = self.dispatcher
        n_jobs_at_once = dispatcher.n_workers * self.capabilities.jobs_in_flight
        n_jobs = pace.n_jobs(plan.n_circuits, n_jobs_at_once, dispatcher.job_overhead_seconds)
        return n_jobs, jobs_for(plan, n_jobs)

    def _answers(
        self, plan: EvaluationPlan, jobs: list[Job], lost: np.ndarray | None
    ) -> tuple[_Answers, _Answers, list[Job]]:
        """What the backend answered, what the simulator in its place did, and the jobs left out, as the failure policy has it."""
        policy, n_paulis = self._failures, len(plan.circuit.paulis)
        if policy.action == "simulate" and policy.fallback is not None:
            hopeful = [job for job in jobs if job.job_id not in policy.given_up]
            answers, failed = self._run_all(hopeful, n_paulis)
            if failed:
                policy.given_up.add(list(failed.values()), policy.action, plan.step)
            others = [job for job in jobs if job.job_id in failed or job.job_id in policy.given_up]
            return answers, self._simulated(policy.fallback, policy.fallback_name, plan, others), []
        if policy.action == "skip_samples" and lost is not None:
            sent = [job for job in without_lost(plan, jobs, lost) if job.job_id not in policy.given_up]
            answers, failed = self._run_all(sent, n_paulis)
            mark_lost(plan, [j for j in jobs if j.job_id in failed or j.job_id in policy.given_up], lost)
            policy.skip(lost, list(failed.values()), plan.step)
            answerable = {job.job_id for job in sent} - failed.keys()
            return answers, [], [job for job in jobs if job.job_id not in answerable]
        return self._collected(self.dispatcher.run, jobs, n_paulis)[0], [], []

    def _run_all(self, jobs: list[Job], n_paulis: int) -> tuple[_Answers, dict[str, FailedJob]]:
        """The answers, and the jobs that were given up, by id."""
        return self._collected(self.dispatcher.run_all, jobs, n_paulis)

    def _simulated(self, fallback: Dispatcher, name: str, plan: EvaluationPlan, jobs: list[Job]) -> _Answers:
        """Answers of the simulator, which their `backend` says."""
        if not jobs:
            return []
        fallback.register(plan.circuit)
        answers, _ = self._collected(fallback.run, jobs, len(plan.circuit.paulis))
        return [(job, replace(result, backend=f"fallback:{name}")) for job, result in answers]

    def _collected(
        self,
        run: Callable[[Sequence[Job]], Iterator[JobResult | FailedJob]],
        jobs: Sequence[Job],
        n_paulis: int,
    ) -> tuple[_Answers, dict[str, FailedJob]]:
        """Each job with its answer, in the order in which they come, and the failed ones; a wrong answer ends it at once."""
        by_id = {job.job_id: job for job in jobs}
        answers: _Answers = []
        failed: dict[str, FailedJob] = {}
        self.is_evaluating = True
        try:
            for result in run(list(by_id.values())):
                if result.job_id not in by_id:
                    raise ExecutionError(f"a worker answered for job {result.job_id}, which was not sent")
                if isinstance(result, FailedJob):
                    failed[result.job_id] = result
                    continue
                job = by_id[result.job_id]
                answers.append((job, check_result(job, result, n_paulis)))
        finally:
            self.is_evaluating = False
        return answers, failed
