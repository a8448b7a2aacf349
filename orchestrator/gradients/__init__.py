"""Gradient rules: one file per rule, one line in `orchestrator.registry.GRADIENT_RULES`."""
