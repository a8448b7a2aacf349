"""How long a circuit takes on the configured backend, measured in this process."""

from __future__ import annotations

import math
from collections.abc import Hashable

from actors.serial import SerialDispatcher
from orchestrator.jobs import Job, JobResult
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.protocols import Backend

_ENOUGH = 0.05
"""Seconds that a measurement should take; about a second for all rules of a configuration."""
_LONG = 0.5
"""Seconds of a single circuit after which no second one is run, and nothing else of its kind is measured."""
_LARGEST_GROWTH = 4.0


class CircuitPace:
    """Seconds a circuit, measured once for each kind of plan.

    A part of the plan is run: one circuit, then more of them until they take long enough to be timed. The first answer is not
    counted, as it may include compiling, unless it takes so long that another would say no more.
    """

    def __init__(self, backend: Backend) -> None:
        self._dispatcher = SerialDispatcher(backend)
        self._known: dict[Hashable, float] = {}

    def __call__(self, plan: EvaluationPlan) -> float:
        """Of a circuit of `plan`.

        Raises:
            CapabilityError, ExecutionError: the backend cannot run it.
        """
        shared = (
            plan.kind,
            len(plan.displacements),
        )  # the more displaced circuits a sample has, the more they share
        for kind in (plan.kind, shared):
            if kind in self._known:
                return self._known[kind]
        seconds = self._measure(plan)
        self._known[plan.kind if seconds >= _LONG else shared] = seconds
        return seconds

    def close(self) -> None:
        """Close the backend's session."""
        self._dispatcher.close()

    def _measure(self, plan: EvaluationPlan) -> float:
        self._dispatcher.register(plan.circuit)
        whole = plan.job()
        n_all = whole.n_samples * whole.n_displacements
        result = self._run(_part(whole, 1))
        if result.compute_seconds >= _LONG:
            return result.compute_seconds / result.n_circuits
        n, spent, done = 1, 0.0, 0
        while spent < _ENOUGH:
            result = self._run(_part(whole, n))
            seconds = max(result.compute_seconds, 1e-6)
            if n < n_all and seconds < _ENOUGH:
                n = min(n_all, math.ceil(n * min(_LARGEST_GROWTH, max(2.0, _ENOUGH / seconds))))
            else:
                spent, done = spent + seconds, done + result.n_circuits
        return spent / done

    def _run(self, job: Job) -> JobResult:
        return next(iter(self._dispatcher.run([job])))


def _part(job: Job, n: int) -> Job:
    """About `n` circuits of `job`: whole samples where there are enough, so that displaced circuits share what they share in a step."""
    rows = min(n, job.n_displacements)
    samples = min(math.ceil(n / rows), job.n_samples)
    return job.part(slice(0, samples), slice(0, rows))
