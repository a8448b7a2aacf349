"""How fast a batch of shifted tapes is: ``python -m pipelines.frontends.pennylane.speed``, beside PennyLane's own simulators, in one run.

The tapes are those of a parameter-shift gradient of strongly entangling layers, and what is timed is all that PennyLane does with them on
a device: preprocessing and `execute`. A first run, in which things are compiled and remembered, is not counted; then the devices take
turns, and the best of their rounds counts. The answers are compared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices import Device
from pennylane.tape import QuantumScript

from pipelines.frontends.pennylane.device import QfleetDevice

PEERS = ("default.qubit", "lightning.qubit")


def shifted_tapes(n_wires: int, n_tapes: int, seed: int = 7) -> list[QuantumScript]:
    """The first `n_tapes` tapes of a parameter-shift gradient of as many layers as that takes; one observable a wire."""
    per_layer = 6 * n_wires  # three angles a wire, each shifted twice
    n_layers = -(-n_tapes // per_layer)
    weights = np.random.default_rng(seed).uniform(0, 2 * np.pi, (n_layers, n_wires, 3))
    layers = qml.StronglyEntanglingLayers(weights, wires=range(n_wires)).decomposition()
    tape = QuantumScript(layers, [qml.expval(qml.Z(wire)) for wire in range(n_wires)])
    return list(qml.gradients.param_shift(tape)[0][:n_tapes])


def measure(devices: Sequence[Device], tapes: Sequence[QuantumScript], n_rounds: int) -> dict[str, Any]:
    """Circuits a second of each device and, beside the first one's, of all others.

    Raises:
        AssertionError: two devices answer differently.
    """
    runs: list[Callable[[], Any]] = [lambda device=device: _run(device, tapes) for device in devices]  # type: ignore[misc]
    answers = [np.array(run()) for run in runs]
    for device, answer in zip(devices, answers, strict=True):
        error = float(np.abs(answer - answers[0]).max())
        assert error < 1e-10, f"{device.name} and {devices[0].name} differ by {error:.1e}"
    best = [float("inf")] * len(devices)
    for _ in range(n_rounds):
        for i, run in enumerate(runs):
            began = time.perf_counter()
            run()
            best[i] = min(best[i], time.perf_counter() - began)
    return {
        device.name: {
            "seconds": seconds,
            "circuits_per_second": len(tapes) / seconds,
            "times_as_long_as_the_first": seconds / best[0],
        }
        for device, seconds in zip(devices, best, strict=True)
    }


def _run(device: Device, tapes: Sequence[QuantumScript]) -> Any:
    program, config = device.preprocess()
    prepared, put_together = program(tapes)
    return put_together(device.execute(prepared, config))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, as JSON with ``--json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wires", type=int, default=8)
    parser.add_argument("--tapes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fleet", type=int, default=None, help="Ray actors; this process if left out")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    devices: list[Device] = [QfleetDevice(wires=given.wires, fleet=given.fleet)]
    devices += [qml.device(name, wires=given.wires) for name in PEERS]
    tapes = shifted_tapes(given.wires, given.tapes)
    found = measure(devices, tapes, given.rounds)
    if given.json:
        print(
            json.dumps(
                {"wires": given.wires, "tapes": len(tapes), "gates": len(tapes[0].operations), **found}
            )
        )
        return
    print(f"{len(tapes):,} tapes of {len(tapes[0].operations)} gates on {given.wires} wires")
    for name, row in found.items():
        print(
            f"  {name:16} {row['seconds']:8.3f} s {row['circuits_per_second']:10,.0f} circuits/s "
            f"{row['times_as_long_as_the_first']:8.2f} x"
        )


if __name__ == "__main__":
    main()
