"""What a POST /jobs asks for, checked as the service checks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.ionq.emulator.body import read_body
from actors.ionq.emulator.circuits import GATESETS, CircuitReader, Circuits
from actors.ionq.emulator.refusal import bad_request
from actors.ionq.emulator.targets import MIN_DEBIASING_SHOTS, NOISE_QUBITS, Target, target_named
from orchestrator.errors import nearest

SINGLE, BATCH = "ionq.circuit.v1", "ionq.multi-circuit.v1"
MAX_METADATA_KEYS, MAX_METADATA_KEY, MAX_METADATA_VALUE = 10, 40, 40_000
MAX_SEED = 2**53


@dataclass(frozen=True, eq=False)
class Submission:
    """A job as it was asked for.

    Attributes:
        target, type, name, metadata, shots: of the request. n_qubits: ``input.qubits``. circuits: what to run.
        noise: name of a noise model of the simulator, None for the default. noise_seed: of its shots.
        is_mitigated: debiasing is on. dry_run: check only. settings: as sent.
    """

    target: Target
    type: str
    name: str | None
    metadata: dict[str, str]
    shots: int
    n_qubits: int
    circuits: Circuits
    noise: str | None
    noise_seed: int | None
    is_mitigated: bool
    dry_run: bool
    settings: dict[str, Any]

    @property
    def is_batch(self) -> bool:
        """Whether it is a multi-circuit job."""
        return self.type == BATCH

    @property
    def token(self) -> str | None:
        """qfleet's token of the submission."""
        return self.metadata.get("qfleet_token")

    @property
    def origin(self) -> str | None:
        """What keys the shots of a machine: a submission's name, or what it says its circuits are, where a retry has another name."""
        return self.metadata.get("qfleet_origin", self.name)


def read_submission(text: str, reader: CircuitReader) -> Submission:
    """The submission that the body `text` holds.

    Raises:
        Refusal: with the offending value and the nearest valid one.
    """
    document, texts = read_body(text)
    target = target_named(document.get("backend"))
    kind = document.get("type")
    if kind not in (SINGLE, BATCH):
        raise bad_request(f"type = {kind!r}; nearest valid: {nearest(kind, (SINGLE, BATCH)) or SINGLE!r}")
    noise, seed = _noise(document.get("noise"), target)
    settings = _mapping(document, "settings")
    shots = _shots(document.get("shots"), target)
    n_qubits, circuits = _circuits(document, texts, reader, kind == BATCH, _most_qubits(target, noise))
    return Submission(
        target=target,
        type=kind,
        name=_name(document.get("name")),
        metadata=_metadata(document),
        shots=shots,
        n_qubits=n_qubits,
        circuits=circuits,
        noise=noise,
        noise_seed=seed,
        is_mitigated=_is_mitigated(settings, target, shots),
        dry_run=_flag(document, "dry_run", False),
        settings=settings,
    )


def _circuits(
    document: Mapping[str, Any], texts: list[str], reader: CircuitReader, is_batch: bool, most_qubits: int
) -> tuple[int, Circuits]:
    where = _mapping(document, "input")
    wanted = "circuits" if is_batch else "circuit"
    if not isinstance(where.get(wanted), list) or not texts:
        raise bad_request(
            f"input.{wanted} = {where.get(wanted)!r}; nearest valid: a list of {'circuits' if is_batch else 'gates'}"
        )
    gateset = where.get("gateset", "qis")
    if not isinstance(gateset, str) or gateset not in GATESETS:
        raise bad_request(
            f"input.gateset = {gateset!r}; nearest valid: {nearest(gateset, GATESETS) or 'qis'!r}"
        )
    n_qubits = where.get("qubits")
    if not isinstance(n_qubits, int) or isinstance(n_qubits, bool) or not 1 <= n_qubits <= most_qubits:
        close = min(max(n_qubits, 1), most_qubits) if isinstance(n_qubits, int) else 1
        raise bad_request(
            f"input.qubits = {n_qubits!r}: this target has 1 to {most_qubits}; nearest valid: {close}"
        )
    return n_qubits, reader.read(texts, gateset, n_qubits)


