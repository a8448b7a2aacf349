"""Error mitigation for any backend: estimators made of more circuits, whose values are combined linearly (see docs/mitigation.md).

| module | holds |
|---|---|
| `settings` | Mitigation: what is done, and what is refused |
| `extrapolation` | the weights that take values under scaled noise to none |
| `readout` | flip rates of each qubit, and how expectation values are freed of them |
| `expansion` | the circuits that stand in for one: folded, and read in further strings |
| `angles` | a job for a folded circuit, from the job for the circuit itself |
| `calibration` | how the flip rates are measured, once a session |
| `backend`, `session` | Mitigated: a backend around another one |
"""
