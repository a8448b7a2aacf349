"""Simulation of many small circuits: compile a measured circuit once, run it for many angles.

| module or room | holds |
|---|---|
| `execution` | what every method of simulation offers |
| `state_vector/` | batches of state vectors: exact values, shots, adjoint derivatives |
| `contraction/` | exact values of shallow chains and rings of any length, with or without noise |
| `torch_engine/` | the state vectors as torch operations, on a CUDA device or the processor |
| `density_matrix/`, `trajectories/` | noise: the reference, and random errors shot by shot |
| `choice`, `simulator` | the cost model, and a noiseless circuit with the executions it chose |
| `pauli_transfer` | gates and channels as real matrices on Pauli operators |
| `jit`, `vectors`, `warm_up` | how kernels are compiled and cached on disk, explicit vectors, compiling beforehand |
| `philox` | counter-based random bits |
| `sizing` | how much goes into a block, and what does not fit into memory |

Bits: the value of a circuit depends on the circuit and its angles, never on the job it came in, its place there or its neighbours.
"""
