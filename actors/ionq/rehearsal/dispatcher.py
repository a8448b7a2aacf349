"""RehearsalDispatcher: a SerialDispatcher whose jobs take turns in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from actors.ionq.errors import StoppedError
from actors.ionq.rehearsal.virtual_time import VirtualTime
from actors.serial import SerialDispatcher
from orchestrator.jobs import FailedJob, Job, JobResult
from orchestrator.protocols import Backend

Answer = JobResult | FailedJob


class RehearsalDispatcher(SerialDispatcher):
    """As its base, in the time of a rehearsal. The first job that ends the whole call lets those under way come to their end.

    Args:
        backend: its sessions live in `time`.
        time: as wide as the backend has jobs in flight.
    """

    def __init__(self, backend: Backend, time: VirtualTime) -> None:
        super().__init__(backend)
        self._time = time
        self._ended_by: BaseException | None = None

    def _sent(self, jobs: Sequence[Job], answer_one: Callable[[Job], Answer]) -> Iterator[Answer]:
        def in_turn(job: Job) -> Answer:
            with self._time.turn(job.job_id):
                try:
                    return answer_one(job)
                except BaseException as error:
                    self._ended_by = self._ended_by or error
                    self._time.wind_down()
                    raise

        self._time.announce([job.job_id for job in jobs])
        return self._ended(super()._sent(jobs, in_turn))

    def _ended(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        try:
            yield from answers
        except StoppedError:
            raise (self._ended_by or StoppedError("the rehearsal is stopped")) from None
