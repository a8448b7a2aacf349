"""Simulation of many small circuits: compile a measured circuit once, run it for many angles.

| module or room | holds |
|---|---|
| `execution` | what every method of simulation offers |
| `state_vector/` | batches of state vectors: exact values, shots, adjoint derivatives |
| `pauli_transfer` | gates and channels as real matrices on Pauli operators |
| `jit`, `warm_up` | how kernels are compiled, cached on disk, and compiled beforehand |
| `philox` | counter-based random bits |
| `sizing` | how much goes into a block, and what does not fit into memory |

Bits: the value of a circuit depends on the circuit and its angles, never on the job it came in, its place there or its neighbours.
"""
