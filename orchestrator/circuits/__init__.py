"""Circuits as pure structure: templates with one angle per gate, Pauli observables, measurement groups."""
