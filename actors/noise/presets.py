"""Noise models of named machines.

Source: IonQ's documentation of the noise models of its simulator, which states a depolarising rate for gates on one and on two
qubits; further errors are not part of them.
"""

from __future__ import annotations

from actors.noise.model import NoiseModel
from orchestrator.errors import InputError
from orchestrator.registry import resolve


def aria_1() -> NoiseModel:
    """IonQ Aria 1."""
    return NoiseModel("aria-1", one_qubit_depolarizing=0.0005, two_qubit_depolarizing=0.0133)


def aria_2() -> NoiseModel:
    """IonQ Aria 2."""
    return NoiseModel("aria-2", one_qubit_depolarizing=0.00065733, two_qubit_depolarizing=0.01856)


def forte_1() -> NoiseModel:
    """IonQ Forte 1."""
    return NoiseModel("forte-1", one_qubit_depolarizing=0.00026667, two_qubit_depolarizing=0.00494933)


def noise_model(noise: NoiseModel | str) -> NoiseModel:
    """`noise` itself, or the model of that registered name (or ``module:function``).

    Raises:
        UnknownNameError: no such name. InputError: the path does not import, or gives something else.
    """
    if isinstance(noise, NoiseModel):
        return noise
    model = resolve("noise model", noise)()
    if not isinstance(model, NoiseModel):
        raise InputError(f"{noise!r} gave {type(model).__name__}, not a NoiseModel")
    return model
