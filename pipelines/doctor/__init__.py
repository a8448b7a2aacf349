"""``qfleet doctor``: what a configuration would cost and whether it can learn, before any training; one file per examination."""
