"""The engine's workloads as data. The circuit families and sizes are those of docs/performance.md.

All have the same circuit: RY(x_i) on qubit i, then L layers of RX, RY, RZ on every qubit and CNOTs, P = 3·n·L parameters. What is
computed for each of S samples is one of three things: the expectation values of the circuit and of its 2·P parameter-shifted
circuits (``values``), the same from shots (``samples``), or the gradient of a loss by reverse differentiation (``gradient``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.errors import ConfigError, nearest

Task = Literal["values", "samples", "gradient"]

ROTATIONS_PER_QUBIT = 3


@dataclass(frozen=True)
class Workload:
    """One thing to time.

    Attributes:
        name: what the command line calls it.
        n_qubits, n_layers: n and L.
        n_samples: S.
        task: what is computed for each sample.
        entanglement: which CNOTs a layer has, by its name in the registry.
        observables: ``each`` (Z of every qubit) or ``first`` (Z of qubit 0).
        shots: repetitions of each circuit, with ``samples`` only.
        noise: noise model of the backend ``noisy``; none: the backend ``ideal``.
    """

    name: str
    n_qubits: int
    n_layers: int
    n_samples: int
    task: Task = "values"
    entanglement: Literal["linear", "full"] = "linear"
    observables: Literal["each", "first"] = "each"
    shots: int | None = None
    noise: str | None = None

    @property
    def n_params(self) -> int:
        """P."""
        return ROTATIONS_PER_QUBIT * self.n_qubits * self.n_layers

    @property
    def circuits_per_sample(self) -> int:
        """1 + 2·P; one for a gradient, whose reverse sweep is not counted as a circuit."""
        return 1 if self.task == "gradient" else 1 + 2 * self.n_params

    @property
    def n_circuits(self) -> int:
        """Circuits of one run."""
        return self.n_samples * self.circuits_per_sample

    @property
    def backend(self) -> str:
        """The backend's name in the registry."""
        return "noisy" if self.noise else "ideal"

    @property
    def unit(self) -> str:
        """What one figure is the time of."""
        return "sample" if self.task == "gradient" else "circuit"

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        words = [f"n={self.n_qubits}", f"L={self.n_layers}", f"{self.n_samples} samples"]
        words += ["every ⟨Z⟩" if self.observables == "each" else "⟨Z_0⟩"]
        words += ["every pair entangled"] if self.entanglement == "full" else []
        words += [f"{self.shots} shots"] if self.shots else []
        words += [f"noise {self.noise}"] if self.noise else []
        return ", ".join([*words, "gradient" if self.task == "gradient" else f"{self.n_circuits} circuits"])


_W1 = Workload("W1", n_qubits=8, n_layers=2, n_samples=32)
_W4 = Workload("W4", n_qubits=12, n_layers=2, n_samples=8)
_W5 = Workload("W5", n_qubits=16, n_layers=2, n_samples=2)

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        _W1,
        Workload("W2", n_qubits=4, n_layers=2, n_samples=32),
        Workload("W3", n_qubits=8, n_layers=4, n_samples=32),
        _W4,
        replace(_W4, name="W4-first", observables="first"),
        replace(_W4, name="W4-full", entanglement="full"),
        _W5,
        replace(_W5, name="W5-first", observables="first"),
        replace(_W5, name="W5-full", entanglement="full"),
        replace(_W1, name="W6", task="gradient"),
        replace(_W1, name="W6-256", task="gradient", n_samples=256),
        replace(_W1, name="W7", task="samples", shots=1024),
        Workload("W40", n_qubits=40, n_layers=2, n_samples=4),
        replace(_W1, name="noisy", noise="aria-1"),
    )
}
"""By name, in the order in which they are run."""


def select(names: Sequence[str]) -> list[Workload]:
    """The workloads called `names`, each once, in the table's order; ``all`` stands for every one.

    Raises:
        ConfigError: there is no such workload.
    """
    for name in names:
        if name != "all" and name not in WORKLOADS:
            known = ["all", *WORKLOADS]
            raise ConfigError("--workload", name, f"known: {', '.join(known)}", nearest(name, known))
    return [workload for name, workload in WORKLOADS.items() if "all" in names or name in names]
