"""Execution: one way of computing what a job asks of one compiled circuit."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from orchestrator.jobs import Job


class Execution(Protocol):
    """A circuit compiled for one method of simulation. The bits of a circuit's answer do not depend on the job it came in."""

    def values(self, job: Job) -> np.ndarray:
        """Expectation values, float64 [S, D, M]: exact, or means over ``job.shots`` shots.

        Raises:
            CapabilityError: the method cannot do this job, or its states do not fit into memory.
        """
        ...

    def jacobian(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        """Exact values [S, M] and their derivatives by ``job.jacobian_angles``, at the undisplaced circuits.

        The derivatives are [S, M, Kj], or with ``job.cotangents`` c [S, M] the sums ``sum_m c[s, m] d<O_m>/da``, [S, 1, Kj].

        Raises:
            CapabilityError: the method has no derivatives, or its states do not fit into memory.
        """
        ...