def _most_qubits(target: Target, noise: str | None) -> int:
    return target.qubits if target.is_qpu else NOISE_QUBITS[noise or "ideal"]


def _shots(value: object, target: Target) -> int:
    """cirq-ionq sends a string, the published specification says integer: both are taken."""
    shots = (
        int(value) if isinstance(value, str) and value.strip().isdigit() else 100 if value is None else value
    )
    if not isinstance(shots, int) or isinstance(shots, bool) or not 1 <= shots <= target.max_shots:
        close = min(max(shots, 1), target.max_shots) if isinstance(shots, int) else 100
        raise bad_request(
            f"shots = {value!r}: {target.name} takes 1 to {target.max_shots}; nearest valid: {close}"
        )
    return shots


def _noise(value: object, target: Target) -> tuple[str | None, int | None]:
    if value is None:
        return None, None
    if not isinstance(value, dict):
        raise bad_request(f"noise = {value!r}; nearest valid: {{'model': 'ideal'}}")
    if target.is_qpu:
        raise bad_request(f"noise = {value!r}: {target.name} has noise of its own; nearest valid: none")
    model, seed = value.get("model"), value.get("seed")
    if model not in NOISE_QUBITS:
        raise bad_request(
            f"noise.model = {model!r}; nearest valid: {nearest(model, NOISE_QUBITS) or 'ideal'!r}"
        )
    if seed is not None and (
        not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED
    ):
        raise bad_request(f"noise.seed = {seed!r}; nearest valid: a whole number from 0 to {MAX_SEED}")
    return model, seed


def _is_mitigated(settings: Mapping[str, Any], target: Target, shots: int) -> bool:
    """Debiasing as asked for; where nothing is said, machines have it on if there are shots enough."""
    asked = _mapping(settings, "error_mitigation").get("debiasing")
    if asked is None:
        return target.is_qpu and shots >= MIN_DEBIASING_SHOTS
    if not isinstance(asked, bool):
        raise bad_request(f"settings.error_mitigation.debiasing = {asked!r}; nearest valid: {bool(asked)}")
    if asked and shots < MIN_DEBIASING_SHOTS:
        raise bad_request(
            f"debiasing needs {MIN_DEBIASING_SHOTS} shots, not {shots}; nearest valid: {MIN_DEBIASING_SHOTS}"
        )
    return asked and target.is_qpu


def _metadata(document: Mapping[str, Any]) -> dict[str, str]:
    metadata = _mapping(document, "metadata")
    if len(metadata) > MAX_METADATA_KEYS:
        raise bad_request(f"metadata has {len(metadata)} keys; nearest valid: {MAX_METADATA_KEYS}")
    for key, value in metadata.items():
        if len(key) > MAX_METADATA_KEY:
            raise bad_request(
                f"metadata key {key!r} has {len(key)} characters; nearest valid: {MAX_METADATA_KEY}"
            )
        if not isinstance(value, str):
            raise bad_request(f"metadata.{key} = {value!r}; nearest valid: {str(value)!r}")
        if len(value) > MAX_METADATA_VALUE:
            raise bad_request(
                f"metadata.{key} has {len(value)} characters; nearest valid: {MAX_METADATA_VALUE}"
            )
    return metadata


def _name(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise bad_request(f"name = {value!r}; nearest valid: {str(value)!r}")
    return value


def _mapping(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise bad_request(f"{key} = {found!r}; nearest valid: an object")
    return found


def _flag(document: Mapping[str, Any], key: str, default: bool) -> bool:
    found = document.get(key, default)
    if not isinstance(found, bool):
        raise bad_request(f"{key} = {found!r}; nearest valid: {bool(found)}")
    return found
