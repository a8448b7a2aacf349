"""Feature maps: the data-dependent block of a circuit, one file per family; what each offers is in base.py."""
