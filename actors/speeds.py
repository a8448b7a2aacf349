"""Speeds: how fast each worker has been lately, in units of job size (circuits, mostly) a second.

A speed is a moving average of logarithms, so one job out of the ordinary (a hiccup, a long circuit) moves it by a factor and not by the
job's whole length. What jobs of one worker differ by among themselves says how far its average may be off, and by so much it is moved
towards a typical worker's (soft thresholding, Donoho 1995): workers that differ by chance count as alike. A worker's first job says
nothing: on most backends it compiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_NEWEST, _NEWEST_OF_ALL = 0.2, 0.02
"""Weight of the newest job in a worker's speed, and in what is kept of all workers together."""
_N_AVERAGED = (2 - _NEWEST) / _NEWEST
"""Independent jobs that a plain average as exact as the moving one would take."""
_N_ERRORS = 3.0
"""Standard errors by which a speed is moved towards a typical one."""
_STEPS = 2
"""Classes of speed in a factor of two: workers of one class count as alike."""


@dataclass(slots=True)
class _Class:
    """Measured workers that count as alike, together."""

    n_workers: int = 0
    speed: float = 0.0
    load: float = 0.0


@dataclass(slots=True, eq=False)
class Speed:
    """What is known of one worker in service, made by `Speeds.add` and changed by `Speeds` alone.

    Attributes:
        load: size units in its hands.
        n_jobs: done, the first included, which says nothing.
        log: average of the measured speed, base 2.
        units_per_second: of size, as far as it is believed. step: its class.
        rank: the speed of its class; 1 before the second job.
    """

    load: float = 0.0
    n_jobs: int = 0
    log: float = 0.0
    units_per_second: float = 0.0
    step: int = 0
    rank: float = 1.0

    @property
    def is_measured(self) -> bool:
        """Whether it is known at all."""
        return self.n_jobs > 1


class Speeds:
    """Measured speeds, and loads, of the workers in service; one that has no speed yet is taken for a typical one."""

    def __init__(self) -> None:
        self._classes: dict[int, _Class] = {}
        self._speed = 0.0  # of all measured workers
        self._typical: float | None = None  # base 2 logarithm
        self._has_second = False  # a worker has done its second job
        self._variance: float | None = None  # of one worker's jobs, in base 2 logarithms
        self._n_squares = 0

    @property
    def typical(self) -> float | None:
        """Size units a second of a typical worker; None before the first job of any."""
        return None if self._typical is None else 2.0**self._typical

    def add(self, load: float = 0.0) -> Speed:
        """A worker is in service, its speed unknown, with so many size units in its hands."""
        return Speed(load)

    def remove(self, worker: Speed) -> None:
        """A worker is no longer in service; what was known of it is forgotten."""
        if worker.n_jobs > 1:
            self._leave_class(worker)
            worker.n_jobs = 0

    def loaded(self, worker: Speed, size: float) -> None:
        """A worker was given so many size units, or with a minus sign, has them off its hands."""
        worker.load += size
        if worker.n_jobs > 1:
            self._classes[worker.step].load += size

    def seconds_by_faster(self, worker: Speed, queued: float, size: float) -> float:
        """When workers of faster classes than `worker`'s would have done all that they and the queue hold, and a job of `size` more.

        They are taken for one worker with the speed of all of them, and then one of their average speed. Infinite if there are none.

        Args:
            queued: size units in the queue.
        """
        step = worker.step
        speed = load = 0.0
        n_workers = 0
        for other, members in self._classes.items():
            if other > step:
                speed += members.speed
                load += members.load
                n_workers += members.n_workers
        return (load + queued + size * n_workers) / speed if n_workers else math.inf

    def seconds_by_all(self, queued: float) -> float:
        """A lower bound of `seconds_by_faster`: all measured workers do the queue alone."""
        return queued / self._speed if self._speed > 0 else math.inf

    def of(self, worker: Speed) -> float | None:
        """Size units a second of a worker, measured or of a typical one; None before the first job of any."""
        return worker.units_per_second if worker.n_jobs > 1 else self.typical

    def rank(self, worker: Speed) -> float:
        """`of`, rounded to the worker's class, so that workers that are nearly alike are so; 1 before the first job of any."""
        if worker.n_jobs > 1:
            return worker.rank
        return 1.0 if self._typical is None else float(2.0 ** (round(_STEPS * self._typical) / _STEPS))

    def note(self, worker: Speed, size: float, seconds: float) -> None:
        """A worker took `seconds` for a job of `size`; times that are not positive say nothing."""
        if seconds <= 0:
            return
        newest = math.log2(size / seconds)
        worker.n_jobs += 1
        n_jobs = worker.n_jobs
        if self._typical is None or (n_jobs == 2 and not self._has_second):
            self._typical = newest
        if n_jobs == 1:
            return
        self._has_second = True
        self._typical += _NEWEST_OF_ALL * (newest - self._typical)
        if n_jobs == 2:
            worker.log = newest
        else:
            self._leave_class(worker)
            difference = newest - worker.log
            self._learn_variance(difference * difference)
            worker.log += max(_NEWEST, 1 / (n_jobs - 1)) * difference
        log = self._likely(worker.log, n_jobs - 1)
        worker.units_per_second = 2.0**log
        step = round(_STEPS * log)
        if step != worker.step or n_jobs == 2:
            worker.step = step
            worker.rank = 2.0 ** (step / _STEPS)
        self._join_class(worker)

    def _likely(self, average: float, n_jobs: int) -> float:
        """`average` of so many jobs, moved towards a typical worker's by as much as it may be off."""
        if self._variance is None or self._typical is None:
            return average if self._typical is None else self._typical
        doubt = _N_ERRORS * math.sqrt(self._variance / min(n_jobs, _N_AVERAGED))
        difference = average - self._typical
        return self._typical + math.copysign(max(abs(difference) - doubt, 0.0), difference)

    def _learn_variance(self, squared: float) -> None:
        self._n_squares += 1
        weight = max(_NEWEST_OF_ALL, 1 / self._n_squares)
        self._variance = (self._variance or 0.0) + weight * (squared - (self._variance or 0.0))

    def _join_class(self, worker: Speed) -> None:
        members = self._classes.get(worker.step)
        if members is None:
            members = self._classes[worker.step] = _Class()
        members.n_workers += 1
        members.speed += worker.units_per_second
        members.load += worker.load
        self._speed += worker.units_per_second

    def _leave_class(self, worker: Speed) -> None:
        members = self._classes[worker.step]
        members.n_workers -= 1
        members.speed -= worker.units_per_second
        members.load -= worker.load
        self._speed -= worker.units_per_second
        if not members.n_workers:
            del self._classes[worker.step]
            if not self._classes:
                self._speed = 0.0
