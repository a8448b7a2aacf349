"""Tracking: what a run journals on disk, and the one background writer that ships it to MLflow."""
