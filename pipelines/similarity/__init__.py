"""How alike trained models are: in architecture, data set and behaviour (see docs/examples.md)."""
