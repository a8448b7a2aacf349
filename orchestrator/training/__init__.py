"""The training loop: state, the loop itself, stopping, reports."""
