"""IonQSession: a qfleet job as submissions to IonQ, and their answers as expectation values.

Many threads may run jobs at once. All that costs money goes through `Submitter` and the run's book; here is only what a job means:
which circuits, under which token, and what their outcomes say.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from actors.backends.checks import check_circuit, check_job
from actors.backends.ionq import SIMULATOR, IonQBackend
from actors.backends.results import mean_variances
from actors.ionq.body import Settings, submission_body
from actors.ionq.book import Book
from actors.ionq.book_memory import MemoryBook
from actors.ionq.client import NAME_PREFIX, TOKEN_KEY, IonQClient
from actors.ionq.clock import SessionClock, SystemClock
from actors.ionq.endpoint import resolve_endpoint
from actors.ionq.job_phases import JobStopwatch
from actors.ionq.outcomes import Draws, Outcomes, all_outcomes, group_values, sample, z_masks
from actors.ionq.persistence import Persistence, keep_at
from actors.ionq.question import Source, all_angles, question_text
from actors.ionq.submission import Answer, Delivery, Patience, Submission, Submitter
from actors.ionq.templates import JsonTemplate
from actors.ionq.transport import Limits
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.costs.bill import job_price
from orchestrator.errors import InputError
from orchestrator.jobs import Job, JobResult
from orchestrator.planning.batching import cuts_of_at_most

ORIGIN_KEY = "qfleet_origin"
"""In a submission's metadata: what is asked, the same in a retry under another token, and in another run of the same seed."""
_ANY_SHOTS = 100
"""What is asked of the ideal simulator for exact values: it must be told a number, and ignores it."""


@dataclass(frozen=True, eq=False)
class CompiledCircuit:
    """A circuit and, for each measurement group, its JSON and the strings to read."""

    circuit: MeasuredCircuit
    templates: tuple[JsonTemplate, ...]
    masks: tuple[np.ndarray, ...]


