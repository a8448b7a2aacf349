"""Retries: jobs that are tried again, each kept from the workers that it failed on. The one that was put in front last is the first.

Jobs that failed on the same workers are kept together, so that the first job for a worker is found by passing over those groups whose jobs
all failed there, and not over the jobs.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

_N_SPARE = 64
"""Places out of date that are kept whatever the number of groups."""


class Retries:
    """Jobs in waiting. Adding and removing one takes logarithmic time; so does taking one, for each group that is passed over."""

    def __init__(self) -> None:
        self._groups: dict[frozenset[str], OrderedDict[int, int]] = {}  # place by job, the first in front
        self._heads: list[tuple[int, frozenset[str]]] = []  # places of the groups' first jobs, and others
        self._next_place = 0  # counted downwards
        self._n_jobs = 0

    def __len__(self) -> int:
        return self._n_jobs

    def __iter__(self) -> Iterator[int]:
        """The jobs in their order."""
        places = {job: place for group in self._groups.values() for job, place in group.items()}
        return iter(sorted(places, key=places.__getitem__))

    def add(self, jobs: Sequence[tuple[int, frozenset[str]]]) -> None:
        """Put jobs in front of all others, in their order, each with the workers that it failed on."""
        for job, failed_on in reversed(jobs):
            group = self._groups.setdefault(failed_on, OrderedDict())
            group[job] = self._next_place
            group.move_to_end(job, last=False)
            self._next_place -= 1
            self._n_jobs += 1
            self._offer(failed_on)

    def remove(self, job: int, failed_on: frozenset[str]) -> None:
        """`job` is not wanted any more; nothing happens if it does not wait."""
        group = self._groups.get(failed_on)
        if group is not None and group.pop(job, None) is not None:
            self._n_jobs -= 1
            self._offer(failed_on)

    def take(self, worker: str, failed_everywhere: Callable[[frozenset[str]], bool]) -> int | None:
        """The first job that `worker` may have: not one that failed there, unless it failed everywhere. None if there is none."""
        passed_over = []
        taken = None
        while self._heads and taken is None:
            place, failed_on = head = heapq.heappop(self._heads)
            if not self._is_first(place, failed_on):
                continue
            if worker in failed_on and not failed_everywhere(failed_on):
                passed_over.append(head)
                continue
            taken, _ = self._groups[failed_on].popitem(last=False)
            self._n_jobs -= 1
            self._offer(failed_on)
        for head in passed_over:
            heapq.heappush(self._heads, head)
        return taken

    def _is_first(self, place: int, failed_on: frozenset[str]) -> bool:
        group = self._groups.get(failed_on)
        return group is not None and next(iter(group.values())) == place

    def _offer(self, failed_on: frozenset[str]) -> None:
        """The first job of a group has become another one, perhaps."""
        group = self._groups[failed_on]
        if not group:
            del self._groups[failed_on]
        else:
            heapq.heappush(self._heads, (next(iter(group.values())), failed_on))
        if len(self._heads) > 2 * len(self._groups) + _N_SPARE:
            self._heads = [(next(iter(found.values())), key) for key, found in self._groups.items()]
            heapq.heapify(self._heads)
