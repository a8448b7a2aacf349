"""Backends: one file each, named in ``orchestrator.registry.BACKENDS`` and tested by the conformance suite that runs over it."""
