"""Contraction along the qubits: exact values of shallow circuits of any length, with or without noise.

    MeasuredCircuit ──heisenberg──► Reduced ──network──► Network ──program──► ChainProgram ──engine──► values, derivatives

| module | holds |
|---|---|
| `heisenberg` | what the observables see of a circuit: trailing gates absorbed into strings, the rest of no effect left out |
| `network`, `merging` | one site per qubit, two-qubit gates as bonds, their order, neighbouring maps multiplied together |
| `program` | all of it as flat arrays that the kernels interpret |
| `schedule` | what each row of a displacement table moves, and the tasks that follow |
| `kernels`, `visit`, `sweeps` | arithmetic on rows of lanes, one visit to a site, the loop over the tasks |
| `cost` | what it costs, counted |
| `engine` | the execution |
"""
