"""The backend "ionq": circuits through IonQ's API, each paid once; the emulator of `actors.ionq.emulator` answers to it as well.

Cheap to import and to pickle: cirq_ionq, requests and the API key come with the session, which never leaves its actor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.costs.catalogue import Catalogue, Flat, PriceEntry
from orchestrator.errors import ConfigError, nearest
from orchestrator.protocols import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.ionq.book import Book
    from actors.ionq.session import IonQSession

SIMULATOR = "simulator"
NOISE_MODELS = {"aria-1": 25, "aria-2": 25, "forte-1": 29}
"""Noise models of IonQ's simulator, and the qubits it takes with them."""
MOST_QUBITS = 29
NOISE_OF_TARGET = {
    "qpu.aria-1": "aria-1",
    "qpu.aria-2": "aria-2",
    "qpu.forte-1": "forte-1",
    "qpu.forte-enterprise-1": "forte-1",
}
"""IonQ's own noise model of each machine, by its name in `actors.noise.presets`."""


@dataclass(frozen=True)
class IonQBackend:
    """One target of IonQ's API.

    Attributes:
        target: "simulator", "qpu.aria-1", ...: an entry of the catalogue of prices.
        noise: model of the simulator's noise; None: ideal, exact values.
        gateset: "qis" or "native".
        error_mitigation: debiasing; None: the target's default, which on a QPU is on.
        circuits_per_job: circuits of a submission, at most.
        jobs_in_flight: submissions that a session waits for at the same time.
        lookup_seconds: how long an accepted job may take to show up in the list of jobs.
        request_seconds: how long a request may stay unanswered.
        outage_seconds: how long a job is kept at while IonQ fails or cannot be reached.
        host: URL of the API; None: the environment's, else IonQ's cloud. allow_cloud: whether it may be another machine.
        prices: file of prices, None: the built-in list.
        book: the run's book; None: one in memory, for targets that cost nothing.
        pool: all targets, where several share the jobs of a run: a job is then one and the same whichever of them it is asked of.
        make_session: opens sessions in place of the usual, for rehearsals.

    Raises:
        ConfigError: target, noise model or gate set are unknown, or do not go together.
    """

    target: str = SIMULATOR
    noise: str | None = None
    gateset: str = "qis"
    error_mitigation: bool | None = None
    circuits_per_job: int = 100
    jobs_in_flight: int = 10
    lookup_seconds: float = 15.0
    request_seconds: float = 30.0
    outage_seconds: float = 3600.0
    host: str | None = None
    allow_cloud: bool = False
    prices: str | None = None
    book: Book | None = field(default=None, repr=False, compare=False)
    pool: tuple[str, ...] = ()
    make_session: Callable[[IonQBackend], IonQSession] | None = field(default=None, repr=False, compare=False)

    name = "ionq"

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuse what cannot work at IonQ.

        Raises:
            ConfigError: see the class.
        """
        from actors.ionq.templates import check_gateset

        if self.price.target.partition(".")[0] not in (SIMULATOR, "qpu"):
            problem = "is priced for comparison, and no target of IonQ's own API"
            own = [
                name for name in Catalogue.default().entries if name.partition(".")[0] in (SIMULATOR, "qpu")
            ]
            raise ConfigError("backend.target", self.target, problem, nearest(self.target, own))
        if self.noise is not None:
            if self.target != SIMULATOR:
                raise ConfigError("backend.noise", self.noise, f"{self.target} has its own noise", "none")
            if self.noise not in NOISE_MODELS:
                known = f"IonQ's simulator knows {', '.join(NOISE_MODELS)}"
                raise ConfigError("backend.noise", self.noise, known, nearest(self.noise, NOISE_MODELS))
        if self.error_mitigation and self.target == SIMULATOR:
            raise ConfigError("backend.error_mitigation", True, "the simulator mitigates nothing", "false")
        check_gateset(self.gateset, self.target)

    @cached_property
    def price(self) -> PriceEntry:
        """What the target charges."""
        catalogue = Catalogue.default() if self.prices is None else Catalogue.load(self.prices)
        return catalogue.entry(self.target)

    @property
    def is_exact(self) -> bool:
        """Whether answers are exact probabilities, whatever the shots."""
        return self.target == SIMULATOR and self.noise is None

    @property
    def is_mitigated(self) -> bool:
        """Whether the target mitigates errors, which decides its price."""
        return self.target != SIMULATOR if self.error_mitigation is None else self.error_mitigation

    @cached_property
    def capabilities(self) -> Capabilities:
        """Exact values from the ideal simulator, shots from every target, derivatives by parameter shift alone."""
        price = self.price
        limit = price.max_qubits or MOST_QUBITS
        return Capabilities(
            is_exact=self.is_exact,
            has_shots=True,
            has_jacobian=False,
            max_qubits=min(limit, NOISE_MODELS.get(self.noise or "", limit)),
            is_paid=not (isinstance(price, Flat) and not price.price_usd),
            jobs_in_flight=self.jobs_in_flight,
            circuits_per_job=self.circuits_per_job,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without what is computed on demand."""
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def preflight(self, shots: int | None) -> None:
        """Refuse a host that circuits may not be sent to, and shots that the target does not take, before anything is started.

        Raises:
            ConfigError: the text says what to set.
        """
        from actors.ionq.body import Settings
        from actors.ionq.endpoint import resolve_endpoint

        resolve_endpoint(self.host, self.allow_cloud)
        if shots is not None:
            Settings(self.target, shots, is_mitigated=self.is_mitigated)
            most = self.price.max_shots
            if most is not None and shots > most:
                raise ConfigError("backend.shots", shots, f"{self.target} takes at most {most}", str(most))

    def open_session(self) -> IonQSession:
        """A session; imports cirq_ionq (seconds) and reads the API key of the environment.

        Raises:
            ConfigError: the host is refused. MissingKeyError: the environment names no key.
        """
        if self.make_session is not None:
            return self.make_session(self)
        from actors.ionq.session import IonQSession

        return IonQSession(self)
