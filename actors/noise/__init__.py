"""Noise models of gate-based machines, as data: no simulation here.

| module | holds |
|---|---|
| `channels` | the Kraus operators of the elementary channels |
| `model` | NoiseModel: which channel follows a gate, and what readout does, as Pauli transfer matrices |
| `presets` | models of named machines, listed in ``orchestrator.registry.NOISE_MODELS`` |
"""
