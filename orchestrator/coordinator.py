"""Coordinator: a plan in, its assembled answer out, with every worker kept fed in between.

Several plans may be under way at once, on one thread: `Coordinator.submit` sends a plan's jobs, and `PendingEvaluation.result` waits for
their answers.
"""

from __future__ import annotations

import gc
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence, Set
from contextlib import contextmanager
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
Observer = Callable[[EvaluationPlan, Sequence[tuple[Job, JobResult]]], None]

_MAX_PACES = 4096
"""Kinds of plans whose pace is remembered; of another, the backend's limits are checked and the pace is learnt anew."""

_COLLECT_AFTER = 10_000
"""New objects after which Python looks for garbage in circles: its own 700 are a hundred jobs, see `_collect_less_often`."""


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
        observe: told of every plan with its jobs and their answers; None: nobody is.
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
        self.observe: Observer | None = None
        self._n_submitted = self._n_under_way = 0
        self._paces: OrderedDict[Hashable, Pace] = OrderedDict()  # the least recently used first
        _collect_less_often()

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
        """Run the plan: `submit`, and wait for the result.

        Raises:
            CapabilityError: the backend cannot do it; ExecutionError, FleetError: it could not be finished.
        """
        clock = clock or PhaseClock()
        return self.submit(plan, clock, lost).result(clock)

    def submit(
        self, plan: EvaluationPlan, clock: PhaseClock | None = None, lost: np.ndarray | None = None
    ) -> PendingEvaluation:
        """Send the plan's jobs out. Others may be sent before the result is asked for, and results may be asked for in any order.

        Args:
            clock: told where the time goes, from its last lap on.
            lost: bool [S] of the batch that the plan's samples belong to, given by callers that can do without some of them: samples that
                are marked are not asked for, and where the failure policy leaves samples out, these are marked, by the time that the result
                is there. What the answer holds in their places means nothing.

        Raises:
            CapabilityError: the backend cannot do it; FleetError: the dispatcher takes no jobs.
        """
        clock = clock or PhaseClock()
        pace = self._prepare(plan)
        n_jobs, jobs = self._cut(plan, pace)
        clock.lap("plan")
        self._n_submitted += 1
        pending = PendingEvaluation(self, plan, jobs, n_jobs, pace, lost)
        clock.lap("ship")
        return pending

    def _prepare(self, plan: EvaluationPlan) -> Pace:
        """Check what is asked for the first time, and make the circuit known."""
        pace = self._paces.get(plan.kind)
        if pace is None:
            self.check(plan.circuit, plan.shots, isinstance(plan.derivative, DirectDerivative))
            pace = self._paces[plan.kind] = Pace(self._job_seconds)
            if len(self._paces) > _MAX_PACES:
                self._paces.popitem(last=False)
        self._paces.move_to_end(plan.kind)
        self.dispatcher.register(plan.circuit)  # each time: a dispatcher keeps so many circuits and no more
        return pace

    def _cut(self, plan: EvaluationPlan, pace: Pace) -> tuple[int, list[Job]]:
        """The plan's jobs, and how many were asked for, which is what the pace is kept by."""
        if self.capabilities.circuits_per_job is not None:
            most, by_sample = self.capabilities.circuits_per_job, self._failures.action == "skip_samples"
            jobs = jobs_of_at_most(plan, most, by_sample=by_sample)
            return len(jobs), jobs
        dispatcher = self.dispatcher
        n_workers = max(1, dispatcher.n_workers)  # where all are lost, others are about to come
        n_jobs_at_once = n_workers * self.capabilities.jobs_in_flight
        overhead = dispatcher.job_overhead_seconds
        n_jobs = pace.n_jobs(plan.n_circuits, n_jobs_at_once, overhead)
        n_tapered = 0
        if self.capabilities.jobs_in_flight == 1:  # else jobs mostly wait, and shorter ones take as long
            n_tapered = pace.n_tapered(plan.n_circuits, n_jobs, n_workers, overhead)
        return n_jobs, jobs_for(plan, n_jobs, n_tapered)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """While the block runs, an interrupt loses nothing but answers."""
        self.is_evaluating = True
        try:
            yield
        finally:
            self.is_evaluating = False


