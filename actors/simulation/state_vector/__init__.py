"""The batched state-vector method: circuits are lanes of blocks of states.

    MeasuredCircuit ──program.compile_program──► Program ──engine.run_forward / run_adjoint──► values, Jacobian

| module | holds |
|---|---|
| `gate_algebra` | gates as quaternions, signed permutations and direct sums of small blocks (NumPy) |
| `lowering` | a list of gates to a list of operations: fusion, composition of permutations |
| `program`, `observables` | the operations and the observables as flat arrays that the kernels interpret |
| `rows` | how each displacement row is answered: which rows share a state |
| `state_kernels`, `measure_kernels`, `derivative_kernels`, `environment_kernels` | what is done to a block of states |
| `coefficients` | angles to gate coefficients |
| `base`, `carrying` | blocks of undisplaced states, and of states that leave them at some operation |
| `sampling` | shots |
| `forward_exact`, `forward_sampled`, `adjoint` | the three loops over blocks, compiled once for all circuits and cached on disk |
| `forward` | displacement rows lane by lane, for methods that run every row by itself |
| `engine` | the Python surface: check, size the blocks, run |

Layout, everywhere: a block holds `width` states ("lanes"), real and imaginary parts in separate planes, each plane flat with
element ``row * width + lane`` for basis index `row`; so every inner loop runs over contiguous memory.

Planes are float64, or float32 where single precision is asked for, which is compiled when it is first used; angles, coefficients and
results are float64 always.

Bits: all arithmetic on lanes is elementwise with explicit fused multiply-adds and no reassociation, so the value of a circuit
does not depend on its lane, on its neighbours, on the block's width or on whether a coefficient was shared between lanes.
"""
