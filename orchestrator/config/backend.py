"""Where circuits run, on how many actors, and what that may cost."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from orchestrator.config.fields import (
    BackendName,
    DeviceName,
    FleetName,
    NoiseModelName,
    NoiseScales,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Resources,
    SkippedShare,
    StrTuple,
    ThreadCount,
)
from orchestrator.config.section import Section
from orchestrator.errors import ConfigError


class BackendConfig(Section):
    """Where circuits run."""

    section_name: ClassVar[str] = "backend"

    name: BackendName = Field(
        "ideal",
        description="ideal (batched state-vector engine) | torch (the same on a CUDA device or the processor) | noisy (with a noise "
        "model) | cirq (cirq's simulator, the reference) | ionq (IonQ's API, or the emulator of it) | recorded (what a run has paid "
        "for, see qfleet replay).",
    )
    shots: PositiveInt | None = Field(
        None, description="Repetitions of each circuit; none: exact expectation values."
    )
    noise: NoiseModelName | None = Field(
        None,
        description="Noise model of the backend noisy: aria-1 | aria-2 | forte-1, or 'module:function' returning a NoiseModel; "
        "none: aria-1. Of ionq's simulator: aria-1 | aria-2 | forte-1; none: ideal.",
    )
    target: str = Field(
        "simulator",
        min_length=1,
        description="ionq: simulator | qpu.aria-1 | qpu.forte-1 | ...; see qfleet quote.",
    )
    targets: StrTuple = Field(
        (),
        description="ionq: several targets that share the jobs of a run, in place of target, e.g. ['qpu.aria-1', 'qpu.forte-1'].",
    )
    share_by: Literal["speed", "price", "quality"] = Field(
        "speed",
        description="ionq with targets: a job goes where it is expected to be done soonest, by measured speed; price: soonest times its "
        "price; quality: soonest times the shots that the target's gate errors cost.",
    )
    gateset: Literal["qis", "native"] = Field(
        "qis", description="ionq: gates as IonQ compiles them, or Aria's native ones, compiled here."
    )
    error_mitigation: bool | None = Field(
        None,
        description="ionq: debiasing, at least 500 shots; none: the target's default, which on a QPU is on.",
    )
    noise_scales: NoiseScales = Field(
        (),
        description="Zero-noise extrapolation from circuits whose gates are folded to scale their noise by these factors, e.g. [1, 3, 5]; "
        "empty: off.",
    )
    extrapolation: Literal["linear", "richardson"] = Field(
        "linear",
        description="With noise_scales: the straight line of least squares, or the polynomial through all of them.",
    )
    noise_folding: Literal["two_qubit", "all"] = Field(
        "two_qubit",
        description="With noise_scales: fold the gates on two or more qubits (all, where there are none), or all gates.",
    )
    readout_mitigation: bool = Field(
        False,
        description="Measure how often each qubit is misread, with two circuits a session, and correct expectation values for it.",
    )
    calibration_shots: int = Field(
        4096, ge=2, description="With readout_mitigation: shots of each of the two circuits."
    )
    circuits_per_job: PositiveInt = Field(
        100,
        description="ionq: circuits sent as one job, at most. Decides how many jobs a step is, and what they cost.",
    )
    jobs_in_flight: PositiveInt = Field(
        10, description="ionq: jobs that each actor waits for at the same time."
    )
    lookup_seconds: PositiveFloat = Field(
        15.0,
        description="ionq: how long an accepted job may take to show up in the list of jobs. A submission whose outcome is unknown is "
        "looked up for so long before it is sent again.",
    )
    request_seconds: PositiveFloat = Field(
        30.0, description="ionq: how long a request may stay unanswered before it counts as lost."
    )
    outage_seconds: NonNegativeFloat = Field(
        3600.0,
        description="ionq: how long a job is kept at while IonQ fails or cannot be reached, before that counts as a failure. "
        "The fleet tries a job four times.",
    )
    host: str | None = Field(
        None, description="ionq: URL of the API; none: IONQ_REMOTE_HOST if set, else IonQ's cloud."
    )
    allow_cloud: bool = Field(False, description="ionq: let circuits leave this machine.")
    record: str | None = Field(
        None,
        min_length=1,
        description="recorded: folder of the run whose paid answers are served; see qfleet replay.",
    )
    then: BackendName | None = Field(
        None,
        description="recorded: backend that answers what is not recorded, e.g. noisy; none: the run stops there.",
    )
    on_failure: Literal["stop", "skip_samples", "simulate"] = Field(
        "stop",
        description="What follows in training when a job has failed for good: stop; leave its samples out of the batch; have it "
        "answered by a simulator, see fallback.",
    )
    max_skipped: SkippedShare = Field(
        0.5, description="Largest share of a batch that may be left out by on_failure = 'skip_samples'."
    )
    fallback: BackendName | None = Field(
        None,
        description="Simulator for on_failure = 'simulate'; none: noisy with the target's noise model if it has one, else ideal.",
    )
    precision: Literal["double", "single"] = Field(
        "double", description="Floating-point precision of the simulation, for backends that have both."
    )
    threads: ThreadCount = Field(
        "auto",
        description="Threads of each backend session, for backends that take them; auto: the whole CPUs reserved for an actor "
        "(fleet.cpus_per_actor), in this process one.",
    )

    device: DeviceName = Field(
        "auto",
        description="torch: auto (CUDA where an actor sees it, else the processor) | cpu | cuda | cuda:1 ...; see torch-backend.md.",
    )

    @model_validator(mode="after")
    def _failures_and_targets_agree(self) -> Self:
        if self.fallback is not None and self.on_failure != "simulate":
            raise ConfigError(
                "backend.fallback",
                self.fallback,
                f"backend.on_failure = {self.on_failure!r} uses none; set it to 'simulate', or leave fallback out",
                "none",
            )
        if self.fallback == "ionq":
            raise ConfigError(
                "backend.fallback", self.fallback, "must be a simulator of this machine", "noisy"
            )
        if self.targets and (len(self.targets) < 2 or len(set(self.targets)) < len(self.targets)):
            raise ConfigError(
                "backend.targets",
                list(self.targets),
                "two different targets or more share the jobs of a run; for one, set backend.target",
            )
        return self


class FleetConfig(Section):
    """How many actors, and how they are fed."""

    section_name: ClassVar[str] = "fleet"

    dispatcher: Literal["ray", "serial"] = Field(
        "ray", description="ray: actors; serial: in this process, for debugging."
    )
    n_actors: PositiveInt = Field(
        2,
        description="Ray actors, each with its own backend session and circuit cache.",
    )
    min_actors: PositiveInt | None = Field(
        None,
        description="Begin as soon as so many are ready, the others join when they are; none: n_actors.",
    )
    max_actors: PositiveInt | None = Field(
        None,
        description="Ask for so many; what the cluster has no room for joins when nodes do. None: n_actors.",
    )
    cpus_per_actor: PositiveFloat = Field(1.0, description="CPUs reserved for each actor.")
    resources_per_actor: Resources = Field(
        default_factory=dict,
        description="What else is reserved for each: {GPU = 0.5, memory = 2e9} (memory in bytes), or resources that nodes were started "
        "with, e.g. {qpu_ionq = 1}.",
    )
    placement: Literal["default", "spread", "pack"] = Field(
        "default",
        description="Where actors go: default (as Ray has it) | spread (over the nodes) | pack (on as few as hold them).",
    )
    max_in_flight: PositiveInt = Field(
        2,
        description="Jobs an actor holds at most: one it works on, the others waiting.",
    )
    wait_for_nodes_seconds: NonNegativeFloat = Field(
        0.0,
        description="How long to wait for resources that an autoscaler has yet to add; 0: where fewer than min_actors fit, the run is "
        "refused.",
    )
    name: FleetName | None = Field(
        None,
        description="Fleet of the cluster that this run uses together with others, started by qfleet fleet start; none: a fleet of its "
        "own. See fleet.md.",
    )
    address: str | None = Field(
        None,
        description="Ray cluster to join; none: RAY_ADDRESS if set, else a local one.",
    )
    job_seconds: PositiveFloat = Field(
        0.06, description="Compute time a job aims at where there is that much work."
    )

    @property
    def is_shared(self) -> bool:
        """Whether jobs go to a fleet that other runs use as well."""
        return self.dispatcher == "ray" and self.name is not None

    @property
    def least_actors(self) -> int:
        """Actors that a run begins with."""
        return self.n_actors if self.min_actors is None else self.min_actors

    @property
    def most_actors(self) -> int:
        """Actors that it asks for."""
        return self.n_actors if self.max_actors is None else self.max_actors

    @property
    def size(self) -> str:
        """How many, in words: ``"2"``, or ``"2 to 8"``."""
        least, most = self.least_actors, self.most_actors
        return str(most) if least == most else f"{least} to {most}"

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        least, most = self.least_actors, self.most_actors
        if least > most:
            key = "max_actors" if self.min_actors is None else "min_actors"
            other = (
                f"fleet.n_actors = {self.n_actors}"
                if None in (self.min_actors, self.max_actors)
                else f"fleet.max_actors = {most}"
            )
            value, nearest_valid = (most, least) if key == "max_actors" else (least, most)
            relation = "fewer" if key == "max_actors" else "more"
            raise ConfigError(f"fleet.{key}", value, f"is {relation} than {other}", str(nearest_valid))
        return self


def actor_overrides(n_actors: int) -> list[str]:
    """Overrides that have so many Ray actors of the run's own, no fewer and no more, whatever the configuration says."""
    bounds = ["fleet.name=none", "fleet.min_actors=none", "fleet.max_actors=none"]
    return ["fleet.dispatcher=ray", f"fleet.n_actors={n_actors}", *bounds]


class BudgetConfig(Section):
    """What a run may cost, where circuits cost money."""

    section_name: ClassVar[str] = "budget"

    max_usd: PositiveFloat | None = Field(
        None,
        description="Hard cap in dollars over the whole run, jobs in flight included; none: no cap.",
    )
    prices: str | None = Field(
        None,
        min_length=1,
        description="TOML file of prices that replace or join the built-in list prices, see docs/costs.md.",
    )
