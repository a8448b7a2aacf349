"""The body of ``POST /jobs``, as text around circuits that are text already.

A body carries no description of measurements, which the client's own bodies do: results are read as probabilities of all qubits. The
number of shots is in the metadata too, because the API does not give it back and the client's ``Job.results`` asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import CircuitError, ConfigError

MAX_SHOTS = 1_000_000
MIN_MITIGATED_SHOTS = 500
MAX_METADATA_KEYS, MAX_METADATA_KEY, MAX_METADATA_VALUE = 10, 40, 40_000


@dataclass(frozen=True)
class Settings:
    """What a job says besides its circuits.

    Attributes:
        target: "simulator", "qpu.aria-1", ...
        shots: repetitions of each circuit; the ideal simulator ignores them.
        gateset: "qis" or "native", that of all circuits.
        is_mitigated: whether to mitigate errors by debiasing; None leaves it to the target's default, which on a QPU is on.
        noise_model: of the simulator, e.g. "aria-1"; None for the ideal one.
        noise_seed: of the simulator's noise.
        is_dry_run: validate and price the job, and do not run it.

    Raises:
        ConfigError: a number of shots that IonQ refuses, or a noise model elsewhere than on the simulator.
    """

    target: str
    shots: int
    gateset: str = "qis"
    is_mitigated: bool | None = None
    noise_model: str | None = None
    noise_seed: int | None = None
    is_dry_run: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.shots <= MAX_SHOTS:
            nearest = min(max(self.shots, 1), MAX_SHOTS)
            raise ConfigError("backend.shots", self.shots, f"IonQ takes 1 to {MAX_SHOTS}", str(nearest))
        if self.is_mitigated and self.shots < MIN_MITIGATED_SHOTS:
            raise ConfigError(
                "backend.shots",
                self.shots,
                f"error mitigation needs at least {MIN_MITIGATED_SHOTS} shots",
                str(MIN_MITIGATED_SHOTS),
            )
        if self.noise_model is not None and self.target != "simulator":
            raise ConfigError(
                "backend.noise",
                self.noise_model,
                f"only the simulator takes a noise model, and the target is {self.target}",
            )

    def fields(self) -> dict[str, Any]:
        """The fields of the body that say all this, but for the gate set."""
        found: dict[str, Any] = {"backend": self.target, "shots": self.shots}
        if self.noise_model is not None:
            found["noise"] = {"model": self.noise_model}
            if self.noise_seed is not None:
                found["noise"]["seed"] = self.noise_seed
        if self.is_mitigated is not None:
            found["settings"] = {"error_mitigation": {"debiasing": self.is_mitigated}}
        if self.is_dry_run:
            found["dry_run"] = True
        return found


def submission_body(
    circuits: Sequence[str], n_qubits: int, settings: Settings, name: str, metadata: Mapping[str, str]
) -> str:
    """The JSON text of a submission: a single job for one circuit, a multi-circuit job for more.

    Args:
        circuits: each the JSON text of a gate list (``JsonTemplate.circuits_json``), all in the gate set of `settings`.
        n_qubits: of every circuit.
        name: of the job, as lists of jobs show it.
        metadata: kept with the job and given back with it; the key "shots" is set here.

    Raises:
        CircuitError: no circuit. ConfigError: metadata beyond IonQ's limits.
    """
    if not circuits:
        raise CircuitError("a submission needs at least one circuit")
    kept = {**metadata, "shots": str(settings.shots)}
    check_metadata(kept)
    is_single = len(circuits) == 1
    head = {
        "type": "ionq.circuit.v1" if is_single else "ionq.multi-circuit.v1",
        **settings.fields(),
        "name": name,
        "metadata": kept,
    }
    start = json.dumps(head, separators=(",", ":"), allow_nan=False)[:-1]
    shape = f'"gateset":{json.dumps(settings.gateset)},"qubits":{n_qubits}'
    if is_single:
        return f'{start},"input":{{{shape},"circuit":{circuits[0]}}}}}'
    texts = '},{"circuit":'.join(circuits)
    return f'{start},"input":{{{shape},"circuits":[{{"circuit":{texts}}}]}}}}'


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Refuse metadata that IonQ would refuse.

    Raises:
        ConfigError: too many keys, a key or a value too long, or a value that is not text.
    """
    if len(metadata) > MAX_METADATA_KEYS:
        raise ConfigError("metadata", sorted(metadata), f"IonQ keeps at most {MAX_METADATA_KEYS} keys")
    for key, value in metadata.items():
        if not 1 <= len(key) <= MAX_METADATA_KEY:
            raise ConfigError(
                "metadata", key, f"a key has 1 to {MAX_METADATA_KEY} characters", key[:MAX_METADATA_KEY]
            )
        if not isinstance(value, str) or len(value) > MAX_METADATA_VALUE:
            raise ConfigError(
                f"metadata.{key}", value, f"a value is text of at most {MAX_METADATA_VALUE} characters"
            )
