"""Several targets of IonQ as one backend: every job is asked of one of them, the one that is expected to answer it soonest.

A job is one and the same whichever target it is asked of: its submissions have the same tokens, and the run's book lets a token be under
way once. So whoever comes back to a job, after a failure or a crash, finds in the book who was asked, and asks nobody else unless that
came to nothing. Which target answers depends on measured times, and so the numbers of a run with several targets are not a function of
its seed alone; what is once answered stays so, and a resumed run goes on from it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from actors.backends.ionq import NOISE_OF_TARGET, IonQBackend
from actors.backends.sharing import Sharing
from orchestrator.costs.bill import job_price
from orchestrator.costs.gate_counts import GateCounts
from orchestrator.errors import ConfigError, InputError, nearest
from orchestrator.jobs import Job, JobResult
from orchestrator.protocols import Capabilities

if TYPE_CHECKING:
    from actors.ionq.book import Book
    from actors.ionq.session import CompiledCircuit, IonQSession
    from orchestrator.circuits.measured import MeasuredCircuit

ShareBy = Literal["speed", "price", "quality"]
_LOOK_SECONDS = 1.0
"""Longest wait for a target's free place before looking whether the target is still there."""


@dataclass(frozen=True)
class PooledBackend:
    """Targets that share the jobs of a run.

    Attributes:
        members: a backend for each target, alike but for that.
        share_by: ``speed``: a job goes where it is expected to be done soonest; ``price``: where seconds times dollars are least;
            ``quality``: where seconds times the shots needed for the same precision are least, see `quality_weight`.
        book: the run's book, one for all; None: one in memory, for targets that cost nothing.

    Raises:
        ConfigError: by quality, and a target's gate errors are not known. InputError: fewer than two members.
    """

    members: tuple[IonQBackend, ...]
    share_by: ShareBy = "speed"
    book: Book | None = field(default=None, repr=False, compare=False)

    name = "ionq"

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise InputError(f"{len(self.members)} targets share nothing: nearest valid: 2")
        if self.share_by == "quality":
            for member in self.members:
                noise_of(member)

    @property
    def targets(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(member.target for member in self.members)

    @property
    def target(self) -> str:
        """All names, for messages."""
        return ", ".join(self.targets)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What all of them can do. Twice as many jobs in flight as they answer at the same time: half of them wait for a place."""
        of = [member.capabilities for member in self.members]
        return Capabilities(
            is_exact=all(one.is_exact for one in of),
            has_shots=all(one.has_shots for one in of),
            has_jacobian=False,
            max_qubits=min(one.max_qubits for one in of),
            is_paid=any(one.is_paid for one in of),
            jobs_in_flight=2 * sum(one.jobs_in_flight for one in of),
            circuits_per_job=min(member.circuits_per_job for member in self.members),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without what is computed on demand."""
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def preflight(self, shots: int | None) -> None:
        """Refuse what one of the targets would refuse; see `IonQBackend.preflight`.

        Raises:
            ConfigError: the text says what to set.
        """
        for member in self.members:
            member.preflight(shots)

    def open_session(self) -> PooledSession:
        """A session with each target.

        Raises:
            ConfigError: the host is refused. MissingKeyError: the environment names no key.
        """
        return PooledSession(self)


class PooledSession:
    """Open connections to several targets. Safe to use from several threads."""

    def __init__(self, backend: PooledBackend) -> None:
        from actors.ionq.book_memory import MemoryBook

        book: Book = backend.book or MemoryBook()
        self._backend = backend
        self._members = [replace(member, book=book, pool=backend.targets) for member in backend.members]
        self._sessions: list[IonQSession] = [member.open_session() for member in self._members]
        self._sharing = Sharing([member.jobs_in_flight for member in self._members])
        self._n_running = [0] * len(self._members)
        self._turn = threading.Condition()
        self._is_closed = False

    def compile(self, circuit: MeasuredCircuit) -> CompiledCircuit:
        """The circuit's JSON, which is the same for all targets: they share a gate set.

        Raises:
            CapabilityError: too many qubits for one of them. CircuitError: a gate cannot be taken apart.
        """
        smallest = min(range(len(self._members)), key=lambda i: self._members[i].capabilities.max_qubits)
        return self._sessions[smallest].compile(circuit)

    def run(self, compiled: CompiledCircuit, job: Job) -> JobResult:
        """The answer to `job`: from the book, from the target that is at it, or from the best one; where that fails, from the next best.

        Raises:
            BudgetError: the cap does not allow it. IonQError: all targets failed or refused, or the one that holds the job is out of reach.
        """
        from actors.ionq.errors import IonQError

        weights = self._weights(compiled, job)
        failed: set[int] = set()
        while True:
            holder = self._holder(compiled, job)
            target = self._enter(weights, failed, holder)
            try:
                return self._run_at(target, compiled, job)
            except IonQError:
                failed.add(target)
                # Under way there: only it may answer. Else the others may, as long as there are any.
                if len(failed) == len(self._sessions) or self._holder(compiled, job) is not None:
                    raise
            finally:
                self._leave(target)

    def close(self) -> None:
        """End every wait and all connections. What is under way stays in the book."""
        with self._turn:
            self._is_closed = True
            self._turn.notify_all()
        for session in self._sessions:
            session.close()

    def _run_at(self, target: int, compiled: CompiledCircuit, job: Job) -> JobResult:
        """Ask `target`, and learn from how that went."""
        from actors.ionq.errors import IonQError, StoppedError

        began = time.monotonic()
        try:
            result = self._sessions[target].run(compiled, job)
        except StoppedError:
            raise
        except IonQError:
            with self._turn:
                self._sharing.failed(target, time.monotonic())
            raise
        if result.phases is None or not result.phases.is_served:
            with self._turn:
                self._sharing.answered(target, time.monotonic() - began)
        return result

    def _holder(self, compiled: CompiledCircuit, job: Job) -> int | None:
        """The target that the job is under way at, as the book says."""
        name = self._sessions[0].target_of(compiled, job)
        return None if name is None else self._backend.targets.index(name)

    def _enter(self, weights: Sequence[float], failed: set[int], holder: int | None) -> int:
        """Choose a target, unless it is `holder` already, and wait until it has a place."""
        from actors.ionq.errors import StoppedError

        with self._turn:
            while True:
                target = self._choice(weights, failed) if holder is None else holder
                self._sharing.taken(target)
                if self._has_place(target, weights):
                    self._n_running[target] += 1
                    return target
                self._turn.wait(_LOOK_SECONDS)
                self._sharing.left(target)
                if self._is_closed:
                    raise StoppedError("the session was closed while a job waited for its turn")

    def _has_place(self, target: int, weights: Sequence[float]) -> bool:
        return self._n_running[target] < self._sharing.places(target, weights, time.monotonic())

    def _choice(self, weights: Sequence[float], failed: set[int]) -> int:
        chosen = self._sharing.choose(weights, time.monotonic(), failed)
        assert chosen is not None, "whoever has asked all targets does not ask again"
        return chosen

    def _leave(self, target: int) -> None:
        with self._turn:
            self._sharing.left(target)
            self._n_running[target] -= 1
            self._turn.notify_all()

    def _weights(self, compiled: CompiledCircuit, job: Job) -> list[float]:
        """What the expected seconds of each target are multiplied by."""
        counts = [template.counts for template in compiled.templates]
        if self._backend.share_by == "price":
            shots = job.shots or 1
            return [
                max(job_price(member.price, counts, shots, member.is_mitigated), 1)
                for member in self._members
            ]
        if self._backend.share_by == "quality":
            return [quality_weight(member, counts) for member in self._members]
        return [1.0] * len(self._members)


def noise_of(member: IonQBackend) -> str | None:
    """Name of the noise model that says how good a target's gates are; None: they are perfect.

    Raises:
        ConfigError: nothing is known of them.
    """
    if member.target in NOISE_OF_TARGET:
        return NOISE_OF_TARGET[member.target]
    if member.target.startswith("qpu."):
        raise ConfigError(
            "backend.targets",
            member.target,
            f"its gate errors are not known, and backend.share_by = 'quality' needs them; known: {', '.join(NOISE_OF_TARGET)}",
            nearest(member.target, NOISE_OF_TARGET),
        )
    return member.noise


def quality_weight(member: IonQBackend, counts: Sequence[GateCounts]) -> float:
    """How many times the shots of a perfect target this one needs for expectation values of the same relative precision.

    Depolarising with rate r after a gate damps what later gates see of it by ``1 - r``, so a circuit's values are damped by about
    ``f = (1 - r1)**n1 (1 - r2)**n2``; the noise of a mean over shots stays, and to be as small beside the signal takes ``1 / f**2`` times
    the shots. The rates are those of IonQ's own noise models (`actors.noise.presets`).

    Args:
        counts: of the circuits of a point; the mean of their logarithms counts.
    """
    from actors.noise.presets import noise_model

    name = noise_of(member)
    if name is None:
        return 1.0
    model = noise_model(name)
    one, two = math.log1p(-model.one_qubit_depolarizing), math.log1p(-model.two_qubit_depolarizing)
    damping = sum(one * count.n_1q + two * count.n_2q for count in counts) / len(counts)
    return math.exp(min(-2 * damping, 700.0))
