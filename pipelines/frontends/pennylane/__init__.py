"""A PennyLane device on qfleet's backends and fleets: ``qml.device("qfleet", wires=4, backend="ideal", fleet=2)``.

A batch of tapes becomes one plan for each structure that occurs in it (`tapes` -> `structure` -> plans), and the answers become
PennyLane's results and derivatives (`readout`, `derivatives`).
"""

from pipelines.frontends.pennylane.device import QfleetDevice

__all__ = ["QfleetDevice"]