class PendingEvaluation:
    """A plan whose jobs are out, made by `Coordinator.submit`.

    Args:
        jobs: of the plan. n_asked: how many were asked for, which is what `pace` is kept by.
        lost: see `Coordinator.submit`.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        plan: EvaluationPlan,
        jobs: list[Job],
        n_asked: int,
        pace: Pace,
        lost: np.ndarray | None,
    ) -> None:
        self._coordinator, self._plan, self._jobs, self._lost = coordinator, plan, jobs, lost
        self._n_asked, self._pace = n_asked, pace
        self._number, self._had_company = coordinator._n_submitted, coordinator._n_under_way > 0
        self._is_over = False
        self._sent_at = time.perf_counter()
        coordinator._n_under_way += 1
        try:
            with coordinator._waiting():
                self._sent = self._send()
        except BaseException:
            self._end()
            raise

    def result(self, clock: PhaseClock | None = None) -> Evaluation:
        """Wait for the answers, check and assemble them. May be asked for once.

        Args:
            clock: told where the time goes, from its last lap on.

        Raises:
            ExecutionError, FleetError: it could not be finished.
        """
        clock, coordinator, plan = clock or PhaseClock(), self._coordinator, self._plan
        is_alone = not self._had_company and coordinator._n_submitted == self._number
        began_at = time.time()
        try:
            with coordinator._waiting():
                answers, simulated, left_out = self._answers()
        finally:
            self._end()
        seconds = time.perf_counter() - self._sent_at
        results = [result for _, result in answers]
        clock.lap_jobs(began_at, time.time(), results, is_alone=is_alone)
        evaluation = plan.assemble([*answers, *simulated], left_out)
        if coordinator.observe is not None:
            coordinator.observe(plan, [*answers, *simulated])
        by_target = evaluation.jobs_by_target if coordinator.capabilities.circuits_per_job is not None else {}
        evaluation = replace(evaluation, n_simulated=len(simulated), jobs_by_target=by_target)
        self._pace.note(
            plan.n_circuits, self._n_asked, evaluation.compute_seconds, seconds if is_alone else None
        )
        clock.lap("assemble")
        return evaluation

    def cancel(self) -> None:
        """Nobody waits for the answers any more: what is not under way yet is not sent."""
        self._sent.close()
        self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._coordinator._n_under_way -= 1

    def _send(self) -> _Sent:
        """Hand out the jobs that there is any hope for, as the failure policy has it."""
        dispatcher, policy, jobs = self._coordinator.dispatcher, self._coordinator._failures, self._jobs
        n_paulis = len(self._plan.circuit.paulis)
        if self._is_simulated_on_failure:
            hopeful = [job for job in jobs if job.job_id not in policy.given_up]
            return _Sent(dispatcher.run_all, hopeful, n_paulis)
        if policy.action == "skip_samples" and self._lost is not None:
            wanted = without_lost(self._plan, jobs, self._lost)
            return _Sent(
                dispatcher.run_all, [job for job in wanted if job.job_id not in policy.given_up], n_paulis
            )
        return _Sent(dispatcher.run, jobs, n_paulis)

    def _answers(self) -> tuple[_Answers, _Answers, list[Job]]:
        """What the backend answered, what the simulator in its place did, and the jobs left out, as the failure policy has it."""
        policy, plan, jobs, lost = self._coordinator._failures, self._plan, self._jobs, self._lost
        answers, failed = self._sent.collected()
        if self._is_simulated_on_failure:
            assert policy.fallback is not None
            if failed:
                policy.given_up.add(list(failed.values()), policy.action, plan.step)
            others = [job for job in jobs if job.job_id in failed or job.job_id in policy.given_up]
            return answers, _simulated(policy.fallback, policy.fallback_name, plan, others), []
        if policy.action == "skip_samples" and lost is not None:
            mark_lost(plan, [j for j in jobs if j.job_id in failed or j.job_id in policy.given_up], lost)
            policy.skip(lost, list(failed.values()), plan.step)
            answerable = self._sent.job_ids - failed.keys()
            return answers, [], [job for job in jobs if job.job_id not in answerable]
        return answers, [], []

    @property
    def _is_simulated_on_failure(self) -> bool:
        policy = self._coordinator._failures
        return policy.action == "simulate" and policy.fallback is not None


class _Sent:
    """Jobs that a dispatcher has been handed."""

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Iterator[JobResult | FailedJob]],
        jobs: Sequence[Job],
        n_paulis: int,
    ) -> None:
        self._by_id = {job.job_id: job for job in jobs}
        self._n_paulis = n_paulis
        self._results = run(list(self._by_id.values()))

    @property
    def job_ids(self) -> Set[str]:
        """Of all of them."""
        return self._by_id.keys()

    def collected(self) -> tuple[_Answers, dict[str, FailedJob]]:
        """Each job with its answer, in the order in which they come, and the failed ones by id; a wrong answer ends it at once."""
        by_id = self._by_id
        answers: _Answers = []
        failed: dict[str, FailedJob] = {}
        try:
            for result in self._results:
                job = by_id.get(result.job_id)
                if job is None:
                    raise ExecutionError(f"a worker answered for job {result.job_id}, which was not sent")
                if isinstance(result, FailedJob):
                    failed[result.job_id] = result
                    continue
                answers.append((job, check_result(job, result, self._n_paulis)))
        except BaseException:
            self.close()
            raise
        return answers, failed

    def close(self) -> None:
        """Ask for no more of them."""
        self._results = iter(())


def _collect_less_often() -> None:
    """Raise the process's threshold of the cycle collector, unless it is higher already, or 0, which turns it off.

    Open jobs are many objects in no circles. With Python's default thresholds thousands of them, as they come and go, set off searches of
    everything that was ever imported, which took a third of the driver's time (docs/scale.md).
    """
    first, *others = gc.get_threshold()
    if 0 < first < _COLLECT_AFTER:
        gc.set_threshold(_COLLECT_AFTER, *others)


def _simulated(fallback: Dispatcher, name: str, plan: EvaluationPlan, jobs: list[Job]) -> _Answers:
    """Answers of the simulator, which their `backend` says."""
    if not jobs:
        return []
    fallback.register(plan.circuit)
    answers, _ = _Sent(fallback.run, jobs, len(plan.circuit.paulis)).collected()
    return [(job, replace(result, backend=f"fallback:{name}")) for job, result in answers]
