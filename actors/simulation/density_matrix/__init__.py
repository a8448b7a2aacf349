"""The density-matrix method: exact under noise, for circuits of up to about eleven qubits.

A density matrix on n qubits is the real vector of its 4**n Pauli components; gates and channels are Pauli transfer matrices. Clifford gates
with Pauli noise only permute and damp components, noise after a gate is part of the gate's matrix, and a run of one-qubit gates is one
4 x 4 matrix.

| module | holds |
|---|---|
| `factors` | a gate with its noise as a matrix that depends on one angle |
| `lowering` | gates and noise to a list of operations: fusion, composition, what is read |
| `program` | the operations as flat arrays that the kernels interpret |
| `kernels`, `measure_kernels` | what is done to a block of density matrices |
| `coefficients` | angles to matrices |
| `forward` | the loop over blocks, compiled once for all circuits and cached on disk |
| `engine` | the Python surface: DensityMatrix |
"""