class IonQSession:
    """An open connection to one target. Safe to use from several threads.

    Args:
        backend: what is connected to.
        clock, client, jitter: for rehearsals: its time, its connection, and the numbers in [0, 1) that vary its pauses.

    Raises:
        InputError: the target costs money and there is no book; ConfigError, MissingKeyError: see `IonQClient`.
    """

    def __init__(
        self,
        backend: IonQBackend,
        *,
        clock: SessionClock | None = None,
        client: IonQClient | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if backend.book is None and backend.capabilities.is_paid:
            raise InputError(
                f"{backend.target} costs money, and without a book a crash would pay twice: train with qfleet train, or give the "
                "backend a SubmissionBook"
            )
        self._backend = backend
        self._clock = clock or SystemClock()
        self._jitter = jitter
        limits = limits_of(backend)
        self._client = client or IonQClient(
            backend.host, allow_cloud=backend.allow_cloud, limits=limits, clock=self._clock
        )
        book: Book = backend.book or MemoryBook()
        self._run_token = book.run_token()
        self._submitter = Submitter(self._client, book, self._clock, patience_of(backend))
        self._persistence = Persistence(
            outage=backend.outage_seconds,
            longest_call=limits.longest_call,
            failed_jobs=0 if backend.pool else Persistence.failed_jobs,  # else another target is asked
        )

    def compile(self, circuit: MeasuredCircuit) -> CompiledCircuit:
        """The circuit's JSON with open angles, once for each measurement group.

        Raises:
            CapabilityError: too many qubits. CircuitError: a gate cannot be taken apart.
        """
        check_circuit(self._backend.name, self._backend.capabilities, circuit)
        gateset, groups = self._backend.gateset, circuit.groups
        return CompiledCircuit(
            circuit,
            tuple(JsonTemplate(circuit.template, group.basis, gateset) for group in groups),
            tuple(z_masks(circuit, group) for group in groups),
        )

    def run(self, compiled: CompiledCircuit, job: Job) -> JobResult:
        """The answer to `job`: from the book if it was paid before, from IonQ else.

        Raises:
            CapabilityError, CircuitError: it cannot be asked for. BudgetError: the cap does not allow it.
            IonQError: IonQ failed or refused; the text says what to do.
        """
        started_at, watch = time.time(), JobStopwatch(self._clock)
        backend, circuit = self._backend, compiled.circuit
        check_job(backend.name, backend.capabilities, circuit, job)
        angles = all_angles(job)
        texts = [template.circuits_json(angles) for template in compiled.templates]
        flat = [
            text for of_group in zip(*texts, strict=True) for text in of_group
        ]  # the groups of a circuit together
        watch.serialised()
        found: list[Outcomes] = []
        deliveries = [
            self._deliver(compiled, job, flat[cut], cut, number, watch, found)
            for number, cut in enumerate(cuts_of_at_most(len(flat), backend.circuits_per_job))
        ]
        n_qubits = circuit.template.n_qubits
        values = np.empty((len(angles), len(circuit.paulis)))
        for number, (group, masks) in enumerate(zip(circuit.groups, compiled.masks, strict=True)):
            of_group = self._sampled(found[number :: len(circuit.groups)], job, number)
            values[:, list(group.members)] = group_values(of_group, n_qubits, masks)
        shape = (job.n_samples, job.n_displacements, len(circuit.paulis))
        return self._result(circuit, job, values.reshape(shape), deliveries, len(flat), started_at, watch)

    def target_of(self, compiled: CompiledCircuit, job: Job) -> str | None:
        """The target that a submission of `job` is under way at; None: nothing is, and any may be asked."""
        n_circuits = job.n_samples * job.n_displacements * len(compiled.templates)
        for number in range(len(cuts_of_at_most(n_circuits, self._backend.circuits_per_job))):
            entry = self._submitter.under_way(_digest(self._run_token, self._origin(job, number)))
            if entry is not None:
                return entry.target
        return None

    def close(self) -> None:
        """End every wait and the connection. What is under way at IonQ stays in the book."""
        self._clock.stop()
        self._client.close()

    def _deliver(
        self,
        compiled: CompiledCircuit,
        job: Job,
        texts: Sequence[str],
        cut: slice,
        number: int,
        watch: JobStopwatch,
        found: list[Outcomes],
    ) -> Delivery:
        """One submission, the circuits `cut` of the job's; their outcomes are added to `found`."""
        backend, n_groups = self._backend, len(compiled.templates)
        origin = self._origin(job, number)
        shots = _ANY_SHOTS if job.shots is None else job.shots
        settings = Settings(
            target=backend.target,
            shots=shots,
            gateset=backend.gateset,
            is_mitigated=None
            if backend.target == SIMULATOR
            else backend.is_mitigated,  # said, so that the price is known
            noise_model=backend.noise,
            noise_seed=None if backend.noise is None else int(origin[:7], 16),  # 28 bits
        )
        counts = [compiled.templates[i % n_groups].counts for i in range(cut.start, cut.stop)]
        n_qubits = compiled.circuit.template.n_qubits

        def body(token: str) -> str:
            metadata = {TOKEN_KEY: token, ORIGIN_KEY: origin}
            return submission_body(texts, n_qubits, settings, NAME_PREFIX + token, metadata)

        def question() -> str:
            source = Source(backend.target, backend.noise, backend.gateset, backend.is_mitigated)
            return question_text(source, backend.is_exact, compiled.circuit, job, cut.start, len(texts))

        checked: list[Outcomes] = []

        def check(answer: Answer) -> None:
            checked[:] = all_outcomes(answer, n_qubits)

        submission = Submission(
            token=_digest(self._run_token, origin),
            body=watch.timed(body),
            n_circuits=len(texts),
            is_batch=len(texts) > 1,
            micro_dollars=job_price(backend.price, counts, shots, backend.is_mitigated),
            shots=shots,
            target=backend.target,
            check=check,
            question=None if backend.book is None else question,
        )
        delivery = keep_at(
            lambda: self._submitter.run(submission), self._clock, self._persistence, self._jitter
        )
        watch.delivered(delivery.latency)
        if not checked:  # it was in the book already
            check(delivery.answer)
        found += checked
        return delivery

    def _origin(self, job: Job, number: int) -> str:
        """Names what submission `number` of a job asks: the same for the same circuits at the same place of a run of the same seed."""
        backend = self._backend
        asked = (
            ",".join(backend.pool) or backend.target,
            backend.noise,
            backend.gateset,
            backend.error_mitigation,
        )
        return _digest(repr(asked), job.job_id, str(number))

    def _sampled(self, found: Sequence[Outcomes], job: Job, number: int) -> Sequence[Outcomes]:
        """Shots of measurement group `number`, drawn here where the target answers exact probabilities."""
        if job.shots is None or not self._backend.is_exact:
            return found
        place = np.arange(len(found))
        draws = Draws(
            shots=job.shots,
            key=int(job.noise_keys[number]),
            step=job.step,
            samples=job.sample_start + place // job.n_displacements,
            displacements=job.displacement_start + place % job.n_displacements,
        )
        return sample(found, draws)

    def _result(
        self,
        circuit: MeasuredCircuit,
        job: Job,
        values: np.ndarray,
        deliveries: Sequence[Delivery],
        n_sent: int,
        started_at: float,
        watch: JobStopwatch,
    ) -> JobResult:
        variances = None if job.shots is None else mean_variances(circuit, values, job.shots)
        phases = watch.decoded()
        finished_at = time.time()
        n_circuits = n_sent if job.shots is not None else job.n_samples * job.n_displacements
        target = self._backend.target
        return JobResult(
            job_id=job.job_id,
            values=values,
            variances=variances,
            jacobian=None,
            n_circuits=n_circuits,
            n_shots=n_circuits * (job.shots or 0),
            cost_usd=sum(delivery.micro_dollars for delivery in deliveries) / 1e6,
            cache_hit=False,
            compute_seconds=finished_at - started_at,
            started_at=started_at,
            finished_at=finished_at,
            worker="",
            backend=f"{self._backend.name}:{'+'.join(dict.fromkeys(d.target or target for d in deliveries))}",
            phases=phases,
        )


def _digest(*texts: str) -> str:
    """40 hexadecimal digits."""
    return hashlib.blake2b("\n".join(texts).encode(), digest_size=20).hexdigest()


def patience_of(backend: IonQBackend) -> Patience:
    """How long the backend's submissions wait for what.

    On this machine a process that was about to send a job is gone when its book or its actor is; across a network it may be alive and
    only out of our sight, so there its calls are waited for as well.
    """
    lookup = backend.lookup_seconds
    is_here = resolve_endpoint(backend.host, backend.allow_cloud).is_loopback
    takeover = lookup if is_here else lookup + limits_of(backend).longest_call
    return Patience(grace=lookup, takeover=takeover)


def limits_of(backend: IonQBackend) -> Limits:
    """How long the backend's calls may take."""
    seconds = backend.request_seconds
    return Limits(connect=seconds / 3, read=seconds, total=4 * seconds)
