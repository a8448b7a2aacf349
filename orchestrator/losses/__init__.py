"""Losses: one file per family, one line in `orchestrator.registry.LOSSES`."""
