"""Quantum trajectories: shots of a noisy circuit that is too large for a density matrix.

Each shot is a state vector on which errors happen at random (the Monte-Carlo wave function: J. Dalibard, Y. Castin and K. Moelmer, Phys.
Rev. Lett. 68 (1992) 580). Until its first error a shot shares the state that no error ever touched, so that state is computed
once; where errors are rare most shots are drawn from it.

| module | holds |
|---|---|
| `schedule` | gates as operations on state vectors, and which errors may follow each |
| `errors` | the random words of a shot, and which errors they mean |
| `kernels` | errors and damping on the lanes of a block, outcomes |
| `loop` | all shots of all circuits, compiled once and cached on disk |
| `engine` | the Python surface: Trajectories |
"""
