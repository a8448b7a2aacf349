"""The options of the ``qfleet`` command, by what people do; only reading them, so that ``--help`` answers at once."""
