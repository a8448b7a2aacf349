"""The batched state-vector method: circuits are lanes of blocks of states.

    MeasuredCircuit ──program.compile_program──► Program ──engine.run_forward / run_adjoint──► values, Jacobian

| module | holds |
|---|---|
| `gate_algebra` | gates as quaternions, signed permutations and direct sums of small blocks (NumPy) |
| `lowering` | a list of gates to a list of operations: fusion, composition of permutations |
| `program`, `observables` | the operations and the observables as flat arrays that the kernels interpret |
| `state_kernels`, `measure_kernels`, `derivative_kernels` | what is done to a block of states |
| `coefficients` | angles to gate coefficients |
| `sampling` | shots |
| `forward`, `adjoint` | the two loops over blocks, compiled once for all circuits and cached on disk |
| `engine` | the Python surface: check, size the blocks, run |

Layout, everywhere: a block holds `width` states ("lanes"), real and imaginary parts in separate planes, each plane flat with
element ``row * width + lane`` for basis index `row`; so every inner loop runs over contiguous memory.

Bits: all arithmetic on lanes is elementwise with explicit fused multiply-adds and no reassociation, so the value of a circuit
does not depend on its lane, on its neighbours, on the block's width or on whether a coefficient was shared between lanes.
"""
