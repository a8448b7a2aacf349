"""The backend "recorded": circuits answered from what a run has paid for. It holds no client, so nothing can be sent or charged.

What is not in the record is refused (`NotRecordedError`), or answered by a simulator where one is named. Values are put together as by the
session that paid for them, circuit by circuit, so that a run repeated ends on the same bits.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from actors.backends.checks import check_circuit, check_job
from actors.backends.ionq import NOISE_OF_TARGET, SIMULATOR, IonQBackend
from actors.backends.results import make_result, mean_variances
from actors.ionq.outcomes import Draws, Outcomes, group_values, sample, z_masks
from actors.ionq.question import Source, all_angles
from actors.ionq.record import Record
from actors.ionq.recorded_circuits import EXACT, Place, RecordedCircuits, content_keys
from actors.ionq.subsampling import subsample
from actors.ionq.templates import gate_counts
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.costs.bill import job_price
from orchestrator.errors import ConfigError, NotRecordedError
from orchestrator.jobs import Job, JobResult
from orchestrator.planning.batching import cuts_of_at_most
from orchestrator.planning.failures import GIVEN_UP
from orchestrator.protocols import Backend, Capabilities, Session
from orchestrator.registry import resolve

_WHOLE_PLAN = 2**62
"""Circuits of a job: all that a plan asks for, so that what is missing is counted for the plan and not for a part of it."""
_BLOCK = 8192
"""Circuits whose angles are held at a time."""


@dataclass(frozen=True)
class RecordedBackend:
    """The record of one run, as a backend.

    Attributes:
        record: folder of the run.
        then: backend that answers what is not recorded; None: nothing does.
        target, noise, gateset, error_mitigation, circuits_per_job, prices: of the backend that was paid, see `IonQBackend`; only what it
            answered with these is served. targets: in place of `target`, of a run that had several.
        precision, threads: of `then`, if it takes them.

    Raises:
        ConfigError: no run is named, or `then` costs money or is a record itself.
    """

    record: str | None = None
    then: str | None = None
    target: str = SIMULATOR
    noise: str | None = None
    gateset: str = "qis"
    error_mitigation: bool | None = None
    circuits_per_job: int = 100
    prices: str | None = None
    targets: tuple[str, ...] = ()
    precision: str = "double"
    threads: int = 1

    name = "recorded"

    def __post_init__(self) -> None:
        if self.record is None:
            raise ConfigError(
                "backend.record", None, "name the run whose record is to be served: qfleet replay RUN"
            )
        if self.then is not None:
            self._check_then(self.then)

    @cached_property
    def paid(self) -> IonQBackend:
        """The backend that was paid, of several targets the first; its session is never opened."""
        return IonQBackend(
            target=self.targets[0] if self.targets else self.target,
            noise=self.noise,
            gateset=self.gateset,
            error_mitigation=self.error_mitigation,
            circuits_per_job=self.circuits_per_job,
            prices=self.prices,
        )

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Whose answers are served."""
        each = [replace(self.paid, target=target) for target in self.targets or (self.target,)]
        return tuple(Source(one.target, one.noise, one.gateset, one.is_mitigated) for one in each)

    @cached_property
    def capabilities(self) -> Capabilities:
        """Those of the backend that was paid, for nothing.

        Where the run went on without some of its jobs the cut is that run's, so that these jobs are met again.
        """
        went_on = self.record is not None and (Path(self.record) / GIVEN_UP).exists()
        most = self.circuits_per_job if went_on else _WHOLE_PLAN
        return replace(self.paid.capabilities, is_paid=False, jobs_in_flight=1, circuits_per_job=most)

    @cached_property
    def simulator(self) -> Backend | None:
        """What answers the rest."""
        if self.then is None:
            return None
        make = resolve("backend", self.then)
        wanted = {"noise": self._noise_of_target(), "precision": self.precision, "threads": self.threads}
        taken = inspect.signature(make).parameters
        backend: Backend = make(**{key: v for key, v in wanted.items() if key in taken and v is not None})
        return backend

    @property
    def label(self) -> str:
        """Of results that come from the record alone."""
        return f"{self.name}:{'+'.join(self.targets) or self.target}"

    def __getstate__(self) -> dict[str, Any]:
        """Without what is computed on demand."""
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def open_session(self) -> RecordedSession:
        """Read the record.

        Raises:
            BookError: there is none, or it is damaged.
        """
        return RecordedSession(self)

    def _check_then(self, then: str) -> None:
        if then == self.name:
            raise ConfigError("backend.then", then, "is the record itself; name a simulator", "noisy")
        assert self.simulator is not None
        if self.simulator.capabilities.is_paid or then == IonQBackend.name:
            raise ConfigError("backend.then", then, "a replay sends nothing; name a simulator", "noisy")

    def _noise_of_target(self) -> str | None:
        """The noise model that stands for the target; None: the simulator's own choice."""
        return self.noise or NOISE_OF_TARGET.get(self.paid.target)


@dataclass(frozen=True, eq=False)
class CompiledCircuit:
    """A circuit, the strings that each measurement group reads, and the circuit as the simulator compiled it (None: there is none)."""

    circuit: MeasuredCircuit
    masks: tuple[np.ndarray, ...]
    simulated: Any


@dataclass(frozen=True, eq=False)
class _Served:
    """What the record gives for a job.

    Attributes:
        values: float64 [S, D, M]; of a point that is not whole they mean nothing.
        is_whole: bool [S, D]: all circuits of the point are recorded.
        n_missing: int64 [G], circuits that are not, by measurement group; n_short: of them, those recorded with too few shots.
    """

    values: np.ndarray
    is_whole: np.ndarray
    n_missing: np.ndarray
    n_short: int


