"""The batched state-vector method as torch operations, on a CUDA device or on this machine's processor.

    Program (see ``state_vector.program``) ──tables.Tables──► index and coefficient tensors on the device
    Job ──coefficients──► gate matrices ──forward / adjoint──► values, derivatives

| module | holds |
|---|---|
| `device`, `sizing` | which device, its free memory, blocks sized by it, and what follows when it runs out |
| `tables` | a compiled program as tensors |
| `trigonometry` | cosine and sine |
| `coefficients` | angles to gate matrices, of undisplaced circuits and of displacement rows |
| `states` | what operations do to a block of states |
| `observables` | Pauli strings: expectation values of a block, and strings applied to it |
| `rows` | in which order and in what blocks displacement rows are run |
| `shots` | outcomes drawn from probabilities, by the same table and the same random words as the backend "ideal" |
| `forward`, `adjoint` | the two loops over blocks |
| `engine` | the surface: check memory, run, halve the block when memory runs out |

Layout: a block of states is one real tensor ``[2, 2**n, R, W]``: real and imaginary plane, basis rows, displacement rows, samples.

Bits: everything that touches a circuit's numbers is an addition, subtraction or multiplication of single elements, each rounded by
itself, or a move. Sums over basis rows are such additions too, in a fixed order (halving). Nothing is left to a library's matrix product,
reduction or fused kernel, whose order of operations may depend on the size of a tensor, so a circuit's value depends on nothing but the
circuit: neither on its neighbours nor on the size of a block, nor on threads.
"""
