"""The service without HTTP: what each call does, and the money."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from actors.ionq.emulator.circuits import CircuitReader
from actors.ionq.emulator.clock import Calendar, VirtualClock
from actors.ionq.emulator.documents import backend_documents, cost_document, estimate_document, job_document
from actors.ionq.emulator.faults import OF_JOBS, Fault
from actors.ionq.emulator.jobs import ENDED, Job, Jobs, Place
from actors.ionq.emulator.ledger import Entry, Ledger
from actors.ionq.emulator.machine import Machine
from actors.ionq.emulator.refusal import Refusal, bad_request, not_found
from actors.ionq.emulator.schedule import Schedule
from actors.ionq.emulator.settings import EmulatorSettings
from actors.ionq.emulator.submission import SINGLE, Submission, read_submission
from actors.ionq.emulator.targets import target_named
from actors.ionq.emulator.timing import GateTimes
from orchestrator.costs.bill import job_price
from orchestrator.costs.gate_counts import GateCounts
from orchestrator.errors import QfleetError

_DEFAULT_PAGE, _MAX_PAGE = 100, 1000
_ANSWERS_KEPT = 2**28
"""Characters of answers that are kept; those of older jobs are computed again when they are asked for."""


class Service:
    """All calls of the API; runs in one event loop."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self.settings = settings
        self.ledger = Ledger(settings.ledger)
        self._reader = CircuitReader()
        self._jobs = Jobs()
        self._schedules: defaultdict[str, Schedule] = defaultdict(Schedule)
        self._machine = Machine(settings.seed, settings.noise, settings.is_noiseless)
        self._calendar = Calendar(settings.began_at)
        self._answered: deque[tuple[Job, int]] = deque()
        self._n_kept = 0
        self._is_closed = False

    def close(self) -> None:
        """Settle what has ended, and stop the machine."""
        self._machine.close()
        self.settle()
        self._is_closed = True
        self.ledger.close()

    @property
    def _now(self) -> float:
        return self.settings.clock.now()

    def submit(self, body: str, fault: Fault | None) -> dict[str, Any]:
        """POST /jobs."""
        asked = read_submission(body, self._reader)
        price = self._price(asked)
        is_of_job = fault is not None and fault.kind in OF_JOBS and fault.target in ("", asked.target.name)
        of_job = fault if is_of_job else None
        job = self._accepted(asked, price, of_job)
        counts = asked.circuits.counts
        self.ledger.accept(
            Entry(
                id=job.id,
                token=asked.token,
                name=asked.name,
                backend=asked.target.name,
                circuits=len(counts),
                n_1q=sum(count.n_1q for count in counts),
                n_2q=sum(count.n_2q for count in counts),
                shots=asked.shots,
                is_mitigated=asked.is_mitigated,
                dry_run=asked.dry_run,
                price_micro_usd=price,
            )
        )
        return {"id": job.id, "status": "submitted", "session_id": None}

    def _accepted(self, asked: Submission, price: int, fault: Fault | None) -> Job:
        """The job that `asked` becomes, with its time in the queue and on the machine."""
        queue = self._queue_seconds(asked.target.name)
        job = self._jobs.add(asked, self._now, queue, price, fault, self._machine.run(asked))
        execution = self.settings.execution
        if execution is None:
            return job
        if not isinstance(execution, GateTimes):
            seconds = execution
        else:
            seconds = execution.seconds(asked.circuits.counts, asked.shots) if asked.target.is_qpu else 0.0
        if asked.target.is_qpu and not asked.dry_run:
            self._schedules[asked.target.name].add(job, queue, seconds)
        else:
            job.plan(job.submitted_at + queue, job.submitted_at + queue + seconds)
        return job

    async def job(self, job_id: str) -> dict[str, Any]:
        """GET /jobs/{id}."""
        place = self._jobs.find(job_id)
        await self._settled(place.job)
        return job_document(place, self._now, self._calendar)

    async def results(self, job_id: str, aggregated: bool, fault: Fault | None) -> str:
        """GET /jobs/{id}/results/probabilities and .../aggregated, as JSON text."""
        place = self._jobs.find(job_id)
        await self._settled(place.job)
        texts = await self._answers(place, aggregated)
        if fault is not None and fault.kind == "empty":
            return "{}"
        if fault is not None and fault.kind == "scale":
            texts = {key: _scaled(text, fault.factor) for key, text in texts.items()}
        if fault is not None and fault.kind == "shuffle":
            texts = _shuffled(texts, self.settings.faults.seed)
        if not aggregated:
            [text] = texts.values()
            return text
        return "{" + ", ".join(f'"{child}": {text}' for child, text in texts.items()) + "}"

    async def page(self, query: Mapping[str, str], body: str) -> dict[str, Any]:
        """GET /jobs; the limit may stand in the query or in a JSON body."""
        limit = _limit(query, body)
        await self._settled(*self._jobs.all())
        now = self._now
        jobs, after = self._jobs.page(query.get("status"), query.get("next"), limit, now)
        return {"jobs": [job_document(Place(job, None), now, self._calendar) for job in jobs], "next": after}

    async def cancel(self, job_id: str) -> dict[str, Any]:
        """PUT /jobs/{id}/status/cancel: also of a completed job, which stays paid."""
        job = self._whole(job_id)
        await self._settled(job)
        if job.status(self._now) == "failed":
            raise bad_request(f"job {job_id} has failed; nearest valid: a job that has not")
        if job.canceled_at is None:
            job.canceled_at = self._now
            self._make_room(job)
        self._settle(job)
        return {"id": job.id, "status": "canceled"}

    async def delete(self, job_id: str) -> dict[str, Any]:
        """DELETE /jobs/{id}: what is in the queue is canceled, what has ended stays paid."""
        job = self._whole(job_id)
        await self._settled(job)
        if job.status(self._now) not in ENDED:
            job.canceled_at = self._now
            self._make_room(job)
        self._settle(job)
        self._jobs.delete(job)
        return {"id": job.id, "status": "deleted"}

    async def cost(self, job_id: str) -> dict[str, Any]:
        """GET /jobs/{id}/cost."""
        job = self._whole(job_id)
        await self._settled(job)
        return cost_document(job, self.ledger.billed(job.id), self._now)

    def estimate(self, query: Mapping[str, str]) -> dict[str, Any]:
        """GET /jobs/estimate."""
        target = target_named(query.get("backend"))
        numbers = {
            key: _whole_number(query, key, default)
            for key, default in (("qubits", 25), ("shots", 1000), ("1q_gates", 0), ("2q_gates", 0))
        }
        mitigated = query.get("error_mitigation", "false").lower()
        if mitigated not in ("true", "false"):
            raise bad_request(f"error_mitigation = {mitigated!r}; nearest valid: 'false'")
        asked = {
            "backend": target.name,
            "type": query.get("type", SINGLE),
            **numbers,
            "error_mitigation": mitigated == "true",
        }
        counts = [GateCounts(numbers["1q_gates"], numbers["2q_gates"])]
        try:
            entry = self.settings.prices.entry(target.name)
            micro = job_price(entry, counts, numbers["shots"], mitigated == "true")
        except QfleetError as error:
            raise bad_request(str(error)) from None
        return estimate_document(
            asked, entry, micro, self.settings.typical_queue_seconds, self._calendar.text(self._now)
        )

    def backends(self) -> list[dict[str, Any]]:
        """GET /backends."""
        return backend_documents(self.settings.typical_queue_seconds, self._calendar.text(self._now))

    def settle(self) -> None:
        """Bring the ledger up to date; after the end it stays as it is."""
        if not self._is_closed:
            for job in self._jobs.all():
                self._settle(job)

    def advance(self, seconds: float) -> float:
        """Let `seconds` pass on a virtual clock; returns what time it is."""
        clock = self.settings.clock
        if not isinstance(clock, VirtualClock):
            raise bad_request("this emulator runs on a real clock; start it with a virtual one")
        if not 0.0 <= seconds < float("inf"):
            raise bad_request(f"advance = {seconds!r}; nearest valid: 0.0")
        clock.advance(seconds)
        return clock.now()

    def ends_at(self, job_id: str) -> float | None:
        """When a job will end at the earliest, on the clock; None: it is unknown. May be asked from another thread."""
        try:
            return self._jobs.find(job_id).job.ends_at
        except Refusal:
            return None

    def _queue_seconds(self, target: str) -> float:
        """Of the next job."""
        queue = self.settings.queues.get(target, self.settings.queue_seconds)
        if isinstance(queue, (int, float)):
            return queue
        return queue.draw(self.settings.seed, self._jobs.n_accepted)

    def _make_room(self, job: Job) -> None:
        """What is canceled before it starts holds up nobody."""
        self._schedules[job.submission.target.name].plan(self._now)

    def _whole(self, job_id: str) -> Job:
        place = self._jobs.find(job_id)
        if place.child is not None:
            raise bad_request(f"job {job_id} is part of a batch; nearest valid: {place.job.id}")
        return place.job

    async def _settled(self, *jobs: Job) -> None:
        """Wait a while for the simulation of jobs whose time is over, and note how they ended."""
        now = self._now
        late = [
            asyncio.wrap_future(job.answer)
            for job in jobs
            if now >= job.ends_at and job.canceled_at is None and not job.answer.done()
        ]
        if late:
            await asyncio.wait(
                [asyncio.gather(*late, return_exceptions=True)], timeout=self.settings.patience_seconds
            )
        for job in jobs:
            self._settle(job)

    def _settle(self, job: Job) -> None:
        status = job.status(self._now)
        if status not in ENDED:
            return
        was_paid = self.ledger.billed(job.id)
        is_new = self.ledger.settle(job.id, status, self._charge(job) if status == "completed" else was_paid)
        if is_new and status == "completed":
            self._keep(job)

    def _keep(self, job: Job) -> None:
        """Note the size of an answer, and let the oldest go if there are too many."""
        self._answered.append((job, sum(map(len, job.answer.result()))))
        self._n_kept += self._answered[-1][1]
        while self._n_kept > _ANSWERS_KEPT:
            oldest, size = self._answered.popleft()
            oldest.forget()
            self._n_kept -= size

    def _charge(self, job: Job) -> int:
        """What a completed job costs: its price, less the circuits that failed."""
        failed = job.failed_child
        if failed is None:
            return job.price
        counts = job.submission.circuits.counts
        return self._price(job.submission, (*counts[:failed], *counts[failed + 1 :]))

    def _price(self, asked: Submission, counts: tuple[GateCounts, ...] | None = None) -> int:
        counts = asked.circuits.counts if counts is None else counts
        if asked.dry_run or not counts:
            return 0
        try:
            entry = self.settings.prices.entry(asked.target.name)
            return job_price(entry, counts, asked.shots, asked.is_mitigated)
        except QfleetError as error:
            raise bad_request(str(error)) from None

    async def _answers(self, place: Place, aggregated: bool) -> dict[str, str]:
        """JSON text by the id of the circuit's job."""
        job, child = place
        is_batch = job.submission.is_batch and child is None
        status = job.status(self._now) if child is None else job.child_status(child, self._now)
        if status != "completed" or job.submission.dry_run or is_batch != aggregated:
            raise not_found(f"results of job {job.id if child is None else job.child_ids[child]}")
        texts = job.answer.result()
        if job.is_forgotten:
            texts = await asyncio.wrap_future(self._machine.run(job.submission))
        if child is not None:
            return {job.child_ids[child]: texts[child]}
        if not is_batch:
            return {job.id: texts[0]}
        found = dict(zip(job.child_ids, texts, strict=True))
        if job.failed_child is not None:
            del found[job.child_ids[job.failed_child]]
        return found


