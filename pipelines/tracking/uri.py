"""Which MLflow a run is logged to: the configured URI, the environment's, the recorded one, or a file in the working directory."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.config import TrackingConfig
from orchestrator.redaction import redact_uri
from pipelines.tracking.journal import SpoolState


def resolve_uri(given: str | None, recorded: SpoolState | None = None) -> str:
    """The tracking URI: the given one; else where the run is already; else ``mlflow.db`` in the working directory.

    A relative SQLite path is made absolute, so that a resume from another directory finds the same file.
    """
    if given is None:
        if recorded is not None and recorded.uri is not None:
            return without_mask(recorded.uri)
        return f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    if not given.startswith("sqlite:///"):
        return given
    if recorded is not None and recorded.uri is not None and recorded.uri_given == given:
        return recorded.uri
    path, question, query = given.removeprefix("sqlite:///").partition("?")
    return f"sqlite:///{Path(path).absolute()}{question}{query}"


def given_uri(config: TrackingConfig) -> str | None:
    """The configured URI, else the environment's; one that was masked when it was saved is completed from the environment."""
    if config.uri is None:
        return os.environ.get("MLFLOW_TRACKING_URI") or None
    return complete_uri(config.uri)


def complete_uri(recorded: str) -> str:
    """A recorded, masked URI with the credentials that the environment's has, if it is the same one."""
    environment = os.environ.get("MLFLOW_TRACKING_URI") or ""
    return environment if redact_uri(environment) == recorded else without_mask(recorded)


def without_mask(uri: str) -> str:
    """A redacted URI as one that can be used: MLflow takes credentials from MLFLOW_TRACKING_USERNAME and _PASSWORD too."""
    return uri.replace("***@", "")