class RecordedSession:
    """A record, read once."""

    def __init__(self, backend: RecordedBackend) -> None:
        assert backend.record is not None
        self._backend = backend
        self._folder = Path(backend.record)
        self._circuits = RecordedCircuits(Record(self._folder).submissions())
        simulator = backend.simulator
        self._simulator: Session | None = None if simulator is None else simulator.open_session()

    def compile(self, circuit: MeasuredCircuit) -> CompiledCircuit:
        """Note what is to be read; compile it for the simulator, if there is one.

        Raises:
            CapabilityError: too many qubits.
        """
        check_circuit(self._backend.name, self._backend.capabilities, circuit)
        masks = tuple(z_masks(circuit, group) for group in circuit.groups)
        simulated = None if self._simulator is None else self._simulator.compile(circuit)
        return CompiledCircuit(circuit, masks, simulated)

    def run(self, compiled: CompiledCircuit, job: Job) -> JobResult:
        """The answer to `job`; points with a circuit that is not recorded by the simulator.

        Raises:
            NotRecordedError: there is none. CapabilityError: fewer shots cannot be drawn from what is recorded.
            CircuitError, ExecutionError: the job does not fit.
        """
        started_at = time.time()
        backend, circuit = self._backend, compiled.circuit
        check_job(backend.name, backend.capabilities, circuit, job)
        found = self._served(compiled, job)
        result = make_result(circuit, job, backend.label, started_at, found.values, None)
        if found.is_whole.all():
            return result
        if self._simulator is None:
            raise self._missing(circuit, job, found)
        rest = self._simulator.run(compiled.simulated, job)
        values, variances = rest.values.copy(), rest.variances
        values[found.is_whole] = found.values[found.is_whole]
        if job.shots is not None and variances is not None:
            of_record = mean_variances(circuit, found.values, job.shots)
            variances = np.where(found.is_whole[..., None], of_record, variances)
        label = f"{backend.label}+{rest.backend}"
        finished_at = time.time()
        return replace(
            result,
            values=values,
            variances=variances,
            backend=label,
            compute_seconds=finished_at - started_at,
            finished_at=finished_at,
        )

    def close(self) -> None:
        """Close the simulator."""
        if self._simulator is not None:
            self._simulator.close()

    def _served(self, compiled: CompiledCircuit, job: Job) -> _Served:
        circuit, n_groups = compiled.circuit, len(compiled.circuit.groups)
        shape = (job.n_samples, job.n_displacements)
        values, is_whole = np.zeros((*shape, len(circuit.paulis))), np.ones(shape, bool)
        n_missing, n_short = np.zeros(n_groups, np.int64), 0
        for rows, part in _blocks(job):
            angles = all_angles(part)
            for number, (group, masks) in enumerate(zip(circuit.groups, compiled.masks, strict=True)):
                of_sources = [
                    content_keys(circuit.template.key, group.basis, source, angles)
                    for source in self._backend.sources
                ]
                keys = list(zip(*of_sources, strict=True))
                found = [self._outcomes(one, part, number, i) for i, one in enumerate(keys)]
                is_there = np.array([one is not None for one in found])
                of_group = group_values(
                    [one for one in found if one is not None], circuit.template.n_qubits, masks
                )
                flat = np.zeros((len(found), len(masks)))
                flat[is_there] = of_group
                values[rows, :, list(group.members)] = flat.reshape(part.n_samples, part.n_displacements, -1)
                is_whole[rows] &= is_there.reshape(part.n_samples, part.n_displacements)
                n_missing[number] += np.count_nonzero(~is_there)
                n_short += sum(self._circuits.is_known(keys[i]) for i in np.flatnonzero(~is_there))
        return _Served(values, is_whole, n_missing, n_short)

    def _outcomes(self, keys: Sequence[bytes], job: Job, group: int, number: int) -> Outcomes | None:
        """What the record says of circuit `number` of measurement group `group` of a job, with the job's shots.

        Args:
            keys: of the circuit, one for each source.
        """
        sample_number, displacement = divmod(number, job.n_displacements)
        place = Place(
            int(job.noise_keys[group]) if len(job.noise_keys) else 0,
            job.step,
            job.sample_start + sample_number,
            job.displacement_start + displacement,
        )
        row = self._circuits.find(keys, place, job.shots)
        if row is None:
            return None
        found, recorded = self._circuits.outcomes(row), int(self._circuits.shots[row])
        if job.shots is None:
            return found
        if recorded != EXACT:
            return subsample(found, recorded, job.shots, place)
        one = np.ones(1, np.int64)
        draws = Draws(job.shots, place.noise_key, job.step, one * place.sample, one * place.displacement)
        return sample([found], draws)[0]

    def _missing(self, circuit: MeasuredCircuit, job: Job, found: _Served) -> NotRecordedError:
        """What is lacking, and what it would cost."""
        paid = self._backend.paid
        counts = [
            gate_counts(circuit.template, group.basis, paid.gateset)
            for group, n in zip(circuit.groups, found.n_missing, strict=True)
            for _ in range(n)
        ]
        price = sum(
            job_price(paid.price, counts[cut], job.shots, paid.is_mitigated)
            for cut in cuts_of_at_most(len(counts), paid.circuits_per_job)
        )
        n_asked = job.n_samples * job.n_displacements * len(circuit.groups)
        return NotRecordedError(self._folder.name, len(counts), n_asked, found.n_short, paid.target, price)


def _blocks(job: Job) -> Iterator[tuple[slice, Job]]:
    """The samples of a job in parts of about `_BLOCK` points."""
    n_rows = job.n_displacements
    size = max(_BLOCK // max(n_rows, 1), 1)
    for start in range(0, job.n_samples, size):
        rows = slice(start, min(start + size, job.n_samples))
        yield rows, job.part(rows, slice(0, n_rows))