def _scaled(text: str, factor: float) -> str:
    return json.dumps({key: factor * value for key, value in json.loads(text).items()})


def _shuffled(texts: dict[str, str], seed: int) -> dict[str, str]:
    """In another order, which the seed decides."""
    before = list(texts)
    after = [before[place] for place in np.random.default_rng(seed).permutation(len(before))]
    return {child: texts[child] for child in (after if after != before else reversed(before))}


def _limit(query: Mapping[str, str], body: str) -> int:
    found: Any = query.get("limit")
    if found is None and body.strip():
        try:
            document = json.loads(body)
        except ValueError as error:
            raise bad_request(f"the body is not JSON: {error}") from None
        found = document.get("limit") if isinstance(document, dict) else document
    if found is None:
        return _DEFAULT_PAGE
    limit = int(found) if isinstance(found, str) and found.isdigit() else found
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= _MAX_PAGE:
        close = min(max(limit, 1), _MAX_PAGE) if isinstance(limit, int) else _DEFAULT_PAGE
        raise bad_request(f"limit = {found!r}: 1 to {_MAX_PAGE}; nearest valid: {close}")
    return limit


def _whole_number(query: Mapping[str, str], key: str, default: int) -> int:
    text = query.get(key)
    if text is None:
        return default
    if not text.isdigit():
        raise bad_request(f"{key} = {text!r}; nearest valid: {default}")
    return int(text)
