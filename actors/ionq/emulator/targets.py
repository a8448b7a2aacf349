"""The backends that the emulator offers."""

from __future__ import annotations

from dataclasses import dataclass

from actors.ionq.emulator.refusal import bad_request
from orchestrator.errors import nearest

SIMULATOR = "simulator"
MAX_SHOTS = 1_000_000
MAX_QPU_SHOTS = 10_000
MIN_DEBIASING_SHOTS = 500
NOISE_QUBITS = {"ideal": 29, "aria-1": 25, "aria-2": 25, "forte-1": 29}
"""Qubits of the simulator under each of its noise models."""


@dataclass(frozen=True)
class Target:
    """A backend.

    Attributes:
        name: as in ``backend`` of a job. qubits: how many. noise: the noise model of its machine, None for the simulator.
    """

    name: str
    qubits: int
    noise: str | None

    @property
    def is_qpu(self) -> bool:
        """A machine, which is paid."""
        return self.noise is not None

    @property
    def max_shots(self) -> int:
        """Shots of a circuit."""
        return MAX_QPU_SHOTS if self.is_qpu else MAX_SHOTS


TARGETS = {
    target.name: target
    for target in (
        Target(SIMULATOR, 29, None),
        Target("qpu.aria-1", 25, "aria-1"),
        Target("qpu.aria-2", 25, "aria-2"),
        Target("qpu.forte-1", 36, "forte-1"),
        Target("qpu.forte-enterprise-1", 36, "forte-1"),
    )
}


def target_named(name: object) -> Target:
    """The target of that name.

    Raises:
        Refusal: there is none.
    """
    if not isinstance(name, str) or name not in TARGETS:
        close = nearest(name, TARGETS) or SIMULATOR
        raise bad_request(
            f"backend {name!r} is unknown; nearest valid: {close!r}; known: {', '.join(TARGETS)}"
        )
    return TARGETS[name]
