"""The circuits that are run in place of one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from actors.mitigation.angles import AngleCopies, keys_for
from actors.mitigation.extrapolation import weights
from actors.mitigation.readout import with_substrings
from actors.mitigation.settings import Mitigation
from orchestrator.circuits.folding import Folded, fold
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CircuitError
from orchestrator.jobs import Job


@dataclass(frozen=True, eq=False)
class Part:
    """One of the circuits that a value is made of.

    Attributes:
        circuit: what is run.
        weight: of its values in the sum.
        copies: its angles; None: those of the original circuit.
        label: names its shot noise; None: that of the original circuit.
    """

    circuit: MeasuredCircuit
    weight: float = 1.0
    copies: AngleCopies | None = None
    label: str | None = None

    def job(self, job: Job) -> Job:
        """The job for this circuit from the one for the original."""
        keys = job.noise_keys if self.label is None else keys_for(job.noise_keys, self.label)
        if self.copies is None:
            return replace(job, circuit_key=self.circuit.key, noise_keys=keys)
        return self.copies.job(job, self.circuit.key, keys)


def expand(circuit: MeasuredCircuit, mitigation: Mitigation) -> tuple[Part, ...]:
    """One part, or one for each noise scale; the strings of `circuit` come first in each, and its groups are the same.

    Raises:
        CapabilityError: a string is too long for readout mitigation.
        CircuitError: the circuit has too few gates to tell two noise scales apart.
    """
    if not mitigation.extrapolates:
        return (Part(_read(circuit, mitigation)),)
    template = circuit.template
    folded = [fold(template, scale, mitigation.noise_folding) for scale in mitigation.noise_scales]
    _check_distinct(folded, mitigation)
    found = weights([one.scale for one in folded], mitigation.extrapolation)
    parts = [Part(_read(circuit, mitigation), float(found[0]))]
    for number in range(1, len(folded)):
        derived = folded[number].derived
        measured = _read(MeasuredCircuit(derived.template, circuit.paulis), mitigation)
        copies = AngleCopies.of(derived, template.n_angles)
        parts.append(Part(measured, float(found[number]), copies, f"folded {number}"))
    return tuple(parts)


def _read(circuit: MeasuredCircuit, mitigation: Mitigation) -> MeasuredCircuit:
    return with_substrings(circuit) if mitigation.readout else circuit


def _check_distinct(folded: list[Folded], mitigation: Mitigation) -> None:
    scales = [one.scale for one in folded]
    if len(set(scales)) < len(scales):
        asked, odd = list(mitigation.noise_scales), [2.0 * k + 1 for k in range(len(scales))]
        raise CircuitError(
            f"backend.noise_scales = {asked}: with the gates that there are to fold, these come to {scales}, of which two are the same; "
            f"nearest valid: {odd}, which any circuit can do"
        )
